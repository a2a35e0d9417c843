import { CommanderError } from 'commander';
import type { Command } from 'commander';
import { EXIT, TransmigrateError } from '../errors.ts';
import { unlessInterrupted, type Context } from './context.ts';
import { reportFailure } from './failure.ts';
import { withCommandWord } from './first-word.ts';
import { allCommands } from './program-frame.ts';
import { quickProgram } from './quick.ts';

/**
 * Runs one command line to its end.
 * @param argv what follows the name of the program.
 * @returns the exit code; whatever went wrong was reported.
 */
export async function run(argv: readonly string[], context: Context): Promise<number> {
  const program = (await quickProgram(argv, context)) ?? (await import('./program.ts')).buildProgram(context);
  for (const command of allCommands(program)) command.exitOverride((error) => leave(command, error));
  try {
    if (argv.length === 0 && context.stdin.isTTY === true) program.help({ error: true });
    const words = withCommandWord(argv, program, context.fileExists);
    await Promise.race([program.parseAsync(words, { from: 'user' }), whenCancelled(context)]);
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      context.exitCode = thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
    } else {
      await reportFailure(context, await unlessInterrupted(context, thrown), asksForJson(argv)).catch(() => {
        // There is nowhere left to say it.
        context.exitCode = EXIT.store;
      });
    }
  }
  return context.exitCode;
}

/** Help and version end the run as they are; everything else that commander ends it for is a mistake of the caller. */
function leave(command: Command, error: CommanderError): never {
  if (error.exitCode === 0 || error.code === 'commander.help') throw error;
  // Commander says the nearest match only in words, on a line of its own.
  const [, found = '', nearest = ''] = /^(?:error: )?([^]*?)(?:\n\(Did you mean (.+)\?\))?$/.exec(error.message) ?? [];
  const name = pathOf(command);
  const unknown = command.parent === null ? 'is neither a command nor a file' : `is no command of \`${name}\``;
  const problem = error.code === 'commander.unknownCommand' ? `'${command.args[0]}' ${unknown}` : found;
  const what = nearest === '' ? problem : `${problem}: did you mean ${nearest}?`;
  throw new TransmigrateError('USAGE', what, { next: `See \`${name} --help\`.` });
}

/** The words that a command is called by. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end === -1 ? argv.length : end).includes('--json');
}

/** Rejects when Ctrl-C is pressed, also while the library waits for a pipe that says nothing. */
function whenCancelled(context: Context): Promise<never> {
  const { signal } = context;
  return new Promise((_resolve, reject) => {
    const cancel = () => {
      if (context.endsItself !== true) reject(new TransmigrateError('CANCELLED', 'cancelled'));
    };
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
  });
}
