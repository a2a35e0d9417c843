/** What bench/tmem.ts measures: operations of the engine, and the bare things that they are compared with. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encodeInto } from '../../src/codec/codec.ts';
import { crc32 } from '../../src/codec/platform.ts';
import { IncomingTmem, TmemEngine, TmemLog, tmemStatistics, TmemSnapshot, type CodecId } from '../../src/index.ts';
import { copyBytes } from '../../src/tmem/platform.ts';

export const PAGE = 4096;
export const PERSISTENT = 0x0100_0001;
export const EPHEMERAL = 0x0100_0000;
/** Far enough that nothing is evicted. */
const LIMIT = 2 ** 40;
/** Different pages that are put in turn: more than the caches of a core hold. */
const SOURCES = 4096;
const CLIENT = 1;
/** Pages of a slab: what the bare copies, too, take from the system at a time. */
const IN_SLAB = 256;
/** Of gets: pages that were put one after the other are not asked for so. */
const OTHER_STRIDE = 104_729;

/** Nanoseconds for one of each operation; what a case does not measure is absent. */
export interface Cost {
  /** Of a page that is not there. */
  readonly put?: number;
  /** Over a page that is there: any of them, in no order. */
  readonly over?: number;
  /** Of any page, in no order. */
  readonly get?: number;
  readonly flush?: number;
  readonly save?: number;
  readonly restore?: number;
  /** Bytes kept for a page, all in all. */
  readonly bytes?: number;
  /** Of these, what is not stored content. */
  readonly overhead?: number;
}

setFlagsFromString('--expose-gc');
// Else what was not used for a few collections would have to be compiled again while it is measured.
setFlagsFromString('--no-flush-bytecode');
const collect = runInNewContext('gc') as () => void;

/** Nanoseconds of CPU that this thread has used: the machine may have other things to do. */
export function cpuNow(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) * 1000;
}

/** Pages of one kind, which no cache of a core holds together. */
export function sourcePages(kind: 'random' | 'half' | 'pattern'): Uint8Array[] {
  const all = new Uint8Array(SOURCES * PAGE);
  let state = 0x1234_5678;
  for (let at = 0; at < all.length; at++) {
    const inPage = at % PAGE;
    if ((kind === 'half' && inPage >= PAGE / 2) || (kind === 'pattern' && inPage >= 8)) {
      all[at] = all[at - 8];
      continue;
    }
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    all[at] = state;
  }
  return Array.from({ length: SOURCES }, (_, i) => all.subarray(i * PAGE, (i + 1) * PAGE));
}

/** How the engine is used in a case. */
export interface Choice {
  readonly flags: number;
  readonly perObject: number;
  readonly sources: readonly Uint8Array[];
  readonly codec?: CodecId;
  readonly sharing?: boolean;
  /** Whether an object's pages are put one after the other, which is what the engine does best. */
  readonly inOrder?: boolean;
  /** Makes every page another one. */
  readonly unique?: boolean;
  /** What reads the client: a log from the first put on, which then sends everything; a snapshot of all pages. */
  readonly reader?: 'log' | 'snapshot';
}

/**
 * One of each class that works in a case, with a page in it, for as long as the process lives: as a host's engine does.
 * Each case makes an engine and throws it away. When none is left, the collector takes the shapes of its objects, and
 * with them all code that was compiled for these: every case would start in the interpreter.
 */
function residents(): readonly object[] {
  const all: object[] = [];
  for (const sharing of [false, true]) {
    const engine = new TmemEngine({ limitBytes: LIMIT, client: { sharing } });
    engine.newPool(CLIENT, PERSISTENT, new Uint8Array(16));
    engine.put(CLIENT, 0, new Uint32Array(7), new Uint8Array(PAGE).fill(1));
    all.push(engine, new TmemSnapshot(engine, CLIENT), new TmemLog(engine, CLIENT));
    all.push(new IncomingTmem(new TmemEngine({ limitBytes: LIMIT }), CLIENT, {}));
  }
  return all;
}

/** All cases for so many pages. */
export class Costs {
  /** Never read: what it holds has to be there. */
  readonly residents = residents();
  readonly #pages: number;

  constructor(pages: number) {
    this.#pages = pages;
  }

  /** Operations of the engine. */
  engine(choice: Choice): Cost {
    const { sources, flags, perObject } = choice;
    const [engine, put, close] = this.#filled(choice);
    const { slabBytes, tableBytes, clients } = tmemStatistics(engine);
    const bytes = (slabBytes + tableBytes) / this.#pages;
    const overhead = bytes - clients[0].pools[0].storedBytes / this.#pages;
    const handle = new Uint32Array(7);
    const out = new Uint8Array(PAGE);
    const at = (step: number, stride?: number): void => {
      const page = this.#scattered(step, stride);
      handle[0] = Math.floor(page / perObject);
      handle[6] = page % perObject;
    };
    const over = this.#timed((step) => {
      at(step);
      if (engine.put(CLIENT, 0, handle, sources[step % SOURCES]) !== 1) throw new Error('a put failed');
    });
    const get = this.#timed((step) => {
      at(step, OTHER_STRIDE);
      if (engine.get(CLIENT, 0, handle, out) !== 1) throw new Error('a get failed');
    });
    if (flags === EPHEMERAL) {
      for (let step = 0; step < this.#pages; step++) {
        at(step);
        engine.put(CLIENT, 0, handle, sources[step % SOURCES]);
      }
    }
    const flush = this.#timed((step) => {
      at(step);
      if (engine.flushPage(CLIENT, 0, handle) !== 1) throw new Error('a flush failed');
    });
    close();
    engine.destroyClient(CLIENT);
    return { put, over, get, flush, bytes, overhead };
  }

  /** What a program without this engine would do: a text for a key, a copy for a page. */
  map(sources: readonly Uint8Array[], perObject: number): Cost {
    const map = new Map<string, Buffer>();
    const keyOf = (page: number): string => `0/${Math.floor(page / perObject)}/${page % perObject}`;
    const put = this.#timed((step) => void map.set(keyOf(step), Buffer.from(sources[step % SOURCES])));
    const over = this.#timed(
      (step) => void map.set(keyOf(this.#scattered(step)), Buffer.from(sources[step % SOURCES])),
    );
    const out = new Uint8Array(PAGE);
    const get = this.#timed((step) => out.set(map.get(keyOf(this.#scattered(step, OTHER_STRIDE)))!));
    const flush = this.#timed((step) => void map.delete(keyOf(this.#scattered(step))));
    return { put, over, get, flush };
  }

  /** A copy of each page into a new slab, over any of the copies, and back: what no store can be spared. */
  copy(sources: readonly Uint8Array[]): Cost {
    const slabs: Uint8Array[] = [];
    const put = this.#timed((step) => {
      if (step % IN_SLAB === 0) slabs.push(freshSlab());
      slabs[Math.floor(step / IN_SLAB)].set(sources[step % SOURCES], (step % IN_SLAB) * PAGE);
    });
    const over = this.#timed((step) => {
      const page = this.#scattered(step);
      slabs[Math.floor(page / IN_SLAB)].set(sources[step % SOURCES], (page % IN_SLAB) * PAGE);
    });
    const out = new Uint8Array(PAGE);
    const get = this.#timed((step) => {
      const page = this.#scattered(step, OTHER_STRIDE);
      const from = (page % IN_SLAB) * PAGE;
      copyBytes(slabs[Math.floor(page / IN_SLAB)], from, out, 0, PAGE);
    });
    giveBack(slabs);
    return { put, over, get };
  }

  /** A codec that packs each page into one small buffer; and one whose results are kept, one after the other. */
  codec(sources: readonly Uint8Array[], codec: CodecId): { readonly hot: Cost; readonly kept: Cost } {
    const out = new Uint8Array(PAGE - 64);
    const hot = this.#timed((step) => void encodeInto(codec, sources[step % SOURCES], out));
    const slabs = [freshSlab()];
    let used = 0;
    const kept = this.#timed((step) => {
      const length = encodeInto(codec, sources[step % SOURCES], out);
      if (used + length > slabs[0].length) {
        slabs.unshift(freshSlab());
        used = 0;
      }
      copyBytes(out, 0, slabs[0], used, length);
      used += length;
    });
    giveBack(slabs);
    return { hot: { put: hot }, kept: { put: kept } };
  }

  checksum(sources: readonly Uint8Array[]): Cost {
    return { put: this.#timed((step) => void crc32(sources[step % SOURCES])) };
  }

  /** Save to nowhere, and restore into another engine, a page each: each with the checksum that a record has. */
  saveAndRestore(sources: readonly Uint8Array[]): Cost {
    const [engine] = this.#filled({ flags: PERSISTENT, perObject: 256, sources });
    const readAll = (each: (body: Uint8Array) => void): number =>
      this.#once(() => {
        const snapshot = new TmemSnapshot(engine, CLIENT);
        for (let step = snapshot.next(); step !== undefined; step = snapshot.next()) {
          crc32(step.body);
          each(step.body);
        }
      });
    const save = readAll(() => undefined);
    const target = new TmemEngine({ limitBytes: LIMIT });
    const incoming = new IncomingTmem(target, CLIENT, {});
    const snapshot = new TmemSnapshot(engine, CLIENT);
    for (const pool of snapshot.pools) incoming.openPool(pool);
    snapshot.close();
    // Intervals as short as a batch can't be measured: what both take, less what saving took.
    const both = readAll((body) => {
      crc32(body);
      incoming.loadPages(body);
    });
    incoming.rollback();
    engine.destroyClient(CLIENT);
    return { save, restore: both - save };
  }

  /** An engine with all pages, what a put of them took, and what ends its reader. */
  #filled(choice: Choice): [TmemEngine, number, () => void] {
    const { flags, perObject, sources, codec, sharing = false, unique = false, inOrder = true } = choice;
    const client = { compress: codec !== undefined, sharing };
    const engine = new TmemEngine({ limitBytes: LIMIT, client, ...(codec !== undefined && { codec }) });
    engine.newPool(CLIENT, flags, new Uint8Array(16));
    const handle = new Uint32Array(7);
    const log = choice.reader === 'log' ? new TmemLog(engine, CLIENT, { ephemeral: true }) : undefined;
    const put = this.#timed((step) => {
      const page = inOrder ? step : this.#scattered(step);
      handle[0] = Math.floor(page / perObject);
      handle[6] = page % perObject;
      const source = sources[step % SOURCES];
      if (unique) {
        source[0] = step;
        source[1] = step >> 8;
        source[2] = step >> 16;
      }
      if (engine.put(CLIENT, 0, handle, source) !== 1) throw new Error('a put failed');
    });
    if (log !== undefined) {
      while (log.next(0) !== undefined);
      return [engine, put, () => log.close()];
    }
    if (choice.reader === undefined) return [engine, put, () => undefined];
    const snapshot = new TmemSnapshot(engine, CLIENT, { ephemeral: true });
    return [engine, put, () => snapshot.close()];
  }

  /** All numbers below `pages`, in an order that no cache can foresee; gets in another than puts. */
  #scattered(step: number, stride = 7919): number {
    return (step * stride) % this.#pages;
  }

  #timed(work: (step: number) => void): number {
    return this.#once(() => {
      for (let step = 0; step < this.#pages; step++) work(step);
    });
  }

  #once(work: () => void): number {
    // Garbage of what was measured before is not this one's.
    collect();
    const before = cpuNow();
    work();
    return (cpuNow() - before) / this.#pages;
  }
}

function freshSlab(): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(IN_SLAB * PAGE).buffer);
}

function giveBack(slabs: readonly Uint8Array[]): void {
  for (const { buffer } of slabs) (buffer as ArrayBuffer).transfer(0);
}

/** Ten million pages of 100 bytes: first and last million, and all memory of the process. */
export function tenMillion(): { firstNs: number; lastNs: number; gib: number } {
  const engine = new TmemEngine({ limitBytes: LIMIT });
  engine.newPool(CLIENT, PERSISTENT, new Uint8Array(16));
  const page = new Uint8Array(PAGE).fill(7, 0, 100);
  const handle = new Uint32Array(7);
  const million = 1_000_000;
  const times: number[] = [];
  for (let part = 0; part < 10; part++) {
    const before = cpuNow();
    for (let step = 0; step < million; step++) {
      const number = part * million + step;
      handle[0] = number >>> 8;
      handle[6] = number & 255;
      page[0] = step;
      page[99] = 1;
      if (engine.put(CLIENT, 0, handle, page) !== 1) throw new Error('a put failed');
    }
    times.push((cpuNow() - before) / million);
  }
  return { firstNs: times[0], lastNs: times[9], gib: process.memoryUsage().rss / 2 ** 30 };
}
