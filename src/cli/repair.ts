import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { RepairMode, RepairReport } from '../image/repair/repair-image.ts';
import type { Context, GlobalOptions } from './context.ts';
import { layoutOf, openSource, startProgress, STDIN } from './context.ts';
import { addExamples } from './examples.ts';
import { repairLines } from './text/repair.ts';
import { packageVersion } from '../host/version.ts';

interface RepairCommandOptions extends GlobalOptions {
  readonly toCheckpoint?: boolean;
  readonly salvage?: boolean;
  readonly index?: boolean;
  readonly map?: string;
  readonly json?: boolean;
}

/** `transmigrate repair IMAGE OUTPUT`. */
export function repairCommand(context: Context): Command {
  const command = new Command('repair')
    .summary('make a whole image of what is whole in a damaged one')
    .description(
      'Writes a new image in the Transmigrate stream from a damaged one, which is only read. One of --to-checkpoint, ' +
        '--salvage and --index says how. OUTPUT is whole or absent. Ends with 0 when it was written, also when it ' +
        'will not restore: that is said; else with the code of what is wrong.',
    )
    .argument('<image>', 'the damaged image, of any format; "-": standard input')
    .argument('<output>', 'the file that is written')
    .addOption(
      new Option('--to-checkpoint', 'the machine as it was at its last complete checkpoint').conflicts([
        'salvage',
        'index',
      ]),
    )
    .addOption(
      new Option(
        '--salvage',
        'everything that can be proven, as a core that can be looked at; it will not restore',
      ).conflicts(['index']),
    )
    .option('--index', 'a new index for an image of ours whose records are whole')
    .option('--map <file>', 'with --salvage: also write what is missing or doubtful, as JSON')
    .option('--json', 'print one JSON object')
    .action(async (image: string, output: string, _options: unknown, self: Command) => {
      await repair(context, image, output, self.optsWithGlobals<RepairCommandOptions>());
    });
  return addExamples(command, [
    {
      line: 'transmigrate repair --to-checkpoint cut.tmig whole.tmig',
      what: 'What a cut image was at its checkpoint.',
    },
    {
      line: 'transmigrate repair --salvage --map lost.json bad.tmig core.tmig',
      what: 'What is there of it, and a list of what is not.',
    },
    { line: 'transmigrate repair --index old.tmig new.tmig', what: 'An index, where it is damaged or missing.' },
  ]);
}

function modeOf({ toCheckpoint, salvage, index }: RepairCommandOptions): RepairMode {
  if (toCheckpoint === true) return 'to-checkpoint';
  if (salvage === true) return 'salvage';
  if (index === true) return 'index';
  throw new TransmigrateError('USAGE', 'how to repair it was not said', {
    next: 'Give one of --to-checkpoint, --salvage and --index; see `transmigrate repair --help`.',
  });
}

async function repair(context: Context, image: string, output: string, options: RepairCommandOptions): Promise<void> {
  const mode = modeOf(options);
  if (options.map !== undefined && mode !== 'salvage') {
    throw new TransmigrateError('USAGE', '--map is only for --salvage');
  }
  const { library, signal } = context;
  const source = await openSource(context, image);
  const progress = startProgress(context, options, 'repair');
  let report: RepairReport & { readonly path: string; readonly bytes: number };
  try {
    report = await library.repairFile(source, {
      input: image === STDIN ? null : image,
      output,
      map: options.map ?? null,
      mode,
      tool: { name: 'transmigrate', version: packageVersion() },
      signal,
      onProgress: progress.update,
    });
  } finally {
    progress.finish();
    await source.close();
  }
  if (options.json === true) await context.stdout.writeJson(Object.assign({ ok: true }, report));
  else if (options.quiet !== true)
    await context.stdout.writeLines(repairLines(image, report, layoutOf(context, options)));
}
