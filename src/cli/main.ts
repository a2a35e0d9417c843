/** The command. It runs when this file is imported: `bin/transmigrate` does that. */

import { existsSync } from 'node:fs';
import { library } from './library.ts';
import { Output } from './output.ts';
import { run } from './run.ts';

const cancel = new AbortController();
const signals = ['SIGINT', 'SIGTERM'] as const;

function onSignal(): void {
  // Only once: a second signal ends the process whatever it does.
  for (const signal of signals) process.removeListener(signal, onSignal);
  cancel.abort();
}
for (const signal of signals) process.on(signal, onSignal);

process.exitCode = await run(process.argv.slice(2), {
  // Made when it is asked for, since that takes longer than to read a small file.
  get stdin() {
    return process.stdin;
  },
  stdout: new Output(process.stdout, 'standard output'),
  stderr: new Output(process.stderr, 'standard error'),
  env: process.env,
  now: () => performance.now(),
  signal: cancel.signal,
  library,
  fileExists: existsSync,
  exitCode: 0,
});
// What was cancelled may still wait for a pipe.
if (cancel.signal.aborted) process.exit();
