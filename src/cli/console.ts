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
  const { stdin } = context;
  const raw = follow && stdin.isTTY === true && 'setRawMode' in stdin ? (stdin as NodeJS.ReadStream) : undefined;
  // A guest that is not there is said before the terminal changes.
  await host.guest(name);
  raw?.setRawMode(true);
  const typing = follow ? typed(context, host, name, leave) : Promise.resolve();
  try {
    for await (const bytes of host.console(name, follow, signal)) await context.stdout.writeBytes(bytes);
  } catch (error) {
    if (!leave.signal.aborted) throw error;
  } finally {
    raw?.setRawMode(false);
    stdin.destroy();
    await typing;
  }
}

/** Sends what is typed. The end of standard input ends nothing: what the guest prints is still to be seen. */
async function typed(context: Context, host: HostClient, name: string, leave: AbortController): Promise<void> {
  try {
    for await (const bytes of context.stdin as AsyncIterable<Uint8Array>) {
      const end = bytes.indexOf(LEAVE);
      if (end !== 0) await host.type(name, end < 0 ? bytes : bytes.subarray(0, end));
      if (end >= 0) {
        leave.abort();
        return;
      }
    }
  } catch (error) {
    // It is destroyed when the console ends.
    if (
      !(error instanceof TransmigrateError) &&
      (error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE'
    ) {
      return;
    }
    leave.abort();
    throw error;
  }
}
