/** Writing an ELF core in one pass, from its first byte to its last. */
import type { ByteSink } from '../../bytes/endpoints.ts';
import { encodeElfHeader, encodeSections, encodeSegments, type ElfFile } from './elf-file.ts';

const ZEROS = new Uint8Array(65_536);

/**
 * Writes header and tables at their places, and between them what is put, in ascending order of place. What is not
 * put is zero. A put that overlaps what is written already is a defect of the caller, and a RangeError.
 */
export class ElfWriter {
  readonly #sink: ByteSink;
  /** Header and tables that are still to come, the next one last. */
  readonly #tables: { readonly offset: number; readonly bytes: Uint8Array }[];
  #at = 0;

  /** @param sink what is handed to it is not changed afterwards, but for what the caller puts. */
  constructor(sink: ByteSink, { header, segments, sections }: ElfFile) {
    this.#sink = sink;
    this.#tables = [
      { offset: 0, bytes: encodeElfHeader(header) },
      { offset: header.segmentsAt, bytes: encodeSegments(header, segments) },
      { offset: header.sectionsAt, bytes: encodeSections(header, sections) },
    ]
      .filter(({ bytes }) => bytes.byteLength > 0)
      .toSorted((a, b) => b.offset - a.offset);
  }

  /** Bytes written so far. */
  get position(): number {
    return this.#at;
  }

  /** Writes `bytes` at `offset` of the file. Resolves when the caller may change them. */
  async put(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#tablesBefore(offset + bytes.byteLength);
    await this.#fill(offset);
    await this.#write(bytes);
  }

  /** Writes what is left, up to `length` bytes of the whole file. */
  async end(length = 0): Promise<void> {
    await this.#tablesBefore(Infinity);
    if (length > this.#at) await this.#fill(length);
  }

  async #tablesBefore(end: number): Promise<void> {
    for (let next = this.#tables.at(-1); next !== undefined && next.offset < end; next = this.#tables.at(-1)) {
      await this.#fill(next.offset);
      await this.#write(next.bytes);
      this.#tables.pop();
    }
  }

  async #fill(until: number): Promise<void> {
    if (until < this.#at) throw new RangeError(`place ${until} of the core is written already`);
    while (this.#at < until) await this.#write(ZEROS.subarray(0, Math.min(ZEROS.byteLength, until - this.#at)));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#at += bytes.byteLength;
    await this.#sink.write(bytes);
  }
}
