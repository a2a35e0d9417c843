// Simulations of live migration in virtual time.
//
//   npm run sim -- --seeds N [--from S] [--fault NAME]     runs N seeds; prints their count and a digest
//   npm run sim -- --seed S [--chart FILE.html]            runs one, and draws it
//   npm run sim -- --search                                searches the handover exhaustively, further than the tests
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { chartOf } from './chart.ts';
import { SOUND } from './handover-logic.ts';
import { runSeed, runSeeds, SimFailure } from './run.ts';
import { SIM_FAULTS, type SimFault } from './scenario.ts';
import { searchHandover } from './search.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    chart: { type: 'string' },
    fault: { type: 'string' },
    search: { type: 'boolean', default: false },
  },
});

function faultOf(name: string | undefined): SimFault | null {
  if (name === undefined) return null;
  const fault = SIM_FAULTS.find((each) => each === name);
  if (fault === undefined) throw new Error(`no such fault; there are: ${SIM_FAULTS.join(', ')}`);
  return fault;
}

function one(seed: string, fault: SimFault | null): number {
  try {
    const { trace, ...outcome } = runSeed(seed, fault);
    console.log(JSON.stringify(outcome));
    draw(seed, `It ended with the owner: ${outcome.end}.`, trace.entries);
    return 0;
  } catch (error) {
    if (!(error instanceof SimFailure)) throw error;
    console.error(error.message);
    draw(seed, error.message, error.trace.entries);
    return 1;
  }
}

function draw(seed: string, what: string, entries: Parameters<typeof chartOf>[2]): void {
  if (values.chart !== undefined) writeFileSync(values.chart, chartOf(`Migration, seed ${seed}`, what, entries));
}

function many(first: number, count: number, fault: SimFault | null): number {
  if (fault !== null) {
    for (let seed = first; seed < first + count; seed++) if (one(String(seed), fault) !== 0) return 1;
    return 0;
  }
  try {
    const { seeds, digest, ends, crashed, resumed, steps } = runSeeds(first, count, (done) => {
      if (done % 1000 === 0) console.error(`${done} seeds`);
    });
    for (const [end, times] of [...ends].toSorted(([, a], [, b]) => b - a)) console.log(`${times}\t${end}`);
    console.log(`${crashed} with a crash, ${resumed} over several connections, ${steps} steps`);
    console.log(`${seeds} seeds, digest ${digest}`);
    return 0;
  } catch (error) {
    if (!(error instanceof SimFailure)) throw error;
    console.error(error.message);
    return 1;
  }
}

function search(): number {
  for (const bound of [
    { attempts: 2, crashes: 2, writeFailures: 1, settles: 0 },
    { attempts: 3, crashes: 1, writeFailures: 0, settles: 0 },
    { attempts: 2, crashes: 2, writeFailures: 2, settles: 1 },
  ]) {
    const { states, transitions, ends } = searchHandover(SOUND, bound);
    console.log(`${JSON.stringify(bound)}: ${states} states, ${transitions} transitions`);
    for (const [end, times] of ends) console.log(`  ${times}\t${end}`);
  }
  return 0;
}

if (values.search) process.exitCode = search();
else if (values.seed !== undefined) process.exitCode = one(values.seed, faultOf(values.fault));
else process.exitCode = many(Number(values.from), Number(values.seeds ?? '300'), faultOf(values.fault));
