/**
 * Fuzzes the stream's readers.
 *
 *   npm run fuzz -- [--seconds 60 | --runs N] [--seed S] [--run R]
 *
 * Ends with 1 at the first finding, and prints the command that shows it again.
 */
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzzOnce, seeds } from './fuzz.ts';
import { decode } from './subject.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    runs: { type: 'string' },
    seed: { type: 'string', default: String(Date.now()) },
    run: { type: 'string' },
  },
});
const inputs = seeds();
const end = performance.now() + 1000 * Number(values.seconds);
const first = Number(values.run ?? 0);
const last = values.run === undefined ? Number(values.runs ?? Number.POSITIVE_INFINITY) : first + 1;
let run = first;
for (; run < last && (values.runs !== undefined || values.run !== undefined || performance.now() < end); run++) {
  const finding = await fuzzOnce(inputs, values.seed, run, decode);
  if (finding === undefined) continue;
  const path = join(tmpdir(), `fuzz-${values.seed}-${run}.tmig`);
  writeFileSync(path, finding.input);
  console.error(`seed ${values.seed}, run ${run}: ${finding.what}`);
  console.error(`the input is in ${path}; again: npm run fuzz -- --seed ${values.seed} --run ${run}`);
  process.exitCode = 1;
  break;
}
console.log(`${run - first} inputs, seed ${values.seed}`);
