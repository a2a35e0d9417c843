import { Option, type Command } from 'commander';
import type { HostClient } from '../host/client.ts';
import { defaultSocketPath } from '../host/socket-path.ts';
import type { Context, GlobalOptions } from './context.ts';

/** Options of every command that speaks to a host. */
export interface HostOptions extends GlobalOptions {
  readonly socket?: string;
  readonly json?: boolean;
}

/** Adds `--socket` and `--json`. */
export function addHostOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--socket <path>', 'the socket of the host (default: TRANSMIGRATE_SOCKET, or the user’s own)'),
    )
    .option('--json', 'print one JSON object');
}

/** The host that these options name. Nothing is sent yet. */
export function hostOf(context: Context, options: HostOptions): Promise<HostClient> {
  return context.library.connectHost(options.socket ?? defaultSocketPath(context.env));
}
