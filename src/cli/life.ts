import { Command } from 'commander';
import type { GuestInfo } from '../host/api.ts';
import type { HostClient } from '../host/client.ts';
import type { Context } from './context.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { guestSentence } from './text/guest.ts';

/** `transmigrate pause NAME`. */
export function pauseCommand(context: Context): Command {
  return lifeCommand(context, 'pause', 'stop a guest from running, until `unpause`', (host, name) => host.pause(name));
}

/** `transmigrate unpause NAME`. */
export function unpauseCommand(context: Context): Command {
  return lifeCommand(context, 'unpause', 'let a paused guest run again', (host, name) => host.unpause(name));
}

/** `transmigrate destroy NAME`. */
export function destroyCommand(context: Context): Command {
  return lifeCommand(context, 'destroy', 'end a guest, and with it its memory and tmem', (host, name) =>
    host.destroy(name),
  );
}

/** A command that does one thing to one guest. */
function lifeCommand(
  context: Context,
  word: string,
  summary: string,
  act: (host: HostClient, name: string) => Promise<GuestInfo>,
): Command {
  const command = new Command(word)
    .summary(summary)
    .argument('<name>', 'the guest')
    .action(async (name: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const guest = await act(await hostOf(context, options), name);
      if (options.json === true) await context.stdout.writeJson(guest);
      else if (options.quiet !== true) {
        await context.stdout.writeLines([word === 'destroy' ? `${guest.name}: destroyed` : guestSentence(guest)]);
      }
    });
  return addHostOptions(command);
}
