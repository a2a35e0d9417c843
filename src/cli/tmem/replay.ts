import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { Command } from 'commander';
import { EXIT, TransmigrateError } from '../../errors.ts';
import type { Context, GlobalOptions } from '../context.ts';
import { escapeText } from '../escape.ts';
import { addExamples } from '../examples.ts';
import { formatCount, plural } from '../text/format.ts';
import type { ReplayReport } from '../../tmem/replay.ts';

interface ReplayOptions extends GlobalOptions {
  readonly json?: boolean;
}

/** Most bytes of a recording, unpacked. */
const RECORDING_LIMIT = 2 ** 30;

/** `transmigrate tmem replay FILE`. */
export function tmemReplayCommand(context: Context): Command {
  const command = new Command('replay')
    .summary('replay a recording and compare every answer')
    .description(
      'Replays a recording of what the reference tmem answered, and compares results, contents, evicted pages, saved ' +
        'pages and invalidations. Exit code 1, and the first differences, where there are any.',
    )
    .argument('<files...>', 'recordings: a JSON object a line, gzipped or not')
    .option('--json', 'print one JSON object')
    .action(async (files: string[], _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ReplayOptions>();
      const found: (ReplayReport & { file: string; ok: boolean })[] = [];
      for (const file of files) {
        const report = await replayed(context, file);
        const ok = report.differenceCount === 0;
        found.push({ file, ok, ...report });
        const wanted = options.json !== true && (options.quiet !== true || !ok);
        if (wanted) await context.stdout.writeLines(reportLines(file, report));
      }
      const ok = found.every((each) => each.ok);
      context.exitCode = ok ? EXIT.ok : EXIT.failed;
      if (options.json === true) await context.stdout.writeJson(files.length === 1 ? found[0] : { ok, files: found });
    });
  return addExamples(command, [
    { line: 'transmigrate tmem replay evictions.jsonl.gz', what: 'Does the engine answer as it was recorded?' },
  ]);
}

async function replayed(context: Context, file: string): Promise<ReplayReport> {
  const lines = await linesOf(file);
  try {
    return await context.library.replayTmem(lines);
  } catch (error) {
    if (error instanceof TransmigrateError) error.file = file;
    throw error;
  }
}

/** A recording has some megabytes: it is read whole. @throws READ_FAILED */
async function linesOf(file: string): Promise<string[]> {
  try {
    const bytes = await readFile(file);
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const text = isGzip ? gunzipSync(bytes, { maxOutputLength: RECORDING_LIMIT }) : bytes;
    return text.toString('utf8').split('\n');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TransmigrateError('READ_FAILED', `Can't read ${file}: ${why}`, { cause, data: { file } });
  }
}

function reportLines(file: string, report: ReplayReport): string[] {
  const { operations, compared, differenceCount, differences } = report;
  const { results, contents, evictions, savedPages, invalidations } = compared;
  const what = [
    `${formatCount(results)} results`,
    `${formatCount(contents)} contents`,
    `${formatCount(evictions)} evictions`,
    `${formatCount(savedPages)} saved pages`,
    `${formatCount(invalidations)} invalidations`,
  ];
  return [
    escapeText(`${file}: ${plural(operations, 'operation')}, ${plural(differenceCount, 'difference')}`),
    `  compared ${what.join(', ')}`,
    ...differences.map(({ line, operation, what: which, expected, found }) =>
      escapeText(`  line ${line} (${operation}): ${which} ${found}, ${expected} was recorded`),
    ),
    ...(differenceCount > differences.length ? ['  ...'] : []),
  ];
}
