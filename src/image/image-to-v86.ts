import type { ByteSink } from '../bytes/endpoints.ts';
import { isZeroRange } from '../codec/platform.ts';
import { TransmigrateError } from '../errors.ts';
import { joinSaveState, memorySizeOf, MEMORY_MOST, V86_PAGE_BYTES } from '../foreign/v86/memory.ts';
import { parseSaveState } from '../foreign/v86/save-state.ts';
import type { ByteSource } from '../io/source.ts';
import { watchedPieces, type Work } from '../io/work.ts';
import { decodePieces } from '../stream/decode-pieces.ts';
import type { DecodedRecord, StreamDecoder } from '../stream/decoder.ts';
import { LIMITS } from '../stream/limits.ts';
import type { Disk } from '../stream/records/device.ts';
import type { PageRuns } from '../stream/records/ram.ts';
import { contentOf } from '../stream/records/stored.ts';
import { decodersFor } from './read-channels.ts';

const FORMAT = 'v86-state';
const MOST_PAGES = MEMORY_MOST / V86_PAGE_BYTES;
/** Pages of one piece of memory: 1 MiB. */
const PIECE_PAGES = 256;

/**
 * Converts an image of a v86 machine into a state that v86's own `restore_state` takes. All of the image is read and
 * checked before the first byte is written; its pages that are not zero are held in memory.
 *
 * @returns the version of v86 that the state is for, and its length in bytes
 * @throws the errors of the image; IMAGE_UNFIT when it is of no v86 machine, or has what a state of v86 has no place
 * for: tmem, and disks that are not in it; MEMORY_MISMATCH, DEVICE_MISSING, CANCELLED; what the sink throws. The sink
 * is not ended.
 */
export async function imageToV86State(
  source: ByteSource,
  sink: ByteSink,
  work: Work = {},
): Promise<{ readonly version: string; readonly bytes: number }> {
  const [decoder] = decodersFor([source], {});
  const memory = new SparseMemory();
  const device = new Blob();
  for await (const decoded of decodePieces(watchedPieces(source, work), decoder)) {
    take(decoded, decoder, memory, device);
  }
  if (device.version === undefined) {
    throw new TransmigrateError('DEVICE_MISSING', 'The image has no device state');
  }
  const devices = device.bytes();
  const memoryBytes = memorySizeOf(parseSaveState(devices).tree);
  memory.check(memoryBytes / V86_PAGE_BYTES);
  const { before, packedBytes, after } = joinSaveState(devices, memory.bitmap(memoryBytes / V86_PAGE_BYTES));
  await sink.write(before);
  for (const run of memory.runs()) await sink.write(run);
  await sink.write(after);
  return { version: device.version, bytes: before.byteLength + packedBytes + after.byteLength };
}

function take(decoded: DecodedRecord, decoder: StreamDecoder, memory: SparseMemory, device: Blob): void {
  const { header, record } = decoded;
  const { offset } = header;
  switch (record.kind) {
    case 'RAM': {
      const last = record.extents - 1;
      if (record.extentFirst(last) + record.extentPages(last) > MOST_PAGES) {
        throw new TransmigrateError('MEMORY_MISMATCH', 'The image has more memory than v86 has', { offset });
      }
      record.visit(memory, memory.scratch);
      return;
    }
    case 'DEVICE':
      if (record.format !== FORMAT || device.version !== undefined) {
        throw unfit(`Its device state is ${record.format}, where one of ${FORMAT} is needed`, offset);
      }
      device.version = record.version;
      return;
    case 'DEVICE_DATA':
      device.add(contentOf(record, decoder.scratch, { offset, section: '9.2' }));
      return;
    case 'DISK':
      return checkDisk(record, offset);
    case 'TMEM_POOL':
      throw unfit('Its guest has tmem', offset);
    default:
  }
}

function checkDisk({ name, policy }: Disk, offset: number): void {
  if (policy !== 'inside-device') throw unfit(`The content of its disk ${name} is not in it (${policy})`, offset);
}

function unfit(why: string, offset: number): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', `The image can be no state of v86: ${why}`, { offset });
}

/** A device blob as it comes: no more is held than came. */
class Blob {
  version: string | undefined;
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  add(chunk: Uint8Array): void {
    this.#chunks.push(chunk.slice());
    this.#length += chunk.byteLength;
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.byteLength;
    }
    return all;
  }
}

/** Guest memory of which only what is not zero is held. */
class SparseMemory implements PageRuns {
  readonly scratch = new Uint8Array(LIMITS.unitBytes);
  /** Pieces of PIECE_PAGES pages, where there is one that is not zero. */
  readonly #pieces = new Map<number, Uint8Array>();
  /** A bit for each page: it is named by the image; it is not zero. */
  readonly #present = new Uint8Array(MOST_PAGES / 8);
  readonly #filled = new Uint8Array(MOST_PAGES / 8);
  #count = 0;
  #end = 0;

  data(first: number, pages: number, _pageClass: number, source: Uint8Array, at: number): void {
    for (let i = 0; i < pages; i++) {
      const page = first + i;
      const from = at + i * V86_PAGE_BYTES;
      const zero = isZeroRange(source, from, V86_PAGE_BYTES);
      this.#mark(page, true, !zero);
      if (!zero) this.#piece(page).set(source.subarray(from, from + V86_PAGE_BYTES), placeOf(page));
    }
  }

  zero(first: number, pages: number): void {
    for (let page = first; page < first + pages; page++) this.#mark(page, true, false);
  }

  absent(first: number, pages: number): void {
    for (let page = first; page < first + pages; page++) this.#mark(page, false, false);
  }

  /** Are these all of the machine's pages? @throws MEMORY_MISMATCH */
  check(pages: number): void {
    if (this.#count === pages && this.#end <= pages) return;
    const what = `The image has ${this.#count} pages of memory, and the machine ${pages}`;
    throw new TransmigrateError('MEMORY_MISMATCH', what, { data: { found: this.#count, needed: pages } });
  }

  bitmap(pages: number): Uint8Array {
    return this.#filled.slice(0, Math.ceil(pages / 8));
  }

  /** The pages that are not zero, in order, in runs: views. */
  *runs(): Generator<Uint8Array> {
    for (let piece = 0; piece * PIECE_PAGES < this.#end; piece++) {
      const bytes = this.#pieces.get(piece);
      if (bytes === undefined) continue;
      for (let i = 0; i < PIECE_PAGES;) {
        let length = 0;
        while (i + length < PIECE_PAGES && has(this.#filled, piece * PIECE_PAGES + i + length)) length++;
        if (length > 0) yield bytes.subarray(i * V86_PAGE_BYTES, (i + length) * V86_PAGE_BYTES);
        i += length + 1;
      }
    }
  }

  #mark(page: number, present: boolean, filled: boolean): void {
    if (has(this.#present, page) !== present) this.#count += present ? 1 : -1;
    set(this.#present, page, present);
    set(this.#filled, page, filled);
    if (present) this.#end = Math.max(this.#end, page + 1);
  }

  #piece(page: number): Uint8Array {
    const number = Math.floor(page / PIECE_PAGES);
    let piece = this.#pieces.get(number);
    if (piece === undefined) {
      piece = new Uint8Array(PIECE_PAGES * V86_PAGE_BYTES);
      this.#pieces.set(number, piece);
    }
    return piece;
  }
}

function placeOf(page: number): number {
  return (page % PIECE_PAGES) * V86_PAGE_BYTES;
}

function has(bits: Uint8Array, at: number): boolean {
  return (bits[at >> 3] & (1 << (at & 7))) !== 0;
}

function set(bits: Uint8Array, at: number, value: boolean): void {
  if (value) bits[at >> 3] |= 1 << (at & 7);
  else bits[at >> 3] &= ~(1 << (at & 7));
}
