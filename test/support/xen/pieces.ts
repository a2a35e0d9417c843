/** Reading streams of Xen in pieces, and writing again what was read. */
import { createHash, type Hash } from 'node:crypto';
import { TransmigrateError } from '../../../src/errors.ts';
import type { PageBatch } from '../../../src/foreign/xen-libxc/pages.ts';
import type { PieceReader, Trailing } from '../../../src/foreign/xen-libxc/piece-reader.ts';
import type { Random } from '../random.ts';

/** Lengths of pieces for {@link readAll}. */
export type Pieces = (left: number) => number;

export const WHOLE: Pieces = (left) => left;
export const BYTE_BY_BYTE: Pieces = () => 1;

/** Pieces of very different sizes, as a socket gives them. */
export function randomPieces(random: Random, most: number): Pieces {
  return () => 1 + random.below(random.below(4) === 0 ? most : Math.min(most, 97));
}

/**
 * Feeds all bytes and hands each event to `visit`. Each piece is a copy that is overwritten afterwards, so that a
 * reader that keeps what it only borrowed is found out; whole files are lent as they are.
 */
export function readAll<Event>(
  reader: PieceReader<Event>,
  bytes: Uint8Array,
  pieces: Pieces,
  visit: (event: Event | Trailing) => void = () => {},
): void {
  for (let at = 0; at < bytes.byteLength;) {
    const length = Math.min(pieces(bytes.byteLength - at), bytes.byteLength - at);
    const whole = length === bytes.byteLength;
    const piece = whole ? bytes : bytes.slice(at, at + length);
    reader.feed(piece);
    for (let event = reader.read(); event !== undefined; event = reader.read()) visit(event);
    if (!whole) piece.fill(0xa5);
    at += length;
  }
  reader.finish();
}

/** What an action threw, which must be an error of ours. */
export function thrownBy(action: () => void): TransmigrateError | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof TransmigrateError) return error;
    throw error;
  }
}

/** Collects what is emitted, as one piece. */
export class Collected {
  #parts: Uint8Array[] = [];

  readonly emit = (bytes: Uint8Array): void => {
    this.#parts.push(bytes.slice());
  };

  get bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}

/** Digests what is emitted. */
export class Digested {
  readonly #hash: Hash = createHash('sha256');
  bytes = 0;

  readonly emit = (bytes: Uint8Array): void => {
    this.#hash.update(bytes);
    this.bytes += bytes.byteLength;
  };

  hex(): string {
    return this.#hash.digest('hex');
  }
}

/** Memory as it is at the end of a stream: the last copy of a page wins, and one resent without data is gone. */
export class FinalMemory {
  readonly #pages = new Map<number, Uint8Array>();
  entries = 0;
  readonly types = new Map<number, number>();

  add(batch: PageBatch): void {
    let at = 0;
    for (let entry = batch.first; entry < batch.end; entry++) {
      this.entries++;
      const type = batch.type(entry);
      this.types.set(type, (this.types.get(type) ?? 0) + 1);
      if (batch.hasData(entry)) {
        this.#pages.set(batch.pfn(entry), batch.bytes.slice(at, at + 4096));
        at += 4096;
      } else {
        this.#pages.delete(batch.pfn(entry));
      }
    }
    if (at !== batch.bytes.byteLength) throw new Error(`${batch.bytes.byteLength} bytes for ${at}`);
  }

  get size(): number {
    return this.#pages.size;
  }

  page(pfn: number): Uint8Array | undefined {
    return this.#pages.get(pfn);
  }

  /** As the corpus' manifests take it: pfn as u64 and the page, in ascending order. */
  sha256(): string {
    const hash = createHash('sha256');
    const number = new DataView(new ArrayBuffer(8));
    for (const pfn of [...this.#pages.keys()].sort((a, b) => a - b)) {
      number.setBigUint64(0, BigInt(pfn), true);
      hash.update(new Uint8Array(number.buffer)).update(this.#pages.get(pfn)!);
    }
    return hash.digest('hex');
  }
}
