import { Command } from 'commander';
import type { Context, GlobalOptions } from './context.ts';
import { columnsOf, wantsColour } from './context.ts';
import { COLOURED } from './text/style.ts';
import { packageVersion } from '../host/version.ts';

/** The program without its commands: what it is called, and the options that every command takes. */
export function emptyProgram(): Command {
  return new Command('transmigrate')
    .description('Runs, saves and restores virtual machines, and shows what is in their images.')
    .usage('[options] FILE\n       transmigrate [options] COMMAND ...')
    .version(`transmigrate ${packageVersion()}`, '-V, --version', 'print the version')
    .option('-q, --quiet', 'no progress, and not a word about what is well')
    .option('--progress', 'show progress also where standard error is no terminal')
    .option('--no-color', 'no colours (as with NO_COLOR in the environment)')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command');
}

/** A command, and all below it. */
export function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

/** Gives all commands of a program their help, and their ways to print. */
export function setUpProgram(program: Command, context: Context): Command {
  for (const command of allCommands(program)) setUp(command, program, context);
  return program;
}

function setUp(command: Command, program: Command, context: Context): void {
  const { stdout, stderr } = context;
  const coloured = (output: Context['stdout']) => wantsColour(context, program.opts<GlobalOptions>().color, output);
  command
    .helpOption('-h, --help', 'show help')
    .configureHelp({
      showGlobalOptions: true,
      styleTitle: COLOURED.title,
    })
    .configureOutput({
      writeOut: (text) => void stdout.stream.write(text),
      writeErr: (text) => void stderr.stream.write(text),
      // Errors are thrown, and reported in one place.
      outputError: () => undefined,
      getOutHelpWidth: () => columnsOf(stdout.stream),
      getErrHelpWidth: () => columnsOf(stderr.stream),
      getOutHasColors: () => coloured(stdout),
      getErrHasColors: () => coloured(stderr),
    });
}
