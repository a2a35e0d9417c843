import { Command } from 'commander';
import type { Context } from '../context.ts';
import { memoryExportCommand } from './export.ts';
import { memoryFindCommand } from './find.ts';
import { memoryReadCommand } from './read.ts';

/** `transmigrate memory ...`. The image may also come first: `memory IMAGE read`. */
export function memoryCommand(context: Context): Command {
  return new Command('memory')
    .summary('read, search and export the memory in an image')
    .description(
      "Looks into the memory of an image of any format, by physical addresses or through a vCPU's page tables. " +
        'The image may also come first: "memory IMAGE read".',
    )
    .addCommand(memoryReadCommand(context))
    .addCommand(memoryFindCommand(context))
    .addCommand(memoryExportCommand(context));
}
