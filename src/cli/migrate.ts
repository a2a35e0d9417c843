import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { MigrateChoice } from '../host/migration/jobs.ts';
import { startProgress, type Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { addLimitOptions, limitsOf, parseAddress, type LimitOptions } from './limits.ts';
import { migrateLines, reasonLines } from './text/migration.ts';

interface MigrateOptions extends HostOptions, LimitOptions {
  readonly codec: MigrateChoice['codec'];
}

/** `transmigrate migrate NAME HOST:PORT`. */
export function migrateCommand(context: Context): Command {
  const command = new Command('migrate')
    .summary('move a guest to another host while it runs')
    .description(
      'Moves a guest to another host while it runs, with its memory, devices and tmem: in rounds, until what is left ' +
        'fits into the downtime; then it stands still for the rest, and goes on there. One that is paused arrives ' +
        'paused. At every moment exactly one host owns it. Whatever goes wrong before it was given away, and Ctrl-C ' +
        'too, leaves it here as it was.',
    )
    .argument('<name>', 'the guest')
    .argument('<to...>', 'HOST:PORT, where the other host takes machines; or a command, as of ssh, behind "--"')
    .addOption(new Option('--codec <name>', 'how to compress memory').choices(['raw', 'zstd']).default('raw'))
    .action(async (name: string, to: string[], _options: unknown, self: Command) => {
      const target = to.length === 1 ? parseAddress(to[0]) : { command: to };
      await migrate(context, name, target, self.optsWithGlobals<MigrateOptions>());
    });
  return addExamples(addHostOptions(addLimitOptions(command)), [
    { line: 'transmigrate migrate demo 127.0.0.1:7700', what: 'It goes on there.' },
    { line: 'transmigrate migrate demo 127.0.0.1:7700 --downtime 100 --bandwidth 50M', what: 'Within limits.' },
    {
      line: 'transmigrate migrate demo -- ssh otherhost transmigrate receive --stdio',
      what: 'Through ssh, which says who is who.',
    },
  ]);
}

async function migrate(
  context: Context,
  name: string,
  to: { host: string; port: number } | { command: string[] },
  options: MigrateOptions,
): Promise<void> {
  const host = await hostOf(context, options);
  // The host is told of Ctrl-C, and says what became of it.
  context.endsItself = true;
  const progress = startProgress(context, options, `migrate ${name}`);
  try {
    const work = { onProgress: progress.update, signal: context.signal };
    const result = await host.migrate(name, { ...to, codec: options.codec, limits: limitsOf(options) }, work);
    progress.finish();
    if (options.json === true) await context.stdout.writeJson(result);
    else if (options.quiet !== true) await context.stdout.writeLines(migrateLines(result));
  } catch (error) {
    progress.finish();
    const refused = error instanceof TransmigrateError && error.code === 'MIGRATION_REFUSED';
    if (refused && options.json !== true) await context.stderr.writeLines(reasonLines(error.data['reasons']));
    throw error;
  }
}

interface ReceiveOptions extends HostOptions {
  readonly stdio?: boolean;
  readonly record?: string;
}

/** What comes on standard input goes to the host, and what that says to standard output, until both end. */
async function receive(context: Context, options: ReceiveOptions): Promise<void> {
  const socket = await (await hostOf(context, options)).receive(recordOf(options));
  context.stdin.pipe(socket);
  for await (const bytes of socket as AsyncIterable<Uint8Array>) await context.stdout.writeBytes(bytes);
  context.stdin.unpipe(socket);
  context.stdin.destroy();
}

/** As the host has to have it, which may stand elsewhere. */
function recordOf({ record }: ReceiveOptions): string | undefined {
  return record === undefined ? undefined : resolve(record);
}

/** `transmigrate receive HOST:PORT`, `transmigrate receive --stdio`. */
export function receiveCommand(context: Context): Command {
  const command = new Command('receive')
    .summary('have the host take machines that come')
    .description(
      'Has the host listen for machines that are moved to it, until it ends. Without TLS it takes them from this ' +
        'machine alone. `host run --listen` does the same from its start. With --stdio it takes one that comes ' +
        'through standard input and output. --record keeps what comes as an image of the migration, which "inspect", ' +
        '"verify" and, when it came over one connection, "restore" read; each further connection is kept beside it, ' +
        'with .2, .3 ... behind the name. It takes the name when the connection ends. When it can not be written, ' +
        '"jobs show" says why, and the machine comes all the same.',
    )
    .argument('[host:port]', 'where; port 0: one that is free')
    .option('--stdio', 'take one machine from standard input and output: for ssh')
    .option('--record <file>', 'keep what comes in a file of the host')
    .action(async (where: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ReceiveOptions>();
      if ((where === undefined) !== (options.stdio === true)) {
        throw new TransmigrateError('USAGE', 'receive needs HOST:PORT, or --stdio');
      }
      if (where === undefined) {
        await receive(context, options);
        return;
      }
      const choice = { ...parseAddress(where), record: recordOf(options) };
      const address = await (await hostOf(context, options)).listen(choice);
      if (options.json === true) await context.stdout.writeJson(address);
      else await context.stdout.writeLines([`machines may come to ${address.host}:${address.port}`]);
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate receive 127.0.0.1:7700', what: 'Then elsewhere: `migrate NAME 127.0.0.1:7700`.' },
    { line: 'transmigrate receive 127.0.0.1:7700 --record came.tmig', what: 'Then: `verify came.tmig`.' },
  ]);
}
