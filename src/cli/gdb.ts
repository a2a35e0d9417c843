import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { OpenedImage } from '../image/open/opened-image.ts';
import { STDIN, type Context } from './context.ts';
import { escapeText } from './escape.ts';
import { addExamples } from './examples.ts';
import { listenForDebuggers, parseListen, type ListenAddress } from './gdb-listen.ts';
import { addImageOptions, withImage, type ImageOptions } from './with-image.ts';

interface GdbOptions extends ImageOptions {
  readonly listen?: ListenAddress;
}

/** `transmigrate gdb FILE`. */
export function gdbCommand(context: Context): Command {
  const command = new Command('gdb')
    .summary('let gdb look into an image')
    .description(
      "Speaks gdb's remote protocol over standard input and output: registers, threads, and memory through the page " +
        'tables of each vCPU. Nothing can be changed, nothing runs. In gdb, "monitor help" says what else there is.',
    )
    .argument('<file>', 'the image; with --listen also "-": standard input')
    .addOption(
      new Option('--listen <address>', 'wait on a port of this machine instead, e.g. 127.0.0.1:1234').argParser(
        parseListen,
      ),
    )
    .action(async (file: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<GdbOptions>();
      if (options.listen === undefined && file === STDIN) {
        const next = 'Name a file, or use --listen.';
        throw new TransmigrateError('USAGE', 'standard input is where gdb speaks: it can not be the image', { next });
      }
      if (options.listen === undefined && context.stdin.isTTY === true) {
        const next = "Let gdb start it: `gdb -ex 'target remote | transmigrate gdb FILE'`, or use --listen.";
        throw new TransmigrateError('USAGE', 'standard input is a terminal, and not gdb', { next });
      }
      await withImage(context, file, options, (image) => debug(context, image, options));
    });
  return addExamples(addImageOptions(command), [
    { line: "gdb -ex 'target remote | transmigrate gdb guest.tmig'", what: 'Registers and memory, in gdb.' },
    {
      line: "gdb vmlinux -ex 'target remote | transmigrate gdb guest.xl' -ex bt",
      what: 'With the symbols of the kernel that runs in it.',
    },
    { line: 'transmigrate gdb guest.tmig --listen 127.0.0.1:1234', what: 'For a debugger that wants a port.' },
  ]);
}

async function debug(context: Context, image: OpenedImage, options: GdbOptions): Promise<void> {
  const { stdin, stdout, stderr, signal } = context;
  const session = await context.library.debugImage(image);
  if (options.listen !== undefined) {
    // Ctrl-C is how it ends.
    context.endsItself = true;
    await listenForDebuggers(options.listen, session, signal, async (address) => {
      if (options.quiet !== true) await stderr.writeLines([escapeText(`gdb: target remote ${address}`)]);
    });
    return;
  }
  try {
    await session(stdin as AsyncIterable<Uint8Array>, (bytes) => stdout.writeWanted(bytes));
  } finally {
    stdin.destroy();
  }
}
