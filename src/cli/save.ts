import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { SaveChoice } from '../host/api.ts';
import { startProgress, STDIN, type Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { saveLines } from './text/guest.ts';

interface SaveOptions extends HostOptions {
  readonly stop?: boolean;
  readonly pause?: boolean;
  readonly live?: boolean;
  readonly codec: SaveChoice['codec'];
}

/** `transmigrate save NAME FILE`. */
export function saveCommand(context: Context): Command {
  const command = new Command('save')
    .summary('save a guest into a file')
    .description(
      'Saves a guest while it runs: it stands still for a copy of its memory and its device state, not for the ' +
        'writing. Afterwards it runs on, unless --pause or --stop says otherwise. The file is whole or absent.',
    )
    .argument('<name>', 'the guest')
    .argument('<file>', 'where to; "-": standard output')
    .addOption(new Option('--stop', 'destroy the guest once the file is safely on disk').conflicts('pause'))
    .option('--pause', 'leave the guest paused, as it was saved')
    .option('--live', 'write it in rounds while it runs: it stands still for what is left, and needs no copy')
    .addOption(new Option('--codec <name>', 'how to compress').choices(['raw', 'zstd']).default('zstd'))
    .action(async (name: string, file: string, _options: unknown, self: Command) => {
      await save(context, name, file, self.optsWithGlobals<SaveOptions>());
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate save demo demo.tmig', what: 'An image of a guest that runs on.' },
    { line: 'transmigrate save --stop demo demo.tmig', what: 'Put it away; `restore` brings it back.' },
    { line: 'transmigrate save demo - | ssh backup "cat > demo.tmig"', what: 'Through a pipe.' },
  ]);
}

async function save(context: Context, name: string, file: string, options: SaveOptions): Promise<void> {
  const host = await hostOf(context, options);
  const after = options.stop === true ? 'stop' : options.pause === true ? 'pause' : 'run';
  const choice = { after, codec: options.codec, ...(options.live === true && { live: true }) } as const;
  if (file === STDIN) {
    if (context.stdout.stream.isTTY === true) {
      throw new TransmigrateError('USAGE', 'An image is not for a terminal', { next: 'Name a file, or send it on.' });
    }
    const result = await host.saveTo(name, choice, (bytes) => context.stdout.writeBytes(bytes), context.signal);
    // The image is what standard output holds.
    if (options.json === true) await context.stderr.writeJson(result);
    else if (options.quiet !== true) await context.stderr.writeLines(saveLines(result));
    return;
  }
  // The host is told of Ctrl-C, and says what became of it.
  context.endsItself = true;
  const progress = startProgress(context, options, `save ${name}`);
  try {
    const work = { onProgress: progress.update, signal: context.signal };
    const result = await host.save(name, { ...choice, path: resolve(file) }, work);
    progress.finish();
    if (options.json === true) await context.stdout.writeJson(result);
    else if (options.quiet !== true) await context.stdout.writeLines(saveLines(result));
  } finally {
    progress.finish();
  }
}
