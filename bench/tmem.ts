/**
 * How fast the tmem engine is and what a page costs, beside a plain Map of copies, all in one run.
 *
 *   node bench/tmem.ts [--pages 100000] [--runs 3] [--json] [--check] [--quick]
 *
 * Prints medians of CPU nanoseconds for an operation, of the thread that does it, and the ratios that matter; --check
 * ends with 1 when one is missed. Then fewer cases with a million pages, and ten million pages of 100 bytes, each in a
 * process of its own; --quick leaves these out. All of it takes four minutes of a processor, and 10 GiB.
 */
import { spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { CODEC, type CodecId } from '../src/index.ts';
import { median, warmMemory } from './support/measure.ts';
import { Costs, EPHEMERAL, PERSISTENT, sourcePages, tenMillion, type Choice, type Cost } from './support/tmem-costs.ts';

const { values } = parseArgs({
  options: {
    pages: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    // For the processes that this one starts.
    part: { type: 'string' },
  },
});
const runs = Number(values.runs);
const MILLION = 1_000_000;

/*
 * The C library keeps freed memory or gives it back by rules that change while a program runs, and a page that comes
 * from the system costs several times its copy. So all is measured in memory that the process had before; puts and
 * copies once more in memory that comes from the system for each megabyte.
 */
const TUNABLES = 'GLIBC_TUNABLES';
const USED = 'glibc.malloc.mmap_threshold=100000000:glibc.malloc.trim_threshold=100000000000';
const FRESH = 'glibc.malloc.mmap_threshold=131072';

/** Runs a part of this file in a process of its own. */
function again(options: readonly string[], tunables: string): Part {
  const env = { ...process.env, [TUNABLES]: tunables };
  const line = [...process.argv.slice(1), ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, line, { env, encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Part;
}

const COLUMNS = ['put', 'over', 'get', 'flush', 'save', 'restore', 'bytes', 'overhead'] as const;
type Column = (typeof COLUMNS)[number];
/** What each case cost in each turn. */
type Results = Record<string, Cost[]>;
type Ratio = [name: string, found: number, aim: number];

type Cases = readonly (() => Record<string, Cost>)[];

/** All cases in turn, so that a change of the machine's speed falls on all alike. */
function inTurn(cases: Cases, turns: number): Results {
  const all: Results = {};
  for (let turn = 0; turn < turns; turn++) {
    for (const work of cases) for (const [name, cost] of Object.entries(work())) (all[name] ??= []).push(cost);
  }
  return all;
}

/** As above, after a turn that is not counted: it compiles the code and takes the memory from the system. */
function inTurnWarm(cases: Cases): Results {
  inTurn(cases, 1);
  return inTurn(cases, runs);
}

/** Puts, and what they are compared with, each into memory that comes from the system. */
function freshPuts(pages: number): Results {
  const random = sourcePages('random');
  const half = sourcePages('half');
  const costs = new Costs(pages);
  const put = (choice: Partial<Choice> = {}): Cost => {
    return { put: costs.engine({ flags: PERSISTENT, perObject: 256, sources: random, ...choice }).put! };
  };
  const ofCodec = (codec: CodecId, name: string): Cases => [
    () => ({ [`fresh: half random, bare ${name}, kept`]: costs.codec(half, codec).kept }),
    () => ({ [`fresh: half random, ${name}`]: put({ sources: half, codec }) }),
  ];
  return inTurnWarm([
    () => ({ 'fresh: copy only': { put: costs.copy(random).put! } }),
    () => ({ 'fresh: random, persistent': put() }),
    () => ({ 'fresh: checksum only': costs.checksum(random) }),
    () => ({ 'fresh: random, sharing, all different': put({ sharing: true, unique: true }) }),
    ...ofCodec(CODEC.lz4, 'LZ4'),
    ...ofCodec(CODEC.lzo1x, 'LZO1X'),
  ]);
}

/** As {@link ratiosOf}, of puts in fresh memory. */
function freshRatios(results: Results): Ratio[] {
  const turns = results['fresh: copy only'].map(
    (_, turn) =>
      (row: string): number =>
        results[row][turn].put!,
  );
  const of = (name: string, aim: number, ratio: (at: (row: string) => number) => number): Ratio => [
    `${name}, in fresh memory`,
    median(turns.map((at) => ratio(at))),
    aim,
  ];
  const shared = 'fresh: random, sharing, all different';
  return [
    of('put : copy', 1.5, (at) => at('fresh: random, persistent') / at('fresh: copy only')),
    of('put, sharing : copy and checksum', 1.5, (at) => {
      return at(shared) / (at('fresh: copy only') + at('fresh: checksum only'));
    }),
    ...['LZ4', 'LZO1X'].map((codec) =>
      of(`put ${codec} : ${codec}, kept`, 1.2, (at) => {
        return at(`fresh: half random, ${codec}`) / at(`fresh: half random, bare ${codec}, kept`);
      }),
    ),
  ];
}

/** What is measured with any number of pages, and what only with few. */
function casesFor(pages: number): { all: Cases; few: Cases } {
  const random = sourcePages('random');
  const half = sourcePages('half');
  const pattern = sourcePages('pattern');
  const costs = new Costs(pages);
  const raw = (choice: Partial<Choice> = {}): Cost =>
    costs.engine({ flags: PERSISTENT, perObject: 256, sources: random, ...choice });
  const bare = (codec: CodecId, name: string): Record<string, Cost> => {
    const { hot, kept } = costs.codec(half, codec);
    return { [`half random, bare ${name}`]: hot, [`half random, bare ${name}, kept`]: kept };
  };
  const all: Cases = [
    () => ({ 'copy only': costs.copy(random) }),
    () => ({ 'random, persistent, 256 an object': raw() }),
    () => ({ 'random, with a log reader': raw({ reader: 'log' }) }),
    () => ({ 'random, with a snapshot': raw({ reader: 'snapshot' }) }),
    () => ({ 'map of copies': costs.map(random, 256) }),
    () => ({ 'random, ephemeral, 256 an object': raw({ flags: EPHEMERAL }) }),
    () => ({ 'checksum only': costs.checksum(random) }),
    () => ({ 'save and restore': costs.saveAndRestore(random) }),
    () => bare(CODEC.lz4, 'LZ4'),
    () => ({ 'half random, LZ4': raw({ sources: half, codec: CODEC.lz4 }) }),
  ];
  const few: Cases = [
    () => ({ 'random, put in no order': raw({ inOrder: false }) }),
    () => ({ 'random, persistent, 1 an object': raw({ perObject: 1 }) }),
    () => ({ 'random, sharing, all different': raw({ sharing: true, unique: true }) }),
    () => ({ 'random, LZ4 on': raw({ codec: CODEC.lz4 }) }),
    () => bare(CODEC.lzo1x, 'LZO1X'),
    () => ({ 'half random, LZO1X': raw({ sources: half, codec: CODEC.lzo1x }) }),
    () => ({ 'pattern, LZO1X': raw({ sources: pattern, codec: CODEC.lzo1x }) }),
  ];
  return { all, few };
}

/** Rows that others are compared with. */
const COPY = 'copy only';
const MINE = 'random, persistent, 256 an object';
const MAP = 'map of copies';

/** Medians over the turns of what was measured in the same turn, one by the other. */
function ratiosOf(results: Results): Ratio[] {
  const ratios: Ratio[] = [];
  const add = (name: string, aim: number, of: (at: (row: string, column: Column) => number) => number): void => {
    const turns = results[COPY].map((_, turn) => of((row, column) => results[row]?.[turn][column] ?? Number.NaN));
    if (!Number.isNaN(turns[0])) ratios.push([name, median(turns), aim]);
  };
  add('put : copy, both in used memory', 1.5, (at) => at(MINE, 'put') / at(COPY, 'put'));
  add('put over a page : copy over a copy', 1.5, (at) => at(MINE, 'over') / at(COPY, 'over'));
  add('put in no order : copy', 1.5, (at) => at('random, put in no order', 'put') / at(COPY, 'put'));
  add('get : copy', 1.5, (at) => at(MINE, 'get') / at(COPY, 'get'));
  add('get, put in no order : copy', 1.5, (at) => at('random, put in no order', 'get') / at(COPY, 'get'));
  add('flush : put', 0.5, (at) => at(MINE, 'flush') / at(MINE, 'put'));
  for (const column of ['put', 'over', 'get'] as const) {
    add(`${column} : that of the map`, 1.5, (at) => at(MINE, column) / at(MAP, column));
  }
  const hashed = (at: (row: string, column: Column) => number): number => at(COPY, 'put') + at('checksum only', 'put');
  add('put, sharing : copy and checksum', 1.5, (at) => at('random, sharing, all different', 'put') / hashed(at));
  for (const codec of ['LZ4', 'LZO1X']) {
    const own = `half random, ${codec}`;
    const bare = `half random, bare ${codec}`;
    add(`put ${codec} : ${codec}, kept`, 1.2, (at) => at(own, 'put') / at(`${bare}, kept`, 'put'));
    add(`put ${codec} : ${codec}, thrown away`, 1.2, (at) => at(own, 'put') / at(bare, 'put'));
    add(`put over ${codec} : ${codec}, kept`, 1.2, (at) => at(own, 'over') / at(`${bare}, kept`, 'put'));
  }
  for (const [reader, row] of [
    ['a log', 'random, with a log reader'],
    ['a snapshot', 'random, with a snapshot'],
  ]) {
    for (const column of ['put', 'over', 'get', 'flush'] as const) {
      // Pages that are new are not the snapshot's.
      if (column === 'put' && reader === 'a snapshot') continue;
      add(`${column}, with ${reader} : without`, 1.1, (at) => at(row, column) / at(MINE, column));
    }
  }
  add('overhead, 256 an object: bytes', 64, (at) => at(MINE, 'overhead'));
  add('overhead, 1 an object: bytes', 130, (at) => at('random, persistent, 1 an object', 'overhead'));
  add('half-random page: bytes', 2300, (at) => at('half random, LZ4', 'bytes'));
  const read = (at: (row: string, column: Column) => number): number => at('checksum only', 'put') + at(COPY, 'get');
  add('save : checksum and copy', 1.5, (at) => at('save and restore', 'save') / read(at));
  add(
    'restore : checksum, copy and put',
    1.5,
    (at) => at('save and restore', 'restore') / (read(at) + at(MINE, 'put')),
  );
  return ratios;
}

/** What a part of the run hands to the process that started it. */
interface Part {
  readonly pages: number;
  readonly results: Results;
  readonly ratios: Ratio[];
  readonly loads: number[];
  readonly peakGib: number;
}

function part(pages: number, measure: () => Results): Part {
  const before = loadavg()[0];
  const results = measure();
  const ratios = COPY in results ? ratiosOf(results) : [];
  return { pages, results, ratios, loads: [before, loadavg()[0]], peakGib: process.resourceUsage().maxRSS / 2 ** 20 };
}

const PARTS: Record<string, (pages: number) => Part> = {
  main: (pages) =>
    part(pages, () => {
      const { all, few } = casesFor(pages);
      return inTurnWarm([...all, ...few]);
    }),
  fresh: (pages) => {
    const found = part(pages, () => freshPuts(pages));
    return { ...found, ratios: freshRatios(found.results) };
  },
  million: () =>
    part(MILLION, () => {
      // In place of a turn that is not counted, which would take as long as another. Twice all pages, and their tables.
      warmMemory(9 * 2 ** 30);
      return inTurn(casesFor(MILLION).all, Math.min(runs, 2));
    }),
  large: () => {
    const { firstNs, lastNs, gib } = tenMillion();
    const ratios: Ratio[] = [
      ['10 million pages of 100 bytes: GiB', gib, 2.5],
      ['last million puts : first', lastNs / firstNs, 1.5],
    ];
    return { ...part(10 * MILLION, () => ({})), ratios };
  },
};

function print({ pages, results, ratios, loads, peakGib }: Part): void {
  const cell = (value: number): string => (Number.isNaN(value) ? '-' : value.toFixed(0)).padStart(9);
  console.log(`\n${pages} pages, load ${loads.map((each) => each.toFixed(1)).join(' to ')}, ${peakGib.toFixed(1)} GiB`);
  if (Object.keys(results).length > 0) {
    console.log(`${'CPU ns an operation'.padEnd(36)}${COLUMNS.map((name) => name.padStart(9)).join('')}`);
  }
  for (const [name, costs] of Object.entries(results)) {
    const of = (key: Column): number => median(costs.map((cost) => cost[key] ?? Number.NaN));
    console.log(name.padEnd(36) + COLUMNS.map((key) => cell(of(key))).join(''));
  }
  for (const [name, found, aim] of ratios) {
    console.log(`${name.padEnd(42)} ${found.toFixed(2).padStart(8)}  at most ${aim}${found > aim ? '  MISSED' : ''}`);
  }
}

function report(): number {
  const pages = Number(values.pages);
  const all: Part[] = [];
  const add = (each: Part): void => {
    all.push(each);
    if (!values.json) print(each);
  };
  const start = performance.now();
  for (const name of ['main', 'fresh', ...(values.quick ? [] : ['million', 'large'])]) {
    const found = again(['--part', name], name === 'fresh' ? FRESH : USED);
    add(found);
  }
  const seconds = (performance.now() - start) / 1000;
  if (values.json) console.log(JSON.stringify({ pages, runs, seconds, parts: all }));
  else console.log(`\n${runs} runs, ${seconds.toFixed(0)} s`);
  const missed = all.some(({ ratios }) => ratios.some(([, found, aim]) => found > aim));
  return values.check && missed ? 1 : 0;
}

if (values.part === undefined) process.exitCode = report();
else console.log(JSON.stringify(PARTS[values.part](Number(values.pages))));
