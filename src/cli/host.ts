import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import { defaultSocketPath } from '../host/socket-path.ts';
import type { TlsFiles } from '../host/tls-files.ts';
import { readFailed } from '../io/read-failed.ts';
import type { Context } from './context.ts';
import { escapeText } from './escape.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { parseAddress } from './limits.ts';
import { parseSize } from './size.ts';
import { formatBytes, plural } from './text/format.ts';

interface RunOptions extends HostOptions {
  readonly tmem: number;
  readonly policy?: string;
  readonly state?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly listen?: { readonly host: string; readonly port: number };
}

const DEFAULT_TMEM = '256M';

/** `transmigrate host run`, `info`, `close`, `open` and `describe`. */
export function hostCommand(context: Context): Command {
  return new Command('host')
    .summary('run the host that guests live on, or ask about it')
    .description('The host is a process that runs guests and listens on a unix socket, which only its user can open.')
    .addCommand(runCommand(context))
    .addCommand(infoCommand(context))
    .addCommand(closeCommand(context))
    .addCommand(openCommand(context))
    .addCommand(describeCommand(context));
}

function runCommand(context: Context): Command {
  const command = new Command('run')
    .summary('run a host until it is told to end')
    .description('Runs a host until Ctrl-C or SIGTERM. Its guests end with it, however it ends.')
    .addOption(new Option('--socket <path>', 'where to listen (default: TRANSMIGRATE_SOCKET, or the user’s own)'))
    .addOption(
      new Option('--tmem <size>', 'memory for the tmem of all guests, or "off"')
        .argParser((text) => (text === 'off' ? 0 : parseSize(text)))
        .default(parseSize(DEFAULT_TMEM), DEFAULT_TMEM),
    )
    .option('--state <dir>', 'where its journal is kept (default: beside the socket, with .state behind its name)')
    .addOption(new Option('--listen <host:port>', 'take machines that are moved here').argParser(parseAddress))
    .option('--tls-cert <file>', 'its certificate, for TLS with other hosts: see "keys make"')
    .option('--tls-key <file>', 'the private key of that')
    .option('--tls-ca <file>', 'certificates of hosts, or of authorities, that it believes')
    .option('--policy <file>', 'what images may ask for, as JSON: see spec/host-api.md')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<RunOptions>();
      const policy = options.policy === undefined ? undefined : await jsonOf(options.policy);
      // Ctrl-C ends the guests first.
      context.endsItself = true;
      const socketPath = options.socket ?? defaultSocketPath(context.env);
      await context.library.runHost(
        {
          socketPath,
          tmemBytes: options.tmem,
          policy,
          stateDirectory: options.state,
          listen: options.listen,
          tls: tlsOf(options),
        },
        context.signal,
        async (migrations) => {
          if (options.quiet === true) return;
          await context.stdout.writeLines([`listening on ${socketPath}, process ${process.pid}`]);
          if (migrations === null) return;
          await context.stdout.writeLines([`machines may come to ${migrations.host}:${migrations.port}`]);
        },
      );
    });
  return addExamples(command, [
    { line: 'transmigrate host run', what: 'A host for this user.' },
    { line: 'transmigrate host run --listen 127.0.0.1:7700', what: 'One that guests may be moved to.' },
    { line: 'transmigrate host run --tmem 1G --socket /run/user/1000/second.sock', what: 'Another one.' },
  ]);
}

/** @throws USAGE for a part of them */
function tlsOf({ tlsCert, tlsKey, tlsCa }: RunOptions): TlsFiles | undefined {
  if (tlsCert === undefined && tlsKey === undefined && tlsCa === undefined) return undefined;
  if (tlsCert !== undefined && tlsKey !== undefined && tlsCa !== undefined) {
    return { certificate: tlsCert, key: tlsKey, authorities: tlsCa };
  }
  throw new TransmigrateError('USAGE', 'TLS needs --tls-cert, --tls-key and --tls-ca', {
    next: '`transmigrate keys make` makes a certificate and its key; --tls-ca names those of the other hosts.',
  });
}

/** @throws READ_FAILED, JSON_INVALID */
async function jsonOf(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw readFailed(file, cause);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TransmigrateError('JSON_INVALID', `${file} is not JSON.`, { cause, data: { file } });
  }
}

function infoCommand(context: Context): Command {
  const command = new Command('info')
    .summary('show what the host is')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const info = await (await hostOf(context, options)).info();
      if (options.json === true) await context.stdout.writeJson(info);
      else {
        const { version, pid, guests, tmem, closed } = info;
        const lent =
          tmem === null
            ? 'tmem is off'
            : `tmem: ${plural(tmem.pages, 'page')}, ${formatBytes(tmem.usedBytes)} of ${formatBytes(tmem.limitBytes)}`;
        const shut = closed === null ? [] : [closedLine(closed)];
        const lines = [`transmigrate ${version}, process ${pid}`, plural(guests, 'guest'), lent, ...shut];
        await context.stdout.writeLines(lines);
      }
    });
  return addHostOptions(command);
}

/** Before the machine that it is on is taken away, say. */
function closeCommand(context: Context): Command {
  const command = new Command('close')
    .summary('refuse machines of other hosts')
    .description(
      'Has the host refuse machines that are to be moved to it, until "host open". Its own guests go on, those that ' +
        'are on their way to it come, and guests can be moved away.',
    )
    .argument('[why]', 'told to who would move one here', 'its operator closed it')
    .action(async (why: string, _options: unknown, self: Command) => {
      await closeTo(context, self.optsWithGlobals<HostOptions>(), why);
    });
  return addExamples(addHostOptions(command), [
    { line: "transmigrate host close 'maintenance until noon'", what: 'Nothing more comes; `migrate` empties it.' },
  ]);
}

function openCommand(context: Context): Command {
  const command = new Command('open')
    .summary('take machines of other hosts again')
    .action(async (_options: unknown, self: Command) => {
      await closeTo(context, self.optsWithGlobals<HostOptions>(), null);
    });
  return addHostOptions(command);
}

async function closeTo(context: Context, options: HostOptions, why: string | null): Promise<void> {
  const info = await (await hostOf(context, options)).closeTo(why);
  if (options.json === true) await context.stdout.writeJson(info);
  else if (options.quiet !== true) {
    const now = why === null ? 'machines may come' : closedLine(why);
    await context.stdout.writeLines([now]);
  }
}

function closedLine(why: string): string {
  return escapeText(`closed to machines of other hosts: ${why}`);
}

function describeCommand(context: Context): Command {
  const command = new Command('describe')
    .summary('describe what the host can run')
    .description(
      'Describes what the host can run, for "check": drivers with their versions, memory, transcendent memory, and ' +
        'the guests that are there. Nothing is in it that the host cannot know.',
    )
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const host = await hostOf(context, options);
      const described = await context.library.describeHost(await host.info(), await host.list());
      if (options.json === true) await context.stdout.writeJson(described);
      else {
        const { drivers, memory, tmem, guests } = described;
        await context.stdout.writeLines([
          ...drivers.map(({ name, versions }) => `${name} ${versions.join(', ')}`),
          `${formatBytes(memory.freeBytes)} of memory free`,
          tmem === null
            ? 'tmem is off'
            : `tmem: ${formatBytes(tmem.freeBytes)} of ${formatBytes(tmem.limitBytes)} free`,
          plural(guests.length, 'guest'),
        ]);
      }
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate host describe --json > host.json', what: 'For "transmigrate check IMAGE --on host.json".' },
  ]);
}
