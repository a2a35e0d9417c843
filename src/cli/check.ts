import { Command } from 'commander';
import { EXIT, TransmigrateError } from '../errors.ts';
import type { HostDescription } from '../image/check/host-description.ts';
import type { Context } from './context.ts';
import { layoutOf, openSource, startProgress, STDIN } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { parseAddress } from './limits.ts';
import { checkLines } from './text/check.ts';
import { checkGuestLines } from './text/migration.ts';

interface CheckCommandOptions extends HostOptions {
  readonly on?: string;
  readonly sameIdentity?: boolean;
  readonly name?: string;
}

/** `transmigrate check IMAGE --on FILE`, `transmigrate check NAME HOST:PORT`. */
export function checkCommand(context: Context): Command {
  const command = new Command('check')
    .summary('say whether an image, or a guest, will run on a host')
    .description(
      'Compares what an image of any format needs with what a host says of itself: driver and version, domain type, ' +
        'memory, devices, transcendent memory, disks, CPUID and MSR policy, names. Prints every reason against it, ' +
        'with what can be done. Ends with 0 when nothing stands against it, and with 12 when something does. Nothing ' +
        'is started or moved. With HOST:PORT that host is asked whether it would take a guest of this one.',
    )
    .argument('<image>', 'the image; "-": standard input; with HOST:PORT a guest')
    .argument('[host:port]', 'where another host takes machines')
    .option('--on <file>', 'the description of the host: what "host describe --json" prints; "-" too')
    .option('--same-identity', 'it is to take the place of the machine that it was saved of')
    .option('--name <name>', 'the name that it is to have there, if not its own')
    .action(async (image: string, to: string | undefined, _options: unknown, self: Command) => {
      const { on, ...options } = self.optsWithGlobals<CheckCommandOptions>();
      if (on !== undefined && to === undefined) await check(context, image, { on, ...options });
      else if (on === undefined && to !== undefined) await checkGuest(context, image, to, options);
      else {
        throw new TransmigrateError('USAGE', 'check needs --on FILE for an image, or HOST:PORT for a guest', {
          next: 'What a host says of itself: `transmigrate host describe --json > host.json`.',
        });
      }
    });
  return addExamples(addHostOptions(command), [
    {
      line: 'transmigrate host describe --json > host.json',
      what: 'What that host says of itself; run there.',
    },
    { line: 'transmigrate check guest.tmig --on host.json', what: 'Would it run there?' },
    { line: 'transmigrate check demo 127.0.0.1:7700', what: 'Would that host take this guest?' },
    { line: "transmigrate check guest.tmig --on host.json --json | jq -r '.reasons[].remedy'", what: 'What to do.' },
  ]);
}

async function checkGuest(context: Context, name: string, to: string, options: HostOptions): Promise<void> {
  const answer = await (await hostOf(context, options)).check(name, parseAddress(to));
  context.exitCode = answer.fits ? EXIT.ok : EXIT.refused;
  if (options.json === true) await context.stdout.writeJson(Object.assign({ ok: answer.fits }, answer));
  else if (options.quiet !== true || !answer.fits) await context.stdout.writeLines(checkGuestLines(name, to, answer));
}

async function check(
  context: Context,
  file: string,
  options: CheckCommandOptions & { readonly on: string },
): Promise<void> {
  if (file === STDIN && options.on === STDIN) throw new TransmigrateError('USAGE', 'standard input was given twice');
  const { library, signal } = context;
  const description = await openSource(context, options.on);
  let host: HostDescription;
  try {
    host = await library.readHostDescription(description);
  } finally {
    await description.close();
  }
  const progress = startProgress(context, options, 'check');
  try {
    const source = await openSource(context, file);
    const image = await library.openImage(source, { spool: library.spool, signal, onProgress: progress.update });
    try {
      const { sameIdentity = false, name } = options;
      const result = await library.checkImage(image, host, { sameIdentity, name });
      progress.finish();
      context.exitCode = result.fits ? EXIT.ok : EXIT.refused;
      if (options.json === true) await context.stdout.writeJson(Object.assign({ ok: result.fits }, result));
      else if (options.quiet !== true || !result.fits) {
        await context.stdout.writeLines(checkLines(file, options.on, result, layoutOf(context, options)));
      }
    } finally {
      await image.close();
    }
  } finally {
    progress.finish();
  }
}
