import { watchedPieces } from '../../../io/work.ts';
import { PAGE_CLASS, type PageRun } from '../../../stream/records/ram.ts';
import { MACHINE, type ImageEvent } from '../../model/event.ts';
import { WholeReader } from '../whole-reader.ts';

const PAGE_BYTES = 4096;

/** Reads raw memory (spec/foreign/raw.md): page i stands at i times 4096. In one pass, also from a pipe. */
export class RawReader extends WholeReader {
  readonly format = 'raw';
  /** A page whose end comes with the next piece. */
  readonly #page = new Uint8Array(PAGE_BYTES);
  #used = 0;
  #pages = 0;

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    yield {
      kind: 'head',
      isCore: true,
      domainType: 'unknown',
      byteOrder: 'little',
      wordBits: 64,
      machine: MACHINE.none,
      pageSize: PAGE_BYTES,
      about: { source: { hypervisor: 'unknown', versions: {} } },
    };
    for await (const piece of watchedPieces(this.source, this.options)) {
      this.offset += piece.byteLength;
      yield* this.#take(piece);
    }
    if (this.#used > 0) {
      const offset = this.#pages * PAGE_BYTES;
      const place = { offset, path: this.source.name, section: 'foreign/raw 2' };
      const data = { bytes: this.#used };
      this.found.report('warning', 'PARTIAL_PAGE', 'the memory ends within a page', place, data);
      this.options.origin?.literal(this.#page.subarray(0, this.#used));
    }
    yield { kind: 'end', bytes: this.offset };
  }

  *#take(piece: Uint8Array): Generator<ImageEvent> {
    let at = 0;
    if (this.#used > 0) {
      at = Math.min(piece.byteLength, PAGE_BYTES - this.#used);
      this.#page.set(piece.subarray(0, at), this.#used);
      this.#used += at;
      if (this.#used < PAGE_BYTES) return;
      this.#used = 0;
      yield this.#event(this.#page, 1);
    }
    const pages = Math.floor((piece.byteLength - at) / PAGE_BYTES);
    if (pages > 0) yield this.#event(piece.subarray(at, at + pages * PAGE_BYTES), pages);
    const rest = piece.subarray(at + pages * PAGE_BYTES);
    this.#page.set(rest);
    this.#used = rest.byteLength;
  }

  #event(source: Uint8Array, pages: number): ImageEvent {
    const firstPfn = this.#pages;
    this.#pages += pages;
    this.options.origin?.pages(pages);
    return {
      kind: 'pages',
      bytesOffset: firstPfn * PAGE_BYTES,
      *runs(): Generator<PageRun> {
        yield { firstPfn, pages, pageClass: PAGE_CLASS.ordinary, source, at: 0 };
      },
    };
  }
}
