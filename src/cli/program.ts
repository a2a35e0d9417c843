import type { Command } from 'commander';
import { checkCommand } from './check.ts';
import { completionCommand } from './completion.ts';
import { consoleCommand } from './console.ts';
import type { Context } from './context.ts';
import { convertCommand, coreCommand } from './convert.ts';
import { createCommand } from './create.ts';
import { demoCommand } from './demo.ts';
import { diffCommand } from './diff.ts';
import { addExamples } from './examples.ts';
import { gdbCommand } from './gdb.ts';
import { hostCommand } from './host.ts';
import { inspectCommand } from './inspect.ts';
import { destroyCommand, pauseCommand, unpauseCommand } from './life.ts';
import { cancelCommand, jobsCommand, ownerCommand, setCommand, settleCommand } from './jobs.ts';
import { keysCommand } from './keys.ts';
import { listCommand } from './list.ts';
import { manualCommand } from './manual.ts';
import { memoryCommand } from './memory/memory.ts';
import { migrateCommand, receiveCommand } from './migrate.ts';
import { repairCommand } from './repair.ts';
import { emptyProgram, setUpProgram } from './program-frame.ts';
import { restoreCommand } from './restore.ts';
import { saveCommand } from './save.ts';
import { tmemCommand } from './tmem/tmem.ts';
import { verifyCommand } from './verify.ts';

/** The whole command line. Help, completions and the manual page are made from it. */
export function buildProgram(context: Context): Command {
  const program = emptyProgram()
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
    .addCommand(migrateCommand(context))
    .addCommand(receiveCommand(context))
    .addCommand(jobsCommand(context))
    .addCommand(setCommand(context))
    .addCommand(cancelCommand(context))
    .addCommand(ownerCommand(context))
    .addCommand(settleCommand(context))
    .addCommand(keysCommand(context))
    .addCommand(tmemCommand(context));
  program.addCommand(completionCommand(context, program));
  program.addCommand(manualCommand(context, program), { hidden: true });
  addExamples(program, [
    { line: 'transmigrate guest.tmig', what: 'What is in this image?' },
    { line: 'transmigrate verify guest.tmig', what: 'Will it restore?' },
    { line: 'transmigrate demo', what: 'The main job: a running guest saved, restored and moved.' },
    { line: 'source <(transmigrate completion bash)', what: 'Complete commands, options and files in this shell.' },
  ]);
  return setUpProgram(program, context);
}
