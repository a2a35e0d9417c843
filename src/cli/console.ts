import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { HostClient } from '../host/client.ts';
import type { Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';

interface ConsoleOptions extends HostOptions {
  readonly follow: boolean;
}

/** Ctrl-], as in telnet and `xl console`: leaves the console. */
const LEAVE = 0x1d;

/** `transmigrate console NAME`. */
export function consoleCommand(context: Context): Command {
  const command = new Command('console')
    .summary('see what a guest prints, and type to it')
    .description(
      'Shows what the guest wrote on its serial port and goes on with what it writes. On a terminal what is ' +
        'typed goes to the guest; Ctrl-] leaves. Otherwise standard input goes to the guest to its end.',
    )
    .argument('<name>', 'the guest')
    .option('--no-follow', 'show what there is, and end')
    .action(async (name: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ConsoleOptions>();
      await showConsole(context, await hostOf(context, options), name, options.follow);
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate console demo', what: 'Watch it; Ctrl-] leaves.' },
    { line: 'transmigrate console --no-follow demo | tail', what: 'The last lines.' },
  ]);
}

async function showConsole(context: Context, host: HostClient, name: string, follow: boolean): Promise<void> {
  const leave = new AbortController();
  const signal = AbortSignal.any([context.signal, leave.signal]);
  const { stdin, stdout } = context;
  const raw = follow && stdin.isTTY === true && 'setRawMode' in stdin ? (stdin as NodeJS.ReadStream) : undefined;
  // A guest that is not there is said before the terminal changes.
  await host.guest(name);
  raw?.setRawMode(true);
  const typing = follow ? typed(context, host, name, leave) : Promise.resolve();
  // What fails there is thrown when it is waited for below.
  typing.catch(() => undefined);
  try {
    for await (const bytes of host.console(name, follow, signal)) {
      // A reader that has seen enough, such as `head`, ends this without a word.
      if (!(await stdout.writeWanted(bytes))) break;
    }
  } catch (error) {
    if (!leave.signal.aborted) throw error;
  } finally {
    raw?.setRawMode(false);
    stdin.destroy();
  }
  await typing;
  // The next prompt begins on a line of its own.
  if (raw !== undefined) await stdout.write('\n');
}

/** Sends what is typed. The end of standard input ends nothing: what the guest prints is still to be seen. */
async function typed(context: Context, host: HostClient, name: string, leave: AbortController): Promise<void> {
  const isTerminal = context.stdin.isTTY === true;
  try {
    for await (const bytes of context.stdin as AsyncIterable<Uint8Array>) {
      // A pipe may hold any byte.
      const end = isTerminal ? bytes.indexOf(LEAVE) : -1;
      for (const piece of piecesOf(end < 0 ? bytes : bytes.subarray(0, end))) {
        await typePiece(context, host, name, piece, leave.signal);
      }
      if (end >= 0) break;
    }
    if (isTerminal) leave.abort();
  } catch (error) {
    // It is destroyed when the console ends.
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_STREAM_PREMATURE_CLOSE' || leave.signal.aborted) return;
    leave.abort();
    throw error;
  }
}

/** A guest that does not read its serial port has room for so much at once. */
const PIECE_BYTES = 16 * 1024;
const RETRY_MS = 50;

function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/** Types, and waits for a guest that has yet to read what was typed before. */
async function typePiece(
  { signal }: Context,
  host: HostClient,
  name: string,
  piece: Uint8Array,
  left: AbortSignal,
): Promise<void> {
  while (!signal.aborted && !left.aborted) {
    try {
      await host.type(name, piece);
      return;
    } catch (error) {
      if (!(error instanceof TransmigrateError) || error.code !== 'MACHINE_STATE') throw error;
      await sleep(RETRY_MS);
    }
  }
}
