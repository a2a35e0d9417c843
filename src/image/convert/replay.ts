import type { ByteSink, RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { GatheredSink } from '../../io/gathered-sink.ts';
import { MemorySink } from '../../io/memory.ts';
import { piecesOf } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import { decodePieces } from '../../stream/decode-pieces.ts';
import { IndexedImage } from '../../stream/indexed-image.ts';
import { LIMITS } from '../../stream/limits.ts';
import { TYPE } from '../../stream/record-types.ts';
import { decodeDeviceData, type DeviceData } from '../../stream/records/device.ts';
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

/** The foreign image that an image of ours was made from. */
export interface OriginFound {
  /** Its format, the outermost layer. */
  readonly format: string;
  /** Its first bytes: up to its first page, at most {@link HEAD_BYTES}. */
  readonly head: Uint8Array;
}

/** Bytes of the foreign image that are looked at to see what its layers are. */
const HEAD_BYTES = 1024 * 1024;

/**
 * What ORIGIN of an image of ours says that it was made from; undefined when it has none.
 * @throws ORIGIN_INVALID, the errors of the image
 */
export async function originOf(random: RandomAccess): Promise<OriginFound | undefined> {
  const records = originRecords(random);
  const first = await records.next();
  await records.return(undefined);
  if (first.done === true) return undefined;
  const head = new MemorySink();
  let length = 0;
  for await (const step of originSteps(originParts(random))) {
    if (step.step !== 'bytes' || length >= HEAD_BYTES) break;
    await head.write(step.bytes);
    length += step.bytes.byteLength;
  }
  return { format: first.value.origin.format, head: head.bytes() };
}

/** The content of the parts of ORIGIN, in order: by the index, or, without one, by reading all of the image. */
async function* originParts(random: RandomAccess): AsyncGenerator<Uint8Array> {
  const scratch = new Uint8Array(LIMITS.chunkBytes);
  for await (const { origin, offset } of originRecords(random)) {
    yield contentOf(origin, scratch, { offset, path: `ORIGIN/part ${origin.part}`, section: '11' });
  }
}

async function* originRecords(random: RandomAccess): AsyncGenerator<{ origin: Origin; offset: number }> {
  const indexed = await indexOf(random);
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

/** Bytes of device blobs, by their numbers. Steps name them in the order of the image, so it is read once. */
class DeviceBytes {
  readonly #random: RandomAccess;
  #chunks: AsyncGenerator<DeviceChunk>;
  /** The chunk that the last bytes came from: the next may begin in it. */
  #chunk: DeviceChunk | undefined;

  constructor(random: RandomAccess) {
    this.#random = random;
    this.#chunks = deviceChunks(random);
  }

  /** @throws ORIGIN_INVALID when the device has not these bytes */
  async *read(device: number, offset: number, count: number): AsyncGenerator<Uint8Array> {
    let done = 0;
    let fromStart = false;
    while (done < count) {
      const part = this.#chunk === undefined ? undefined : partOf(this.#chunk, device, offset + done, count - done);
      if (part !== undefined) {
        done += part.byteLength;
        yield part;
        continue;
      }
      const next = await this.#chunks.next();
      if (next.done !== true) {
        this.#chunk = next.value;
        continue;
      }
      // Bytes that stand before the last ones are looked for once more, from the image's start.
      if (fromStart) throw noSuchBytes(device, offset, count);
      fromStart = true;
      this.#chunks = deviceChunks(this.#random);
      this.#chunk = undefined;
    }
  }
}

interface DeviceChunk {
  readonly device: number;
  readonly offset: number;
  readonly content: Uint8Array;
}

/** The bytes of a chunk from a place of a device on, or undefined. */
function partOf(chunk: DeviceChunk, device: number, at: number, most: number): Uint8Array | undefined {
  const from = at - chunk.offset;
  if (chunk.device !== device || from < 0 || from >= chunk.content.byteLength) return undefined;
  return chunk.content.subarray(from, from + most);
}

/** All chunks of all devices, in the order of the image. Each is lent until the next. */
async function* deviceChunks(random: RandomAccess): AsyncGenerator<DeviceChunk> {
  const scratch = new Uint8Array(LIMITS.chunkBytes);
  for await (const { record, at } of deviceRecords(random)) {
    const { device, offset } = record;
    yield { device, offset, content: contentOf(record, scratch, { offset: at, section: '9.2' }) };
  }
}

/** The records of devices: by the index, or, without one, by reading all of the image. */
async function* deviceRecords(random: RandomAccess): AsyncGenerator<{ record: DeviceData; at: number }> {
  const indexed = await indexOf(random);
  if (indexed !== undefined) {
    for await (const entry of indexed.entries()) {
      if (entry.type !== TYPE.deviceData) continue;
      const { header, body } = await indexed.fetch(entry);
      yield { record: decodeDeviceData(bodyReader(header, body)), at: header.offset };
    }
    return;
  }
  const [decoder] = decodersFor([{ container: false } as ByteSource], { knows: 'all' });
  for await (const { header, record } of decodePieces(piecesOf(random), decoder)) {
    if (record.kind === 'DEVICE_DATA') yield { record, at: header.offset };
  }
}

/** An index that holds, or undefined. @throws READ_FAILED */
async function indexOf(random: RandomAccess): Promise<IndexedImage | undefined> {
  try {
    return await IndexedImage.open(random);
  } catch (error) {
    if (!(error instanceof TransmigrateError) || error.code === 'READ_FAILED') throw error;
    return undefined;
  }
}

function noSuchBytes(device: number, offset: number, count: number): TransmigrateError {
  return new TransmigrateError('ORIGIN_INVALID', `Device ${device} has not the bytes that ORIGIN names`, {
    section: 'foreign/origin 2',
    data: { device, offset, count },
  });
}
