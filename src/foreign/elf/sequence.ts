/** An ELF core read in one pass (spec/foreign/elf.md, section 2.1). */
import { elfError } from './elf-error.ts';
import {
  countsAreEscaped,
  ELF_LIMITS,
  ELF_SIZES,
  elfTables,
  parseElfHeader,
  parseSections,
  parseSegments,
  type ElfFile,
  type ElfTables,
} from './elf-file.ts';
import { elfRegions, type ElfRegion } from './regions.ts';

/** A step of {@link elfSequence}. */
export type ElfPart =
  /** Header and tables: the first step. */
  | { readonly what: 'head'; readonly file: ElfFile; readonly tables: ElfTables }
  /** Bytes of a segment or section. They are valid until the next step. */
  | { readonly what: 'content'; readonly region: ElfRegion; readonly offset: number; readonly bytes: Uint8Array }
  /** Bytes that nothing describes, and that are not all zero: a writer of ours can't keep them. */
  | { readonly what: 'gap'; readonly offset: number; readonly bytes: Uint8Array }
  /** The last step. */
  | { readonly what: 'end'; readonly bytes: number };

/**
 * Reads an ELF core from start to end. What two regions share is given once, to the one that starts first.
 *
 * @throws TRUNCATED when the file ends in a region, UNSUPPORTED_FEATURE when its tables stand behind its content, so
 * that it can only be read where one can go back; FIELD_VALUE and LIMIT_EXCEEDED for tables that cannot be.
 */
export async function* elfSequence(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<ElfPart> {
  const head = new Head();
  let walk: Walk | undefined;
  for await (const piece of pieces) {
    if (walk !== undefined) {
      yield* walk.take(piece);
      continue;
    }
    const tables = head.take(piece);
    if (tables === undefined) continue;
    const file = head.file(tables);
    yield { what: 'head', file, tables };
    walk = new Walk(elfRegions(file, tables));
    yield* walk.take(head.bytes);
  }
  // Whoever fed too little is told what is missing.
  yield walk === undefined ? head.missing() : walk.end();
}

/** Gathers the bytes up to the end of both tables. */
class Head {
  #bytes = new Uint8Array(4096);
  #used = 0;

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#used);
  }

  /** @returns where the tables are, once they are in. */
  take(piece: Uint8Array): ElfTables | undefined {
    const need = this.#used + piece.byteLength;
    if (need > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.max(need, this.#bytes.byteLength * 2));
      larger.set(this.bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.#used);
    this.#used = need;
    const tables = this.#tables();
    return tables !== undefined && this.#used >= endOf(tables) ? tables : undefined;
  }

  file(tables: ElfTables): ElfFile {
    const header = parseElfHeader(this.bytes);
    const part = (at: number, length: number): Uint8Array => this.bytes.subarray(at, at + length);
    return {
      header,
      segments: parseSegments(header, part(tables.segmentsAt, tables.segmentBytes)),
      sections: parseSections(header, part(tables.sectionsAt, tables.sectionBytes)),
    };
  }

  /** @throws what the bytes lack. */
  missing(): never {
    parseElfHeader(this.bytes);
    throw elfError('TRUNCATED', 'The file ends in its tables', this.#used, 'tables', '2');
  }

  #tables(): ElfTables | undefined {
    if (this.#used < ELF_SIZES[8].header) return undefined;
    const header = parseElfHeader(this.bytes);
    if (!countsAreEscaped(header)) return checked(elfTables(header, undefined));
    const end = header.sectionsAt + ELF_SIZES[header.wordBytes].section;
    if (header.sectionsAt > ELF_LIMITS.headBytes) throw behind(header.sectionsAt);
    if (this.#used < end) return undefined;
    const [first] = parseSections(header, this.bytes.subarray(header.sectionsAt, end));
    return checked(elfTables(header, first));
  }
}

function checked(tables: ElfTables): ElfTables {
  if (endOf(tables) > ELF_LIMITS.headBytes) throw behind(Math.max(tables.segmentsAt, tables.sectionsAt));
  return tables;
}

function behind(at: number): Error {
  const what = `A table stands at ${at}: what is before it can't be understood in one pass`;
  return elfError('UNSUPPORTED_FEATURE', what, at, 'tables', '2.1').with({
    next: 'Copy the core into a file, and read that.',
  });
}

function endOf({ segmentsAt, segmentBytes, sectionsAt, sectionBytes }: ElfTables): number {
  return Math.max(
    ELF_SIZES[4].header,
    segmentBytes === 0 ? 0 : segmentsAt + segmentBytes,
    sectionBytes === 0 ? 0 : sectionsAt + sectionBytes,
  );
}

/** Goes along the regions with the bytes of the file. */
class Walk {
  readonly #regions: readonly ElfRegion[];
  #next = 0;
  #at = 0;

  constructor(regions: readonly ElfRegion[]) {
    this.#regions = regions;
  }

  *take(piece: Uint8Array): Generator<ElfPart> {
    let done = 0;
    while (done < piece.byteLength) {
      this.#skipPast();
      const region = this.#regions[this.#next];
      const inside = region !== undefined && region.offset <= this.#at;
      const until = region === undefined ? Infinity : inside ? region.offset + region.length : region.offset;
      const length = Math.min(piece.byteLength - done, until - this.#at);
      const bytes = piece.subarray(done, done + length);
      const offset = this.#at;
      done += length;
      this.#at += length;
      if (!inside) {
        if (bytes.some((byte) => byte !== 0)) yield { what: 'gap', offset, bytes };
      } else if (region.what === 'segment' || region.what === 'section') {
        yield { what: 'content', region, offset, bytes };
      }
    }
  }

  end(): ElfPart {
    this.#skipPast();
    const region = this.#regions[this.#next];
    if (region !== undefined) {
      const path =
        region.what === 'segment' || region.what === 'section' ? `${region.what}s[${region.index}]` : region.what;
      const what = `The file ends before ${path} does, which has ${region.length} bytes from ${region.offset}`;
      throw elfError('TRUNCATED', what, this.#at, path, '2.1');
    }
    return { what: 'end', bytes: this.#at };
  }

  #skipPast(): void {
    for (;;) {
      const region = this.#regions[this.#next];
      if (region === undefined || region.offset + region.length > this.#at) return;
      this.#next++;
    }
  }
}
