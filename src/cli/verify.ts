import type { Verification } from '../image/verify.ts';
import { Command } from 'commander';
import type { Context, GlobalOptions } from './context.ts';
import { STDIN, layoutOf, openSource, startProgress, unlessCancelled } from './context.ts';
import { addExamples } from './examples.ts';
import { fromOption } from './from.ts';
import { classOfCode, EXIT, TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { verificationLines } from './text/verification.ts';

interface VerifyOptions extends GlobalOptions {
  readonly strict?: boolean;
  readonly digest?: boolean;
  readonly toCheckpoint?: boolean;
  readonly from?: 'raw';
  readonly json?: boolean;
}

/** `transmigrate verify FILE...`. */
export function verifyCommand(context: Context): Command {
  const command = new Command('verify')
    .summary('read all of an image and say whether it will restore')
    .description(
      'Reads every byte of an image, checks all that can be checked, and says whether it is sound, ' +
        'will restore although ' +
        'something is wrong with it, or is broken. An image of any format is identified by its content, also ' +
        'compressed or in a virtual disk, and judged as the program that wrote it would. ' +
        'Several FILEs are the channels of one stream, in any order. ' +
        'With --quiet nothing is printed about a sound image.',
    )
    .argument('<file...>', 'the image, or all channels of one stream; "-": standard input')
    .option('--strict', 'judge by the letter of the specification, and fail on every finding')
    .option('--digest', 'also print the SHA-256 of memory and of tmem, to compare images by what they hold')
    .option('--to-checkpoint', 'judge the last whole checkpoint of an image that is cut or damaged behind it')
    .addOption(fromOption())
    .option('--json', 'print one JSON object')
    .action(async (files: string[], _options: unknown, self: Command) => {
      await verify(context, files, self.optsWithGlobals<VerifyOptions>());
    });
  return addExamples(command, [
    { line: 'transmigrate verify guest.tmig', what: 'Will this image restore?' },
    {
      line: 'transmigrate verify --strict --quiet guest.tmig',
      what: 'The same for a script: only errors, and the exit code.',
    },
    { line: 'transmigrate verify --digest guest.tmig', what: 'What to compare with the digest of another image.' },
    {
      line: 'transmigrate verify --to-checkpoint guest.remus',
      what: 'An `xl remus` that broke off: is it a machine?',
    },
    { line: 'transmigrate verify channel-0.tmig channel-1.tmig', what: 'A stream that was recorded on two channels.' },
  ]);
}

async function verify(context: Context, files: readonly string[], options: VerifyOptions): Promise<void> {
  if (files.filter((file) => file === STDIN).length > 1) {
    throw new TransmigrateError('USAGE', 'standard input was given twice');
  }
  const progress = startProgress(context, options, 'verify');
  const sources: ByteSource[] = [];
  try {
    for (const file of files) {
      const source = await openSource(context, file);
      const at = sources.push(source) - 1;
      // A digest reads a channel twice, which a pipe does not allow: it is put aside in a temporary file.
      const isChannel = files.length > 1 && options.digest === true;
      if (isChannel && source.random === null) sources[at] = await context.library.spool(source);
    }
    const verification = await context.library.verifyImage(sources, {
      digest: options.digest === true,
      strict: options.strict === true,
      toCheckpoint: options.toCheckpoint === true,
      spool: context.library.spool,
      ...(options.from !== undefined && { as: options.from }),
      onProgress: progress.update,
      signal: context.signal,
    });
    progress.finish();
    const ended = sources.find(({ size }) => size === null);
    await unlessCancelled(context, ended, verification.errors[0]);
    context.exitCode = verdictExitCode(verification, options.strict === true);
    const ok = context.exitCode === EXIT.ok;
    if (options.json === true) {
      // `ok` comes first, and what the options make of the verdict counts.
      await context.stdout.writeJson(Object.assign({ ok }, verification, { ok }));
    } else if (options.quiet !== true || verification.verdict !== 'sound') {
      const names = sources.map(({ name }) => name);
      await context.stdout.writeLines(verificationLines(names, verification, layoutOf(context, options)));
    }
  } finally {
    progress.finish();
    await Promise.all(sources.map((source) => source.close()));
  }
}

/** What the command ends with: findings fail only with `--strict`; what is merely too new is told apart from damage. */
export function verdictExitCode({ verdict, errors }: Verification, strict: boolean): number {
  if (verdict === 'sound' || (verdict === 'findings' && !strict)) return EXIT.ok;
  const first = errors[0];
  const isUnsupported = verdict === 'broken' && first !== undefined && classOfCode(first.code) === 'unsupported';
  return isUnsupported ? EXIT.unsupported : EXIT.format;
}
