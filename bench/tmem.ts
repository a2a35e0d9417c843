/**
 * How fast the tmem engine is and what a page costs, beside a plain Map of copies, all in one run.
 *
 *   node bench/tmem.ts [--pages 100000] [--runs 5] [--json] [--check] [--large]
 *
 * Prints medians of CPU nanoseconds for an operation, of the thread that does it, and the ratios that matter; --check
 * ends with 1 when one is missed. --large puts 10 million pages of 100 bytes, in a process of its own.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CODEC, IncomingTmem, TmemEngine, TmemLog, tmemStatistics, TmemSnapshot, type CodecId } from '../src/index.ts';
import { encodeInto } from '../src/codec/codec.ts';
import { crc32 } from '../src/codec/platform.ts';
import { median } from './support/measure.ts';

const { values } = parseArgs({
  options: {
    pages: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    'only-large': { type: 'boolean', default: false },
  },
});
const pages = Number(values.pages);
const runs = Number(values.runs);
const PAGE = 4096;
const PERSISTENT = 0x0100_0001;
const EPHEMERAL = 0x0100_0000;
/** Far enough that nothing is evicted. */
const LIMIT = 2 ** 40;
/** Different pages that are put in turn: more than the caches hold. */
const SOURCES = 4096;
const CLIENT = 1;

/** Nanoseconds of CPU that this thread has used: the machine may have other things to do. */
function cpuNow(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) * 1000;
}

function sourcePages(kind: 'random' | 'half' | 'pattern'): Uint8Array[] {
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

/** Nanoseconds for one of each operation. */
interface Cost {
  put: number;
  get: number;
  flush: number;
  /** Bytes kept for a page, all in all. */
  bytes: number;
  /** Of these, what is not stored content. */
  overhead: number;
}

/** All numbers below `pages`, in an order that no cache can foresee. */
function scattered(): (step: number) => number {
  const stride = 7919;
  return (step) => (step * stride) % pages;
}

function timed(work: (step: number) => void): number {
  const before = cpuNow();
  for (let step = 0; step < pages; step++) work(step);
  return (cpuNow() - before) / pages;
}

interface Choice {
  /** Makes every page another one. */
  readonly unique?: boolean;
  /** Reads the client while it works. */
  readonly log?: boolean;
  readonly flags: number;
  readonly perObject: number;
  readonly sources: readonly Uint8Array[];
  readonly codec?: CodecId;
  readonly sharing?: boolean;
}

function filled({
  flags,
  perObject,
  sources,
  codec,
  sharing = false,
  unique = false,
  log = false,
}: Choice): [engine: TmemEngine, put: number] {
  const client = { compress: codec !== undefined, sharing };
  const engine = new TmemEngine({ limitBytes: LIMIT, client, ...(codec !== undefined && { codec }) });
  engine.newPool(CLIENT, flags, new Uint8Array(16));
  const reader = log ? new TmemLog(engine, CLIENT) : undefined;
  reader?.next(0);
  const handle = new Uint32Array(7);
  const put = timed((step) => {
    handle[0] = Math.floor(step / perObject);
    handle[6] = step % perObject;
    const source = sources[step % SOURCES];
    if (unique) {
      source[0] = step;
      source[1] = step >> 8;
      source[2] = step >> 16;
    }
    if (engine.put(CLIENT, 0, handle, source) !== 1) throw new Error('a put failed');
  });
  return [engine, put];
}

function engineCost(choice: Choice): Cost {
  const [engine, put] = filled(choice);
  const { slabBytes, tableBytes, clients } = tmemStatistics(engine);
  const bytes = (slabBytes + tableBytes) / pages;
  const stored = (clients[0].pools[0].storedBytes || 0) / pages;
  const handle = new Uint32Array(7);
  const out = new Uint8Array(PAGE);
  const order = scattered();
  const at = (step: number): void => {
    const page = order(step);
    handle[0] = Math.floor(page / choice.perObject);
    handle[6] = page % choice.perObject;
  };
  const get = timed((step) => {
    at(step);
    if (engine.get(CLIENT, 0, handle, out) !== 1) throw new Error('a get failed');
  });
  if (choice.flags === EPHEMERAL) {
    for (let step = 0; step < pages; step++) {
      at(step);
      engine.put(CLIENT, 0, handle, choice.sources[step % SOURCES]);
    }
  }
  const flush = timed((step) => {
    at(step);
    if (engine.flushPage(CLIENT, 0, handle) !== 1) throw new Error('a flush failed');
  });
  return { put, get, flush, bytes, overhead: bytes - stored };
}

/** What a program without this engine would do: a text for a key, a copy for a page. */
function mapCost(sources: readonly Uint8Array[], perObject: number): Cost {
  const map = new Map<string, Buffer>();
  const keyOf = (page: number): string => `0/${Math.floor(page / perObject)}/${page % perObject}`;
  const put = timed((step) => void map.set(keyOf(step), Buffer.from(sources[step % SOURCES])));
  const out = new Uint8Array(PAGE);
  const order = scattered();
  const get = timed((step) => out.set(map.get(keyOf(order(step)))!));
  const flush = timed((step) => void map.delete(keyOf(order(step))));
  return { put, get, flush, bytes: Number.NaN, overhead: Number.NaN };
}

/** A copy of each page into fresh memory, a MiB at a time, and back from anywhere in it: what can't be spared. */
function copyCost(sources: readonly Uint8Array[]): Cost {
  const slabs: Uint8Array[] = [];
  const inSlab = 256;
  const put = timed((step) => {
    if (step % inSlab === 0) slabs.push(new Uint8Array(Buffer.allocUnsafeSlow(inSlab * PAGE).buffer));
    slabs[Math.floor(step / inSlab)].set(sources[step % SOURCES], (step % inSlab) * PAGE);
  });
  const out = new Uint8Array(PAGE);
  const order = scattered();
  const get = timed((step) => {
    const page = order(step);
    const from = (page % inSlab) * PAGE;
    out.set(slabs[Math.floor(page / inSlab)].subarray(from, from + PAGE));
  });
  return { put, get, flush: Number.NaN, bytes: PAGE, overhead: 0 };
}

function bareCost(sources: readonly Uint8Array[], codec: CodecId): Cost {
  const out = new Uint8Array(PAGE - 64);
  const put = timed((step) => void encodeInto(codec, sources[step % SOURCES], out));
  return { put, get: Number.NaN, flush: Number.NaN, bytes: Number.NaN, overhead: Number.NaN };
}

function hashCost(sources: readonly Uint8Array[]): Cost {
  const put = timed((step) => void crc32(sources[step % SOURCES]));
  return { put, get: Number.NaN, flush: Number.NaN, bytes: Number.NaN, overhead: Number.NaN };
}

/** Save to nowhere, and restore into another engine; a page each. Beside a checksum and a copy of the same bytes. */
function saveCost(sources: readonly Uint8Array[]): Cost {
  const [engine] = filled({ flags: PERSISTENT, perObject: 256, sources });
  const target = new TmemEngine({ limitBytes: LIMIT });
  const incoming = new IncomingTmem(target, CLIENT, {});
  const before = cpuNow();
  const snapshot = new TmemSnapshot(engine, CLIENT);
  let save = cpuNow() - before;
  let restore = 0;
  for (const pool of snapshot.pools) incoming.openPool(pool);
  for (;;) {
    const start = cpuNow();
    const step = snapshot.next();
    if (step === undefined) break;
    crc32(step.body);
    const between = cpuNow();
    save += between - start;
    crc32(step.body);
    incoming.loadPages(step.body);
    restore += cpuNow() - between;
  }
  return { put: save / pages, get: restore / pages, flush: Number.NaN, bytes: Number.NaN, overhead: Number.NaN };
}

/** Ten million pages of 100 bytes: first and last million, and all memory of the process. */
function large(): { firstNs: number; lastNs: number; gib: number } {
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

function report(): number {
  const random = sourcePages('random');
  const half = sourcePages('half');
  const pattern = sourcePages('pattern');
  const cases: Readonly<Record<string, () => Cost>> = {
    'copy only': () => copyCost(random),
    'map of copies': () => mapCost(random, 256),
    'random, persistent, 256 an object': () => engineCost({ flags: PERSISTENT, perObject: 256, sources: random }),
    'random, ephemeral, 256 an object': () => engineCost({ flags: EPHEMERAL, perObject: 256, sources: random }),
    'random, persistent, 1 an object': () => engineCost({ flags: PERSISTENT, perObject: 1, sources: random }),
    'random, LZ4 on': () => engineCost({ flags: PERSISTENT, perObject: 256, sources: random, codec: CODEC.lz4 }),
    'half random, LZ4': () => engineCost({ flags: PERSISTENT, perObject: 256, sources: half, codec: CODEC.lz4 }),
    'half random, LZO1X': () => engineCost({ flags: PERSISTENT, perObject: 256, sources: half, codec: CODEC.lzo1x }),
    'pattern, LZO1X': () => engineCost({ flags: PERSISTENT, perObject: 256, sources: pattern, codec: CODEC.lzo1x }),
    'half random, bare LZ4': () => bareCost(half, CODEC.lz4),
    'half random, bare LZO1X': () => bareCost(half, CODEC.lzo1x),
    'random, sharing, all different': () =>
      engineCost({ flags: PERSISTENT, perObject: 256, sources: random, sharing: true, unique: true }),
    'random, with a log reader': () => engineCost({ flags: PERSISTENT, perObject: 256, sources: random, log: true }),
    'checksum only': () => hashCost(random),
    'save and restore': () => saveCost(random),
  };
  const all = new Map<string, Cost[]>(Object.keys(cases).map((name) => [name, []]));
  // In turn, so that a change of the machine's speed falls on all alike; the first turn is not counted.
  for (let turn = 0; turn <= runs; turn++) {
    for (const [name, work] of Object.entries(cases)) {
      const cost = work();
      if (turn > 0) all.get(name)!.push(cost);
    }
  }
  const results = Object.fromEntries(
    [...all].map(([name, costs]) => {
      const of = (key: keyof Cost): number => median(costs.map((cost) => cost[key]));
      return [
        name,
        { put: of('put'), get: of('get'), flush: of('flush'), bytes: of('bytes'), overhead: of('overhead') },
      ];
    }),
  );
  const copy = results['copy only'];
  const mine = results['random, persistent, 256 an object'];
  const checksum = results['checksum only'].put;
  const ratios: [name: string, found: number, aim: number][] = [
    ['put : copy', mine.put / copy.put, 1.5],
    ['get : copy', mine.get / copy.get, 1.5],
    ['flush : put', mine.flush / mine.put, 0.5],
    ['put : put of the map', mine.put / results['map of copies'].put, 1.5],
    ['get : get of the map', mine.get / results['map of copies'].get, 1.5],
    [
      'put with sharing : copy and checksum',
      results['random, sharing, all different'].put / (copy.put + checksum),
      1.5,
    ],
    ['put with a log reader : put', results['random, with a log reader'].put / mine.put, 1.1],
    ['flush with a log reader : flush', results['random, with a log reader'].flush / mine.flush, 1.1],
    ['put LZ4 : bare LZ4', results['half random, LZ4'].put / results['half random, bare LZ4'].put, 1.2],
    ['put LZO1X : bare LZO1X', results['half random, LZO1X'].put / results['half random, bare LZO1X'].put, 1.2],
    ['overhead, 256 an object: bytes', mine.overhead, 64],
    ['overhead, 1 an object: bytes', results['random, persistent, 1 an object'].overhead, 130],
    ['half-random page: bytes', results['half random, LZ4'].bytes, 2300],
    ['save : checksum and copy', results['save and restore'].put / (checksum + copy.get), 1.5],
    ['restore : checksum, copy and put', results['save and restore'].get / (checksum + copy.get + mine.put), 1.5],
  ];
  if (values.large) {
    const entry = fileURLToPath(import.meta.url);
    const child = spawnSync(process.execPath, [entry, '--only-large'], { encoding: 'utf8' });
    const { firstNs, lastNs, gib } = JSON.parse(child.stdout) as ReturnType<typeof large>;
    ratios.push(['10 million pages of 100 bytes: GiB', gib, 2.5]);
    ratios.push(['last million puts : first', lastNs / firstNs, 1.5]);
  }
  if (values.json) {
    console.log(JSON.stringify({ pages, runs, results, ratios: Object.fromEntries(ratios.map(([n, f]) => [n, f])) }));
  } else {
    const cell = (value: number): string => (Number.isNaN(value) ? '-' : value.toFixed(0)).padStart(8);
    console.log(`${pages} pages, ${runs} runs; CPU ns an operation\n${' '.repeat(36)}     put     get   flush   bytes`);
    for (const [name, cost] of Object.entries(results)) {
      console.log(name.padEnd(36) + cell(cost.put) + cell(cost.get) + cell(cost.flush) + cell(cost.bytes));
    }
    console.log();
    for (const [name, found, aim] of ratios) {
      console.log(`${name.padEnd(42)} ${found.toFixed(2).padStart(8)}  at most ${aim}${found > aim ? '  MISSED' : ''}`);
    }
  }
  return values.check && ratios.some(([, found, aim]) => found > aim) ? 1 : 0;
}

if (values['only-large']) console.log(JSON.stringify(large()));
else process.exitCode = report();
