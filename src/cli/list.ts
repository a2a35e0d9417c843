import { Command } from 'commander';
import { layoutOf, type Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { guestLines } from './text/guest.ts';

/** `transmigrate list`. */
export function listCommand(context: Context): Command {
  const command = new Command('list')
    .summary('list the guests of the host')
    .description('Lists the guests of the host, with their state, memory and tmem.')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const guests = await (await hostOf(context, options)).list();
      if (options.json === true) await context.stdout.writeJson({ guests });
      else await context.stdout.writeLines(guestLines(guests, layoutOf(context, options)));
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate list', what: 'What runs here?' },
    { line: "transmigrate list --json | jq -r '.guests[].name'", what: 'Their names, in a script.' },
  ]);
}
