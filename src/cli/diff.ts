import { Command, Option } from 'commander';
import { EXIT, TransmigrateError } from '../errors.ts';
import type { OpenedImage } from '../image/open/opened-image.ts';
import type { Context, GlobalOptions } from './context.ts';
import { layoutOf, openSource, startProgress, STDIN } from './context.ts';
import { addExamples } from './examples.ts';
import { diffLines } from './text/diff.ts';

interface DiffCommandOptions extends GlobalOptions {
  readonly json?: boolean;
  readonly max: number;
  readonly bytes?: boolean;
}

const DEFAULT_MAX = 20;
const MOST_MAX = 100_000;

/** `transmigrate diff A B`. */
export function diffCommand(context: Context): Command {
  const command = new Command('diff')
    .summary('compare two images by what they hold')
    .description(
      'Compares two images of any format by what they hold: pages, their classes, vCPUs, CPUID and MSR policies, ' +
        'devices, disks, and transcendent memory. What one of the formats has no place for is not compared, and is ' +
        'named. Ends with 0 when nothing differs, and with 1 when something does. With --quiet only the exit code ' +
        'says it.',
    )
    .argument('<a>', 'an image; "-": standard input')
    .argument('<b>', 'the other')
    .addOption(
      new Option('--max <count>', 'how many ranges, keys and pages each list names; counts are whole')
        .argParser(countOf)
        .default(DEFAULT_MAX),
    )
    .option('--bytes', 'also name the places in the first pages that differ')
    .option('--json', 'print one JSON object')
    .action(async (a: string, b: string, _options: unknown, self: Command) => {
      await diff(context, [a, b], self.optsWithGlobals<DiffCommandOptions>());
    });
  return addExamples(command, [
    { line: 'transmigrate diff before.tmig after.tmig', what: 'What changed between two saves?' },
    { line: 'transmigrate diff guest.xl guest.tmig', what: 'Does a converted image hold the same?' },
    { line: 'transmigrate diff --bytes --max 5 a.tmig b.tmig', what: 'Where in the first five pages?' },
    { line: 'zstd -dc old.tmig.zst | transmigrate diff --quiet - new.tmig', what: 'One of them through a pipe.' },
  ]);
}

function countOf(text: string): number {
  const count = Number(text);
  if (/^\d{1,6}$/.test(text) && count <= MOST_MAX) return count;
  throw new TransmigrateError('USAGE', `--max ${text} is no count from 0 to ${MOST_MAX}`);
}

async function diff(context: Context, files: readonly [string, string], options: DiffCommandOptions): Promise<void> {
  if (files.every((file) => file === STDIN)) throw new TransmigrateError('USAGE', 'standard input was given twice');
  const progress = startProgress(context, options, 'diff');
  const { library, signal } = context;
  const opened: OpenedImage[] = [];
  try {
    for (const file of files) {
      const source = await openSource(context, file);
      try {
        opened.push(await library.openImage(source, { spool: library.spool, signal, onProgress: progress.update }));
      } catch (error) {
        if (error instanceof TransmigrateError) error.file ??= source.name;
        throw error;
      }
    }
    const { max, bytes = false } = options;
    const result = await library.diffImages(opened[0], opened[1], {
      max,
      bytes,
      signal,
      onProgress: progress.update,
    });
    progress.finish();
    context.exitCode = result.same ? EXIT.ok : EXIT.failed;
    if (options.json === true) await context.stdout.writeJson(Object.assign({ ok: true }, result));
    else if (options.quiet !== true) {
      await context.stdout.writeLines(diffLines(files, result, layoutOf(context, options)));
    }
  } finally {
    progress.finish();
    await Promise.all(opened.map((image) => image.close()));
  }
}
