/** The command. It runs when this file is imported: `bin/transmigrate` does that. */

import { existsSync } from 'node:fs';
import { library } from './library.ts';
import { Output } from './output.ts';
import { run } from './run.ts';

const cancel = new AbortController();
// Only once: a second Ctrl-C ends the process whatever it does.
process.once('SIGINT', () => cancel.abort());

process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: new Output(process.stdout),
  stderr: new Output(process.stderr),
  env: process.env,
  now: () => performance.now(),
  signal: cancel.signal,
  library,
  fileExists: existsSync,
  exitCode: 0,
});
// What was cancelled may still wait for a pipe.
if (cancel.signal.aborted) process.exit();
