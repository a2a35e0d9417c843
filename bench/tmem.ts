/**
 * How fast the tmem engine is and what a page costs, beside a plain Map of copies, all in one run.
 *
 *   node bench/tmem.ts [--pages 100000] [--runs 5] [--json] [--check] [--large]
 *
 * Prints medians of CPU nanoseconds for an operation, of the thread that does it, and the ratios that matter; --check
 * ends with 1 when one is missed. --large puts 10 million pages of 100 bytes, in a process of its own.
 */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { CODEC, type CodecId } from '../src/index.ts';
import { median } from './support/measure.ts';
import { Costs, EPHEMERAL, PERSISTENT, sourcePages, tenMillion, type Choice, type Cost } from './support/tmem-costs.ts';

const { values } = parseArgs({
  options: {
    pages: { type: 'string', default: '100000' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    'only-large': { type: 'boolean', default: false },
    'only-fresh': { type: 'boolean', default: false },
  },
});
const pages = Number(values.pages);
const runs = Number(values.runs);

/*
 * The C library keeps freed memory or gives it back by rules that change while a program runs, and a page that comes
 * from the system costs several times its copy. So all is measured in memory that the process had before; puts and
 * copies once more in memory that comes from the system for each megabyte.
 */
const TUNABLES = 'GLIBC_TUNABLES';
const USED = 'glibc.malloc.mmap_threshold=100000000:glibc.malloc.trim_threshold=100000000000';
const FRESH = 'glibc.malloc.mmap_threshold=131072';

/** Runs this file once more, in a process of its own. */
function again(options: readonly string[], tunables: string, stdio: 'inherit' | 'pipe'): SpawnSyncReturns<string> {
  const env = { ...process.env, [TUNABLES]: tunables };
  return spawnSync(process.execPath, [...process.argv.slice(1), ...options], { env, stdio, encoding: 'utf8' });
}

const COLUMNS = ['put', 'over', 'get', 'flush', 'save', 'restore', 'bytes', 'overhead'] as const;
type Row = Record<(typeof COLUMNS)[number], number>;
type Ratio = [name: string, found: number, aim: number];

type Cases = readonly (() => Record<string, Cost>)[];

/** Medians of all cases, by name. */
function inTurn(cases: Cases): Map<string, Row> {
  const all = new Map<string, Cost[]>();
  // In turn, so that a change of the machine's speed falls on all alike; the first turn is not counted.
  for (let turn = 0; turn <= runs; turn++) {
    for (const work of cases) {
      for (const [name, cost] of Object.entries(work())) {
        if (turn === 0) all.set(name, []);
        else all.get(name)!.push(cost);
      }
    }
  }
  return new Map(
    [...all].map(([name, found]) => {
      const of = (key: keyof Cost): number => median(found.map((cost) => cost[key] ?? Number.NaN));
      return [name, Object.fromEntries(COLUMNS.map((key) => [key, of(key)])) as Row];
    }),
  );
}

/** A put and a copy, each into memory that comes from the system. */
function freshPuts(): { put: number; copy: number } {
  const random = sourcePages('random');
  const costs = new Costs(pages);
  const results = inTurn([
    () => ({ copy: { put: costs.copy(random).put! } }),
    () => ({ put: { put: costs.engine({ flags: PERSISTENT, perObject: 256, sources: random }).put! } }),
  ]);
  return { put: results.get('put')!.put, copy: results.get('copy')!.put };
}

function measured(): Map<string, Row> {
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
  const cases: Cases = [
    () => ({ 'copy only': costs.copy(random) }),
    () => ({ 'random, persistent, 256 an object': raw() }),
    () => ({ 'map of copies': costs.map(random, 256) }),
    () => ({ 'random, ephemeral, 256 an object': raw({ flags: EPHEMERAL }) }),
    () => ({ 'random, put in no order': raw({ inOrder: false }) }),
    () => ({ 'random, persistent, 1 an object': raw({ perObject: 1 }) }),
    () => ({ 'random, with a log reader': raw({ reader: 'log' }) }),
    () => ({ 'random, with a snapshot': raw({ reader: 'snapshot' }) }),
    () => ({ 'checksum only': costs.checksum(random) }),
    () => ({ 'random, sharing, all different': raw({ sharing: true, unique: true }) }),
    () => ({ 'save and restore': costs.saveAndRestore(random) }),
    () => ({ 'random, LZ4 on': raw({ codec: CODEC.lz4 }) }),
    () => bare(CODEC.lz4, 'LZ4'),
    () => ({ 'half random, LZ4': raw({ sources: half, codec: CODEC.lz4 }) }),
    () => bare(CODEC.lzo1x, 'LZO1X'),
    () => ({ 'half random, LZO1X': raw({ sources: half, codec: CODEC.lzo1x }) }),
    () => ({ 'pattern, LZO1X': raw({ sources: pattern, codec: CODEC.lzo1x }) }),
  ];
  return inTurn(cases);
}

function ratiosOf(results: ReadonlyMap<string, Row>): Ratio[] {
  const row = (name: string): Row => results.get(name)!;
  const copy = row('copy only');
  const map = row('map of copies');
  const mine = row('random, persistent, 256 an object');
  const log = row('random, with a log reader');
  const snapshot = row('random, with a snapshot');
  const lz4 = row('half random, LZ4');
  const lzo = row('half random, LZO1X');
  const checksum = row('checksum only').put;
  const travel = row('save and restore');
  return [
    ['put : copy, both in used memory', mine.put / copy.put, 1.5],
    ['put over a page : copy over a copy', mine.over / copy.over, 1.5],
    ['put in no order : copy', row('random, put in no order').put / copy.put, 1.5],
    ['get : copy', mine.get / copy.get, 1.5],
    ['get, put in no order : copy', row('random, put in no order').get / copy.get, 1.5],
    ['flush : put', mine.flush / mine.put, 0.5],
    ['put : put of the map', mine.put / map.put, 1.5],
    ['put over a page : that of the map', mine.over / map.over, 1.5],
    ['get : get of the map', mine.get / map.get, 1.5],
    ['put, sharing : copy and checksum', row('random, sharing, all different').put / (copy.put + checksum), 1.5],
    ['put LZ4 : LZ4, kept', lz4.put / row('half random, bare LZ4, kept').put, 1.2],
    ['put LZO1X : LZO1X, kept', lzo.put / row('half random, bare LZO1X, kept').put, 1.2],
    ['put over LZ4 : LZ4', lz4.over / row('half random, bare LZ4').put, 1.2],
    ['put over LZO1X : LZO1X', lzo.over / row('half random, bare LZO1X').put, 1.2],
    ['put over, with a log : without', log.over / mine.over, 1.1],
    ['get, with a log : without', log.get / mine.get, 1.1],
    ['flush, with a log : without', log.flush / mine.flush, 1.1],
    ['put over, with a snapshot : without', snapshot.over / mine.over, 1.1],
    ['get, with a snapshot : without', snapshot.get / mine.get, 1.1],
    ['flush, with a snapshot : without', snapshot.flush / mine.flush, 1.1],
    ['overhead, 256 an object: bytes', mine.overhead, 64],
    ['overhead, 1 an object: bytes', row('random, persistent, 1 an object').overhead, 130],
    ['half-random page: bytes', lz4.bytes, 2300],
    ['save : checksum and copy', travel.save / (checksum + copy.get), 1.5],
    ['restore : checksum, copy and put', travel.restore / (checksum + copy.get + mine.put), 1.5],
  ];
}

function report(): number {
  const load = loadavg()[0];
  const results = measured();
  const fresh = JSON.parse(again(['--only-fresh'], FRESH, 'pipe').stdout) as ReturnType<typeof freshPuts>;
  const ratios = ratiosOf(results);
  ratios.unshift(['put : copy, both in fresh memory', fresh.put / fresh.copy, 1.5]);
  if (values.large) {
    const { stdout } = again(['--only-large'], USED, 'pipe');
    const { firstNs, lastNs, gib } = JSON.parse(stdout) as ReturnType<typeof tenMillion>;
    ratios.push(['10 million pages of 100 bytes: GiB', gib, 2.5]);
    ratios.push(['last million puts : first', lastNs / firstNs, 1.5]);
  }
  const loads = [load, loadavg()[0]];
  if (values.json) {
    const found = Object.fromEntries(ratios.map(([name, value]) => [name, value]));
    console.log(JSON.stringify({ pages, runs, loads, results: Object.fromEntries(results), fresh, ratios: found }));
  } else {
    const cell = (value: number): string => (Number.isNaN(value) ? '-' : value.toFixed(0)).padStart(9);
    console.log(`${pages} pages, ${runs} runs, load ${loads.map((each) => each.toFixed(1)).join(' to ')}`);
    console.log(`${'CPU ns an operation'.padEnd(36)}${COLUMNS.map((name) => name.padStart(9)).join('')}`);
    console.log(`${'copy only, in fresh memory'.padEnd(36)}${cell(fresh.copy)}`);
    console.log(`${'random, persistent, in fresh memory'.padEnd(36)}${cell(fresh.put)}`);
    for (const [name, row] of results) console.log(name.padEnd(36) + COLUMNS.map((key) => cell(row[key])).join(''));
    console.log();
    for (const [name, found, aim] of ratios) {
      console.log(`${name.padEnd(42)} ${found.toFixed(2).padStart(8)}  at most ${aim}${found > aim ? '  MISSED' : ''}`);
    }
  }
  return values.check && ratios.some(([, found, aim]) => found > aim) ? 1 : 0;
}

if (values['only-large']) console.log(JSON.stringify(tenMillion()));
else if (values['only-fresh']) console.log(JSON.stringify(freshPuts()));
else if (process.env[TUNABLES] === USED) process.exitCode = report();
else process.exitCode = again([], USED, 'inherit').status ?? 1;
