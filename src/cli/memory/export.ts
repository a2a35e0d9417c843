import { randomBytes } from 'node:crypto';
import { Command, Option } from 'commander';
import { hexNumber } from '../../bytes/hex.ts';
import { TransmigrateError } from '../../errors.ts';
import type { AddressRange, ExportReport, ExportSink } from '../../image/memory/export.ts';
import type { OpenedImage } from '../../image/open/opened-image.ts';
import type { FileSink } from '../../io/file-sink.ts';
import { startProgress, STDIN, type Context } from '../context.ts';
import { escapeText } from '../escape.ts';
import { addExamples } from '../examples.ts';
import { formatHex, formatSize, plural } from '../text/format.ts';
import { addImageOptions, withImage, type ImageOptions } from '../with-image.ts';
import { parseRange } from './numbers.ts';

interface ExportOptions extends ImageOptions {
  readonly range?: AddressRange;
  readonly map?: string;
  readonly force?: boolean;
}

/** What stands for standard output in place of a file. */
const STDOUT = STDIN;
/** Most that is written where nobody said how much: an image can claim a page at the end of everything. */
const WHOLE_BYTES = 16n * 2n ** 40n;

/** `transmigrate memory export FILE TARGET`. */
export function memoryExportCommand(context: Context): Command {
  const command = new Command('export')
    .summary('write memory as plain bytes')
    .description(
      'Writes physical memory as it lies, from address 0 or a range. Pages that are not in the image are zeros; ' +
        'in a file they, and pages that are all zero, take no room. The file is whole or absent.',
    )
    .argument('<file>', 'the image; "-": standard input')
    .argument('<target>', 'the file that is written; "-": standard output')
    .addOption(new Option('--range <range>', 'FROM-TO, where TO is not in it, or FROM+LENGTH').argParser(parseRange))
    .option('--map <file>', 'write there, as JSON, which pages are missing')
    .option('--force', 'replace files that are there')
    .option('--json', 'print one JSON object; to standard error when memory goes to standard output')
    .action(async (file: string, target: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ExportOptions>();
      if (target === STDOUT && context.stdout.stream.isTTY === true) {
        throw new TransmigrateError('USAGE', 'Memory is not for a terminal', { next: 'Name a file, or send it on.' });
      }
      for (const path of [target, options.map ?? STDOUT]) refuseToReplace(context, path, options);
      await withImage(context, file, options, (image) => exportTo(context, image, target, options));
    });
  return addExamples(addImageOptions(command), [
    { line: 'transmigrate memory export guest.xl guest.raw --map missing.json', what: 'All of it, for other tools.' },
    { line: 'transmigrate memory export guest.tmig - --range 0x100000+16M | strings', what: 'A part, through a pipe.' },
  ]);
}

async function exportTo(context: Context, image: OpenedImage, target: string, options: ExportOptions): Promise<void> {
  const { exportMapText, exportMemory, wholeRange } = await context.library.memoryTools();
  const range = options.range ?? wholeRange(image.memory);
  if (options.range === undefined && range.to > WHOLE_BYTES) {
    const what = `The last page of this image ends at ${formatHex(range.to)}: more than is written unasked`;
    throw new TransmigrateError('USAGE', what, { next: 'Say with --range what is to be written.' });
  }
  // Ctrl-C is heard between two batches, and then no half of a file is left. A pipe may take nothing any more.
  if (target !== STDOUT) context.endsItself = true;
  // A disk that can't take the map is found out before the work.
  const map = options.map === undefined ? undefined : await createFile(context, options.map);
  let file: FileSink | undefined;
  const progress = startProgress(context, options, 'export');
  try {
    file = target === STDOUT ? undefined : await createFile(context, target);
    const sink: ExportSink = file ?? { write: (bytes) => context.stdout.writeBytes(bytes) };
    const work = { onProgress: progress.update, signal: context.signal };
    const report = await exportMemory(image.memory, sink, range, work);
    progress.finish();
    await writeMap(map, exportMapText(report));
    // The memory comes last: where it is, its map is, too.
    await map?.commit();
    await file?.commit();
    await tell(context, target, report, options);
  } catch (error) {
    await map?.abort();
    await file?.abort();
    throw error;
  } finally {
    progress.finish();
  }
}

/** Said before anything is read. @throws WRITE_FAILED */
function refuseToReplace(context: Context, path: string, { force }: ExportOptions): void {
  if (path === STDOUT || force === true || !context.fileExists(path)) return;
  throw new TransmigrateError('WRITE_FAILED', `Can't write ${path}: it is there already`, {
    next: 'Name another file, or replace it with --force.',
    data: { file: path },
  });
}

function createFile(context: Context, path: string): Promise<FileSink> {
  return context.library.createFile(path, randomBytes(6).toString('hex'));
}

/** Characters of the map that are written at a time. */
const MAP_PART = 65_536;

async function writeMap(map: FileSink | undefined, pieces: Iterable<string>): Promise<void> {
  if (map === undefined) return;
  const encoder = new TextEncoder();
  let text = '';
  for (const piece of pieces) {
    text += piece;
    if (text.length < MAP_PART) continue;
    await map.write(encoder.encode(text));
    text = '';
  }
  await map.write(encoder.encode(text));
}

async function tell(context: Context, target: string, report: ExportReport, options: ExportOptions): Promise<void> {
  // Memory is what standard output holds.
  const output = target === STDOUT ? context.stderr : context.stdout;
  const { pageSize, presentPages, absentPages, from, to } = report;
  const path = target === STDOUT ? null : target;
  if (options.json === true) {
    const range = { from: hexNumber(from, 16), to: hexNumber(to, 16) };
    await output.writeJson({ ok: true, path, bytes: String(to - from), pageSize, ...range, presentPages, absentPages });
  } else if (options.quiet !== true) {
    const pages = `${plural(presentPages, 'page')} present, ${plural(absentPages, 'page')} absent`;
    await output.writeLines([escapeText(`${path ?? 'standard output'}: ${formatSize(to - from)}, ${pages}`)]);
  }
}
