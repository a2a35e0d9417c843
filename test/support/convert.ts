/** Conversions in memory, and what two images must have in common to be the same machine. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  convertImage,
  MemorySink,
  memorySource,
  openImage,
  TransmigrateError,
  type Conversion,
  type ConvertOptions,
  type ErrorCode,
  type OpenedImage,
} from '../../src/index.ts';

export type Chosen = Partial<ConvertOptions> & { readonly to: ConvertOptions['to'] };

/** What tests hand in for the time and the random bytes. */
export const FIXED = { streamId: new Uint8Array(16).fill(7), time: '2026-01-02T03:04:05Z' } as const;

/** Memory that fills up, as a disk does. */
class BoundedSink extends MemorySink {
  #room: number;

  constructor(room: number) {
    super();
    this.#room = room;
  }

  override write(bytes: Uint8Array): Promise<void> {
    this.#room -= bytes.byteLength;
    if (this.#room < 0) return Promise.reject(new TransmigrateError('WRITE_FAILED', 'There is no room left'));
    return super.write(bytes);
  }
}

/** Converts an image. @param room bytes that there is room for. */
export async function converted(
  bytes: Uint8Array,
  chosen: Chosen,
  room = Number.POSITIVE_INFINITY,
): Promise<{ readonly bytes: Uint8Array; readonly result: Conversion }> {
  const sink = new BoundedSink(room);
  const result = await convertImage(memorySource(bytes, 'image', 70_000), sink, { ...FIXED, ...chosen });
  const out = sink.bytes();
  assert.equal(result.bytes, out.byteLength);
  return { bytes: out, result };
}

/** For assert.rejects: an error of ours with this code. */
export function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    if (!(error instanceof TransmigrateError)) throw error;
    assert.equal(error.code, code, error.message);
    return true;
  };
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The digest of memory as the corpus has it: pfn and content of each page that is there. */
export async function memoryDigest({ memory }: OpenedImage): Promise<string> {
  const hash = createHash('sha256');
  const pfn = new DataView(new ArrayBuffer(8));
  for await (const batch of memory.batches()) {
    for (let page = 0; page < batch.pages; page++) {
      pfn.setBigUint64(0, BigInt(batch.firstPfn + page), true);
      hash.update(new Uint8Array(pfn.buffer));
      hash.update(batch.bytes.subarray(page * memory.pageSize, (page + 1) * memory.pageSize));
    }
  }
  return hash.digest('hex');
}

/** What an image is, without what names its form. @param classes also the class of each page that is there */
export async function machineOf(bytes: Uint8Array, toCheckpoint = false): Promise<Record<string, unknown>> {
  const image = await openImage(memorySource(bytes), { toCheckpoint });
  const devices: Record<string, unknown> = {};
  for (const device of image.devices) {
    const hash = createHash('sha256');
    for await (const chunk of device.chunks()) hash.update(chunk);
    devices[device.name] = [device.format, device.version, device.bytes, hash.digest('hex')];
  }
  const classes = createHash('sha256');
  for await (const { firstPfn, pages, pageClass } of image.memory.batches({ batchPages: 1 })) {
    classes.update(`${firstPfn} ${pages} ${pageClass}\n`);
  }
  return {
    domainType: image.head.domainType,
    wordBits: image.head.wordBits,
    pages: image.memory.pages,
    memory: await memoryDigest(image),
    classes: classes.digest('hex'),
    // Records of ours say their kind.
    vcpus: image.vcpus.map((vcpu) => ({ ...vcpu, kind: undefined })),
    states: image.vcpuStates.map(({ vcpu, stateKind, content }) => [vcpu, stateKind, sha256(content)]),
    cpuid: image.cpuid,
    msrs: image.msrs,
    devices,
  };
}
