import { Command } from 'commander';
import { checkCommand } from './check.ts';
import { completionCommand } from './completion.ts';
import { consoleCommand } from './console.ts';
import type { Context, GlobalOptions } from './context.ts';
import { columnsOf, wantsColour } from './context.ts';
import { convertCommand, coreCommand } from './convert.ts';
import { createCommand } from './create.ts';
import { demoCommand } from './demo.ts';
import { diffCommand } from './diff.ts';
import { addExamples } from './examples.ts';
import { gdbCommand } from './gdb.ts';
import { hostCommand } from './host.ts';
import { inspectCommand } from './inspect.ts';
import { destroyCommand, pauseCommand, unpauseCommand } from './life.ts';
import { listCommand } from './list.ts';
import { manualCommand } from './manual.ts';
import { memoryCommand } from './memory/memory.ts';
import { repairCommand } from './repair.ts';
import { restoreCommand } from './restore.ts';
import { saveCommand } from './save.ts';
import { COLOURED } from './text/style.ts';
import { tmemCommand } from './tmem/tmem.ts';
import { verifyCommand } from './verify.ts';
import { packageVersion } from './version.ts';

/** The whole command line. Help, completions and the manual page are made from it. */
export function buildProgram(context: Context): Command {
  const program = new Command('transmigrate')
    .description('Runs, saves and restores virtual machines, and shows what is in their images.')
    .usage('[options] FILE\n       transmigrate [options] COMMAND ...')
    .version(`transmigrate ${packageVersion()}`, '-V, --version', 'print the version')
    .option('-q, --quiet', 'no progress, and not a word about what is well')
    .option('--progress', 'show progress also where standard error is no terminal')
    .option('--no-color', 'no colours (as with NO_COLOR in the environment)')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .addCommand(inspectCommand(context))
    .addCommand(verifyCommand(context))
    .addCommand(convertCommand(context))
    .addCommand(coreCommand(context))
    .addCommand(memoryCommand(context))
    .addCommand(gdbCommand(context))
    .addCommand(diffCommand(context))
    .addCommand(checkCommand(context))
    .addCommand(repairCommand(context))
    .addCommand(demoCommand(context))
    .addCommand(hostCommand(context))
    .addCommand(createCommand(context))
    .addCommand(listCommand(context))
    .addCommand(consoleCommand(context))
    .addCommand(pauseCommand(context))
    .addCommand(unpauseCommand(context))
    .addCommand(destroyCommand(context))
    .addCommand(saveCommand(context))
    .addCommand(restoreCommand(context))
    .addCommand(tmemCommand(context));
  program.addCommand(completionCommand(context, program));
  program.addCommand(manualCommand(context, program), { hidden: true });
  addExamples(program, [
    { line: 'transmigrate guest.tmig', what: 'What is in this image?' },
    { line: 'transmigrate verify guest.tmig', what: 'Will it restore?' },
    { line: 'transmigrate demo', what: 'The main job: a running guest saved and restored.' },
    { line: 'source <(transmigrate completion bash)', what: 'Complete commands, options and files in this shell.' },
  ]);
  for (const command of allCommands(program)) setUp(command, program, context);
  return program;
}

/** A command, and all below it. */
export function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)];
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
