import type { Command } from 'commander';

/** A command line, and what it does. */
export interface Example {
  readonly line: string;
  readonly what: string;
}

const EXAMPLES = new WeakMap<Command, readonly Example[]>();

/** Gives a command its examples: at the end of its `--help`, and in the manual page. */
export function addExamples(command: Command, examples: readonly Example[]): Command {
  EXAMPLES.set(command, examples);
  const lines = examples.map(({ line, what }) => `  ${line}\n      ${what}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}

/** The examples of a command. */
export function examplesOf(command: Command): readonly Example[] {
  return EXAMPLES.get(command) ?? [];
}
