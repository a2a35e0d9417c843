import { Argument, Command } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { Context } from './context.ts';
import { SHELLS, completionScript } from './completion-scripts.ts';
import type { Shell } from './completion-scripts.ts';
import { addExamples } from './examples.ts';
import { nearestOf } from './nearest.ts';

/** @throws TransmigrateError USAGE */
function shellOf(word: string): Shell {
  const shell = SHELLS.find((one) => one === word);
  if (shell !== undefined) return shell;
  const nearest = nearestOf(word, SHELLS);
  const what = `there is no completion for '${word}'${nearest === undefined ? '' : `: did you mean ${nearest}?`}`;
  throw new TransmigrateError('USAGE', what, { next: `The shells are ${SHELLS.join(', ')}.` });
}

/** `transmigrate completion SHELL`. */
export function completionCommand(context: Context, program: Command): Command {
  const command = new Command('completion')
    .summary('print a script that completes commands, options and files')
    .description(
      'Prints the script that makes a shell complete the commands, options and files of transmigrate and tmig.',
    )
    .addArgument(new Argument('<shell>', 'the shell that is to read it').choices(SHELLS).argParser(shellOf))
    .action(async (shell: Shell) => {
      await context.stdout.write(completionScript(program, shell));
    });
  return addExamples(command, [
    { line: 'source <(transmigrate completion bash)', what: 'For this shell; in ~/.bashrc for all.' },
    { line: 'source <(transmigrate completion zsh)', what: 'The same for zsh, after compinit.' },
    {
      line: 'transmigrate completion fish > ~/.config/fish/completions/transmigrate.fish',
      what: 'For every fish from now on.',
    },
  ]);
}
