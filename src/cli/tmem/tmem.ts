import { Command } from 'commander';
import type { Context } from '../context.ts';
import { tmemListCommand } from './list.ts';
import { tmemReplayCommand } from './replay.ts';
import {
  tmemAuthoriseCommand,
  tmemFlushCommand,
  tmemFreeableCommand,
  tmemFreezeCommand,
  tmemSetCommand,
  tmemThawCommand,
} from './settings.ts';

/** `transmigrate tmem ...`. `xl`'s old names, such as tmem-list, mean the same. */
export function tmemCommand(context: Context): Command {
  return new Command('tmem')
    .summary('look after transcendent memory')
    .description("Shows and sets the host's transcendent memory. The old names of xl, such as tmem-list, do the same.")
    .addCommand(tmemListCommand(context))
    .addCommand(tmemFreezeCommand(context))
    .addCommand(tmemThawCommand(context))
    .addCommand(tmemSetCommand(context))
    .addCommand(tmemAuthoriseCommand(context))
    .addCommand(tmemFreeableCommand(context))
    .addCommand(tmemFlushCommand(context))
    .addCommand(tmemReplayCommand(context));
}
