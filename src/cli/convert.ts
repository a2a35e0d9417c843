import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { ByteSink } from '../bytes/endpoints.ts';
import type { CodecName } from '../codec/codec.ts';
import { TransmigrateError } from '../errors.ts';
import type { Conversion, ConvertOptions } from '../image/convert/convert.ts';
import type { FileSink } from '../io/file-sink.ts';
import { openSource, startProgress, STDIN, unlessCancelled, type Context, type GlobalOptions } from './context.ts';
import { addExamples } from './examples.ts';
import { CODEC_NAMES, TARGET_NAMES, targetOf } from './targets.ts';
import { conversionLines } from './text/conversion.ts';
import { packageVersion } from '../host/version.ts';

interface ConvertCommandOptions extends GlobalOptions {
  readonly to?: string;
  readonly from?: 'raw';
  readonly origin: boolean;
  readonly allowLoss?: boolean;
  readonly toCheckpoint?: boolean;
  readonly codec?: CodecName;
  readonly level?: number;
  readonly threads?: number;
  readonly json?: boolean;
}

/** Most threads that can be asked for. */
const THREADS_MOST = 256;

/** `transmigrate convert INPUT OUTPUT`. */
export function convertCommand(context: Context): Command {
  const command = new Command('convert')
    .summary('make an image of another format of one')
    .description(
      'Makes an image of another format. One of ours keeps what is needed to give the same bytes back. What the ' +
        'other format has no place for is named, and nothing is written, unless --allow-loss says that it may be ' +
        'left out. OUTPUT is whole or absent; one that is there is replaced.',
    )
    .argument('<input>', 'the image; "-": standard input')
    .argument('<output>', 'where to; "-": standard output')
    .addOption(new Option('--to <format>', 'its format; by default what OUTPUT ends in').choices(TARGET_NAMES))
    .option('--no-origin', 'to ours: do not keep the framing; from ours: make the image anew from what it holds')
    .addOption(
      new Option('--codec <name>', 'to ours: how to compress (default: zstd); to libvirt: raw or zstd').choices(
        CODEC_NAMES,
      ),
    )
    .addOption(
      new Option('--level <number>', 'to ours: how much to compress; zstd -7 to 19, deflate 1 to 9').argParser(integer),
    )
    .addOption(
      new Option('--threads <number>', 'to ours: threads that compress (default: one a processor)').argParser(integer),
    );
  addCommonOptions(command).action(async (input: string, output: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<ConvertCommandOptions>();
    await convert(context, input, output, targetOf(options.to, output), options);
  });
  return addExamples(command, [
    { line: 'transmigrate convert guest.xl guest.tmig', what: 'An xl save file as an image of ours.' },
    { line: 'transmigrate convert guest.tmig guest.xl', what: 'And back: the same bytes.' },
    { line: 'transmigrate convert --to libxl --allow-loss guest.xl guest.libxl', what: 'Without its configuration.' },
    { line: 'zstd -dc a.xl.zst | transmigrate convert --to tmig - - | ssh b "cat > a.tmig"', what: 'Through pipes.' },
  ]);
}

/** `transmigrate core INPUT OUTPUT`. */
export function coreCommand(context: Context): Command {
  const command = new Command('core')
    .summary('make a core of an image, for a debugger')
    .description(
      'Makes an ELF core of an image, which debuggers read: memory, and the registers of its processors. The rest of ' +
        'the machine is left out, and the result says what.',
    )
    .argument('<input>', 'the image; "-": standard input')
    .argument('<output>', 'where to; "-": standard output')
    .option('--xen', 'a core as Xen itself dumps one');
  addCommonOptions(command).action(async (input: string, output: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<ConvertCommandOptions & { readonly xen?: boolean }>();
    const to = options.xen === true ? 'xen-core' : 'elf-core';
    // A core is no machine that could go on: that something is missing is what was asked for.
    await convert(context, input, output, to, { ...options, origin: true, allowLoss: true });
  });
  return addExamples(command, [
    { line: 'transmigrate core guest.tmig guest.elf', what: 'What `gdb` and `readelf` read.' },
    { line: 'transmigrate core --xen guest.xl guest.core', what: 'Like `xl dump-core`.' },
  ]);
}

function addCommonOptions(command: Command): Command {
  const isCore = command.name() === 'core';
  if (!isCore) command.option('--allow-loss', 'leave out what the format has no place for, and say what that is');
  return command
    .option('--to-checkpoint', 'take an image that is cut for what it was at its last checkpoint')
    .addOption(new Option('--from <format>', 'take INPUT for what its bytes do not say').choices(['raw']))
    .option('--json', 'print one JSON object');
}

function integer(text: string): number {
  if (!/^-?\d{1,6}$/.test(text)) throw new TransmigrateError('USAGE', `'${text}' is no whole number`);
  return Number(text);
}

async function convert(
  context: Context,
  input: string,
  output: string,
  to: string,
  options: ConvertCommandOptions,
): Promise<void> {
  const chosen = await conversionOptions(to, options);
  const { spool } = context.library;
  if (output === '') {
    const next = 'Name a file. In a script, the variable that should hold its name may be empty.';
    throw new TransmigrateError('USAGE', 'the name of the OUTPUT is empty', { next });
  }
  if (output === STDIN && context.stdout.stream.isTTY === true) {
    throw new TransmigrateError('USAGE', 'An image is not for a terminal', { next: 'Name a file, or send it on.' });
  }
  const source = await openSource(context, input);
  const progress = startProgress(context, options, 'convert');
  const work = { spool, onProgress: progress.update, signal: context.signal };
  const run = (sink: ByteSink): Promise<Conversion> =>
    context.library.convertImage(source, sink, { ...chosen, ...work });
  try {
    const path = output === STDIN ? null : resolve(output);
    const result =
      path === null
        ? await run({ write: (bytes) => context.stdout.writeBytes(bytes) })
        : await intoFile(context, path, run);
    progress.finish();
    // The image is what standard output holds.
    const out = path === null ? context.stderr : context.stdout;
    if (options.json === true) await out.writeJson({ ...result, path });
    else if (options.quiet !== true) await out.writeLines(conversionLines(source.name, output, result));
  } catch (error) {
    if (error instanceof TransmigrateError) await unlessCancelled(context, source, error);
    throw error;
  } finally {
    progress.finish();
    await source.close();
  }
}

/** Writes a file that is whole or absent, also when Ctrl-C comes while the input says nothing. */
async function intoFile(
  context: Context,
  path: string,
  run: (sink: ByteSink) => Promise<Conversion>,
): Promise<Conversion> {
  const sink: FileSink = await context.library.createFile(path, randomBytes(6).toString('hex'));
  context.endsItself = true;
  const { signal } = context;
  const cancelled = new Promise<never>((_resolve, reject) => {
    const cancel = (): void => reject(new TransmigrateError('CANCELLED', 'cancelled'));
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
  });
  try {
    const result = await Promise.race([run(sink), cancelled]);
    await sink.commit();
    return result;
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

/** @throws USAGE for numbers that make no sense */
async function conversionOptions(to: string, options: ConvertCommandOptions): Promise<ConvertOptions> {
  const { CODEC, CODEC_LEVELS } = await import('../codec/codec.ts');
  const { codec, level, threads = availableParallelism(), from } = options;
  const used = codec ?? 'zstd';
  const levels = used === 'zstd' || used === 'deflate' ? CODEC_LEVELS[used] : undefined;
  if (level !== undefined && (levels === undefined || level < levels.lowest || level > levels.highest)) {
    const next = levels === undefined ? 'It has none.' : `Choose one from ${levels.lowest} to ${levels.highest}.`;
    throw new TransmigrateError('USAGE', `${used} has no level ${level}`, { next });
  }
  if (to === 'libvirt' && codec !== undefined && codec !== 'raw' && codec !== 'zstd') {
    throw new TransmigrateError('USAGE', `libvirt does not store a stream with ${codec}`, {
      next: 'Choose raw or zstd.',
    });
  }
  if (threads < 0 || threads > THREADS_MOST) {
    throw new TransmigrateError('USAGE', `${threads} threads: there can be 0 to ${THREADS_MOST}`);
  }
  const time = `${new Date().toISOString().slice(0, 19)}Z`;
  return {
    // What is no format is refused by the library, by name.
    to: to as ConvertOptions['to'],
    origin: options.origin,
    allowLoss: options.allowLoss === true,
    toCheckpoint: options.toCheckpoint === true,
    ...(codec !== undefined && { codec: CODEC[codec] }),
    ...(level !== undefined && { level }),
    threads,
    streamId: randomBytes(16),
    time,
    about: { tool: { name: 'transmigrate', version: packageVersion() }, converted: time },
    ...(from !== undefined && { as: from }),
  };
}
