import { resolve } from 'node:path';
import { Command } from 'commander';
import { TransmigrateError } from '../errors.ts';
import { startProgress, STDIN, type Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { restoreLines } from './text/guest.ts';

interface RestoreOptions extends HostOptions {
  readonly name?: string;
  readonly sameIdentity?: boolean;
  readonly sharedDisks?: boolean;
  readonly paused?: boolean;
}

/** `transmigrate restore FILE`. */
export function restoreCommand(context: Context): Command {
  const command = new Command('restore')
    .summary('make a guest of an image')
    .description(
      'Makes a guest of an image and lets it go on where it was saved. It is a clone, with a uuid of its own, unless ' +
        '--same-identity says that it takes the place of the one that was saved. Everything is checked before ' +
        'there is a guest.',
    )
    .argument('<file>', 'the image; "-": standard input')
    .option('--name <name>', 'its name, in place of the one in the image')
    .option('--same-identity', 'keep the uuid: refused while a guest that has it is here')
    .option('--shared-disks', 'let it write to the files that the image names as its disks')
    .option('--paused', 'do not run it yet')
    .action(async (file: string, _options: unknown, self: Command) => {
      await restore(context, file, self.optsWithGlobals<RestoreOptions>());
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate restore demo.tmig', what: 'The guest again, under its name.' },
    { line: 'transmigrate restore --name copy --paused demo.tmig', what: 'A second one, which waits for `unpause`.' },
    { line: 'zstd -dc demo.tmig.zst | transmigrate restore -', what: 'From a pipe.' },
  ]);
}

async function restore(context: Context, file: string, options: RestoreOptions): Promise<void> {
  const host = await hostOf(context, options);
  const progress = startProgress(context, options, 'restore');
  const { name } = options;
  const choice = {
    sameIdentity: options.sameIdentity === true,
    sharedDisks: options.sharedDisks === true,
    paused: options.paused === true,
    ...(name !== undefined && { name }),
  };
  const work = { onProgress: progress.update, signal: context.signal };
  if (file === STDIN && context.stdin.isTTY === true) {
    const next = 'Name an image, or send one through a pipe: `... | transmigrate restore -`.';
    throw new TransmigrateError('USAGE', 'standard input is a terminal', { next });
  }
  // The host is told of Ctrl-C, and says what became of it.
  context.endsItself = true;
  try {
    const result =
      file === STDIN
        ? await host.restore(choice, work, context.stdin)
        : await host.restore({ ...choice, path: resolve(file) }, work);
    progress.finish();
    if (options.json === true) await context.stdout.writeJson(result);
    else if (options.quiet !== true) await context.stdout.writeLines(restoreLines(result));
  } finally {
    progress.finish();
    // What is not read any more keeps nobody here.
    if (file === STDIN) context.stdin.destroy();
  }
}
