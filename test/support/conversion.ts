/** Images through the model: what a test needs of conversion and of open images. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { CODEC } from '../../src/codec/codec.ts';
import { TransmigrateError } from '../../src/errors.ts';
import { convertToTmig } from '../../src/image/convert/to-tmig.ts';
import { replayOrigin } from '../../src/image/convert/replay.ts';
import type { FormatName } from '../../src/image/identify/layers.ts';
import { openImage } from '../../src/image/open/open-image.ts';
import type { ImageMemory, OpenedImage } from '../../src/image/open/opened-image.ts';
import { readerOf } from '../../src/image/readers/reader-of.ts';
import type { ImageFinding, NativeRecord } from '../../src/image/model/reader.ts';
import { MemorySink, memorySource } from '../../src/io/memory.ts';
import type { ByteSource } from '../../src/io/source.ts';

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** An image of ours, with ORIGIN or without, from one of a format. */
export async function toOurs(format: FormatName, bytes: Uint8Array, origin = true): Promise<Uint8Array> {
  const sink = new MemorySink();
  const options = { streamId: new Uint8Array(16).fill(3), codec: CODEC.zstd, about: {}, origin };
  await convertToTmig(format, memorySource(bytes), sink, options);
  return sink.bytes();
}

/** The foreign image that an image of ours was made from. */
export async function back(ours: Uint8Array): Promise<Uint8Array> {
  const sink = new MemorySink();
  await replayOrigin(memorySource(ours), sink);
  return sink.bytes();
}

/** Goes to ours and back, which must give the same bytes. @returns the image of ours */
export async function thereAndBack(format: FormatName, bytes: Uint8Array, what: string = format): Promise<Uint8Array> {
  const ours = await toOurs(format, bytes);
  assert.equal(sha256(await back(ours)), sha256(bytes), `${what} comes back as it was`);
  return ours;
}

export function opened(bytes: Uint8Array, as?: 'raw'): Promise<OpenedImage> {
  return openImage(memorySource(bytes), as === undefined ? {} : { as });
}

/** SHA-256 over (pfn, page) of what is present, as the corpus has it. @param wanted which pfns count */
export async function memoryDigest(
  memory: ImageMemory,
  wanted: (pfn: number) => boolean = () => true,
): Promise<string> {
  const hash = createHash('sha256');
  for await (const { firstPfn, pages, bytes } of memory.batches()) {
    for (let i = 0; i < pages; i++) {
      if (!wanted(firstPfn + i)) continue;
      hash.update(new Uint8Array(BigUint64Array.of(BigInt(firstPfn + i)).buffer));
      hash.update(bytes.subarray(i * memory.pageSize, (i + 1) * memory.pageSize));
    }
  }
  return hash.digest('hex');
}

export interface WasRead {
  readonly events: readonly string[];
  readonly findings: readonly ImageFinding[];
  readonly natives: readonly NativeRecord[];
  readonly error: TransmigrateError | undefined;
}

/** Reads all events of an image, and what was found. Errors must be typed ones. */
export async function read(format: FormatName, source: ByteSource | Uint8Array): Promise<WasRead> {
  const natives: NativeRecord[] = [];
  const input = source instanceof Uint8Array ? memorySource(source) : source;
  const reader = readerOf(format, input, { onNative: (record) => natives.push(record) });
  const events: string[] = [];
  let error: TransmigrateError | undefined;
  try {
    for await (const event of reader.events()) {
      if (event.kind === 'pages') for (const run of event.runs()) assert.ok(run.pages > 0);
      if (event.kind === 'long-device') for await (const chunk of event.chunks()) assert.ok(chunk.byteLength > 0);
      events.push(event.kind);
    }
  } catch (thrown) {
    if (!(thrown instanceof TransmigrateError) || thrown.code === 'INTERNAL') throw thrown;
    error = thrown;
  }
  return { events, findings: reader.findings(), natives, error };
}

/** All of a device. */
export async function deviceOf(image: OpenedImage, name: string): Promise<Uint8Array> {
  const device = image.devices.find((each) => each.name === name);
  assert.ok(device !== undefined, `there is a device ${name}`);
  const sink = new MemorySink();
  for await (const chunk of device.chunks()) await sink.write(chunk);
  return sink.bytes();
}
