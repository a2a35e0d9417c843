import { Command } from 'commander';
import type { Context, GlobalOptions } from './context.ts';
import { layoutOf, openSource, startProgress, unlessCancelled } from './context.ts';
import { addExamples } from './examples.ts';
import { fromOption } from './from.ts';
import { exitCodeOf } from './failure.ts';
import { EXIT } from '../errors.ts';
import { inspectionLines } from './text/inspection.ts';

interface InspectOptions extends GlobalOptions {
  readonly records?: boolean;
  readonly json?: boolean;
  readonly from?: 'raw';
}

/** `transmigrate inspect [FILE]`. */
export function inspectCommand(context: Context): Command {
  const command = new Command('inspect')
    .summary('show what an image is and what is in it')
    .description(
      'Shows what an image of any format is, what it says of itself, its memory, transcendent memory, vCPUs, ' +
        'devices and disks, and ' +
        'what is wrong with it. The format is identified by its content, also compressed or in a virtual disk. ' +
        'By an index it reads only a part of the image: "verify" reads all of it. ' +
        'The word "inspect" can be left out when a FILE is given.',
    )
    .argument('[file]', 'the image; "-" or none: standard input')
    .option('--records', 'list every record, with its offset and section')
    .addOption(fromOption())
    .option('--json', 'print one JSON object')
    .action(async (file: string | undefined, _options: unknown, self: Command) => {
      await inspect(context, file, self.optsWithGlobals<InspectOptions>());
    });
  return addExamples(command, [
    { line: 'transmigrate guest.tmig', what: 'What is in this image?' },
    { line: 'transmigrate inspect --records guest.tmig', what: 'All of its records, with their offsets.' },
    { line: 'ssh host cat guest.xl | transmigrate -', what: 'An image that comes through a pipe.' },
    { line: 'transmigrate inspect --json guest.tmig | jq .about.name', what: 'One fact of it, in a script.' },
  ]);
}

async function inspect(context: Context, file: string | undefined, options: InspectOptions): Promise<void> {
  const source = await openSource(context, file);
  const progress = startProgress(context, options, 'inspect');
  try {
    const inspection = await context.library.inspectImage(source, {
      records: options.records === true,
      spool: context.library.spool,
      ...(options.from !== undefined && { as: options.from }),
      onProgress: progress.update,
      signal: context.signal,
    });
    progress.finish();
    await unlessCancelled(context, source, inspection.error);
    context.exitCode = inspection.error === null ? EXIT.ok : exitCodeOf(inspection.error);
    if (options.json === true) await context.stdout.writeJson(inspection);
    else await context.stdout.writeLines(inspectionLines(inspection, layoutOf(context, options)));
  } finally {
    progress.finish();
    await source.close();
  }
}
