import type { ByteSink, RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { GatheredSink } from '../../io/gathered-sink.ts';
import { piecesOf } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import { decodePieces } from '../../stream/decode-pieces.ts';
import { IndexedImage } from '../../stream/indexed-image.ts';
import { LIMITS } from '../../stream/limits.ts';
import { TYPE } from '../../stream/record-types.ts';
import { decodeOrigin, type Origin } from '../../stream/records/origin.ts';
import { hasData } from '../../stream/records/ram.ts';
import { bodyReader } from '../../stream/records/record.ts';
import { contentOf } from '../../stream/records/stored.ts';
import { originSteps, type OriginStep } from '../origin/replay.ts';
import { decodersFor } from '../read-channels.ts';

/** Zeros that are written at once. */
const ZEROS = new Uint8Array(256 * 1024);

/**
 * Gives back the bytes of the foreign image that an image of ours was made from, by its ORIGIN (stream 11). All of the
 * image is checked on the way; the sink is not ended.
 *
 * @param source an image of ours with ORIGIN, which can be read at any place.
 * @throws ORIGIN_INVALID, the errors of the image, CANCELLED, what the sink throws
 */
export async function replayOrigin(source: ByteSource, sink: ByteSink, work: Work = {}): Promise<void> {
  const random = source.random!;
  const pages = new PageBytes(source, work);
  const devices = new DeviceBytes(random);
  const gathered = new GatheredSink(sink);
  for await (const step of originSteps(originParts(random))) {
    await replayStep(step, gathered, pages, devices);
  }
  await pages.finish();
  await gathered.end();
}

async function replayStep(step: OriginStep, sink: ByteSink, pages: PageBytes, devices: DeviceBytes): Promise<void> {
  switch (step.step) {
    case 'bytes':
      return sink.write(step.bytes);
    case 'zeros':
      return writeZeros(sink, step.count);
    case 'pages':
      return pages.write(step.count, sink);
    case 'skip':
      return pages.write(step.count, undefined);
    case 'device':
      for await (const bytes of devices.read(step.device, step.offset, step.count)) await sink.write(bytes);
  }
}

async function writeZeros(sink: ByteSink, count: number): Promise<void> {
  for (let left = count; left > 0; left -= ZEROS.byteLength) await sink.write(ZEROS.subarray(0, left));
}

/** The content of the parts of ORIGIN, in order: by the index, or, without one, by reading all of the image. */
async function* originParts(random: RandomAccess): AsyncGenerator<Uint8Array> {
  const scratch = new Uint8Array(LIMITS.chunkBytes);
  for await (const { origin, offset } of originRecords(random)) {
    yield contentOf(origin, scratch, { offset, path: `ORIGIN/part ${origin.part}`, section: '11' });
  }
}

async function* originRecords(random: RandomAccess): AsyncGenerator<{ origin: Origin; offset: number }> {
  let indexed: IndexedImage | undefined;
  try {
    indexed = await IndexedImage.open(random);
  } catch (error) {
    if (!(error instanceof TransmigrateError) || error.code === 'READ_FAILED') throw error;
  }
  if (indexed !== undefined) {
    for await (const entry of indexed.entries()) {
      if (entry.type !== TYPE.origin) continue;
      const { header, body } = await indexed.fetch(entry);
      yield { origin: decodeOrigin(bodyReader(header, body)), offset: header.offset };
    }
    return;
  }
  const [decoder] = decodersFor([{ container: false } as ByteSource], { knows: 'all' });
  for await (const { header, record } of decodePieces(piecesOf(random), decoder)) {
    if (record.kind === 'ORIGIN') yield { origin: record, offset: header.offset };
  }
}

/** The pages with content of an image of ours, one after the other in the order of its records. */
class PageBytes {
  readonly #runs: AsyncGenerator<{ source: Uint8Array | null; at: number; pages: number; pageSize: number }>;
  #run: { source: Uint8Array | null; at: number; pages: number; pageSize: number } | undefined;

  constructor(source: ByteSource, work: Work) {
    this.#runs = dataRuns(source, work);
  }

  /** Writes the next pages; without a sink they are passed over. @throws ORIGIN_INVALID when there are not so many */
  async write(count: number, sink: ByteSink | undefined): Promise<void> {
    for (let left = count; left > 0;) {
      while (this.#run === undefined || this.#run.pages === 0) {
        const next = await this.#runs.next();
        if (next.done === true) throw tooFewPages(left);
        this.#run = next.value;
      }
      const run = this.#run;
      const pages = Math.min(left, run.pages);
      const bytes = pages * run.pageSize;
      if (sink !== undefined) {
        if (run.source === null) await writeZeros(sink, bytes);
        else await sink.write(run.source.subarray(run.at, run.at + bytes));
      }
      run.at += bytes;
      run.pages -= pages;
      left -= pages;
    }
  }

  /** Reads the image to its end, so that all of it was checked. @throws ORIGIN_INVALID when pages are left */
  async finish(): Promise<void> {
    if ((this.#run?.pages ?? 0) > 0 || (await this.#runs.next()).done !== true) {
      throw new TransmigrateError('ORIGIN_INVALID', 'ORIGIN leaves pages over', { section: 'foreign/origin 2' });
    }
  }
}

function tooFewPages(missing: number): TransmigrateError {
  return new TransmigrateError('ORIGIN_INVALID', `ORIGIN needs ${missing} pages more than the image has`, {
    section: 'foreign/origin 2',
    data: { missing },
  });
}

async function* dataRuns(
  source: ByteSource,
  { signal, onProgress }: Work,
): AsyncGenerator<{ source: Uint8Array | null; at: number; pages: number; pageSize: number }> {
  const [decoder] = decodersFor([source], { knows: 'all' });
  for await (const { record } of decodePieces(piecesOf(source.random!), decoder)) {
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Converting was cancelled');
    onProgress?.(decoder.offset, source.size);
    if (record.kind !== 'RAM') continue;
    for (const run of record.runs(decoder.scratch)) {
      if (!hasData(run.pageClass)) continue;
      yield { source: run.source, at: run.at, pages: run.pages, pageSize: record.pageSize };
    }
  }
}

/** Bytes of device blobs, by the numbers of an image with an index. */
class DeviceBytes {
  readonly #random: RandomAccess;
  readonly #scratch = new Uint8Array(LIMITS.chunkBytes);

  constructor(random: RandomAccess) {
    this.#random = random;
  }

  async *read(device: number, offset: number, count: number): AsyncGenerator<Uint8Array> {
    let done = 0;
    const [decoder] = decodersFor([{ container: false } as ByteSource], { knows: 'all' });
    for await (const { header, record } of decodePieces(piecesOf(this.#random), decoder)) {
      if (record.kind !== 'DEVICE_DATA' || record.device !== device) continue;
      const content = contentOf(record, this.#scratch, { offset: header.offset, section: '9.2' });
      const from = Math.max(0, offset + done - record.offset);
      const part = content.subarray(from, from + count - done);
      if (part.byteLength === 0 || record.offset > offset + done) continue;
      done += part.byteLength;
      yield part;
      if (done === count) return;
    }
    if (done < count) {
      throw new TransmigrateError('ORIGIN_INVALID', `Device ${device} has not the bytes that ORIGIN names`, {
        section: 'foreign/origin 2',
        data: { device, offset, count },
      });
    }
  }
}
