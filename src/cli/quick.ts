import type { Command } from 'commander';
import type { Context } from './context.ts';
import { emptyProgram, setUpProgram } from './program-frame.ts';

/** Commands that read an image and end: for them most of the time is loading what the others need. */
const QUICK: Readonly<Record<string, (context: Context) => Promise<Command>>> = {
  inspect: async (context) => (await import('./inspect.ts')).inspectCommand(context),
  verify: async (context) => (await import('./verify.ts')).verifyCommand(context),
  convert: async (context) => (await import('./convert.ts')).convertCommand(context),
  memory: async (context) => (await import('./memory/memory.ts')).memoryCommand(context),
  gdb: async (context) => (await import('./gdb.ts')).gdbCommand(context),
};

/**
 * The program with one command alone, where the first word names one of these; it does the same as the whole one.
 * @returns undefined for every other command line
 */
export async function quickProgram(argv: readonly string[], context: Context): Promise<Command | undefined> {
  const [word = ''] = argv;
  if (!Object.hasOwn(QUICK, word)) return undefined;
  const program = emptyProgram();
  program.addCommand(await QUICK[word](context));
  return setUpProgram(program, context);
}
