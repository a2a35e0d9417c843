import { Command, Option } from 'commander';
import { TransmigrateError } from '../../errors.ts';
import type { TmemSetChoice } from '../../host/tmem-api.ts';
import type { Context } from '../context.ts';
import { addExamples } from '../examples.ts';
import { addHostOptions, hostOf, type HostOptions } from '../host-connection.ts';
import { parseSize } from '../size.ts';
import { formatBytes, plural } from '../text/format.ts';

interface WhomOptions extends HostOptions {
  readonly all?: boolean;
}

interface SetOptions extends WhomOptions {
  readonly weight?: number;
  readonly cap?: number;
  readonly allowance?: number;
  readonly compress?: boolean;
  readonly sharing?: boolean;
}

/** `transmigrate tmem freeze`. */
export function tmemFreezeCommand(context: Context): Command {
  return frozenCommand(context, 'freeze', 'take no new pages from a guest', true);
}

/** `transmigrate tmem thaw`. */
export function tmemThawCommand(context: Context): Command {
  return frozenCommand(context, 'thaw', 'take new pages from a guest again', false);
}

function frozenCommand(context: Context, word: string, summary: string, frozen: boolean): Command {
  const command = whom(new Command(word).summary(summary)).action(
    async (name: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<WhomOptions>();
      await apply(context, options, { ...guestOf(name, options), frozen });
    },
  );
  return addHostOptions(command);
}

/** `transmigrate tmem set`. */
export function tmemSetCommand(context: Context): Command {
  const command = whom(new Command('set').summary("change the settings of a guest's tmem"))
    .addOption(new Option('-w, --weight <number>', 'its share, among the weights of all').argParser(parseCount))
    .addOption(new Option('-c, --cap <pages>', 'most pages; 0 for no cap').argParser(parseCount))
    .addOption(new Option('--allowance <pages>', 'most persistent pages; 0 for no limit').argParser(parseCount))
    .addOption(new Option('-p, --compress <on|off>', 'store pages compressed').argParser(parseSwitch))
    .addOption(new Option('--sharing <on|off>', 'store equal pages of new pools once').argParser(parseSwitch))
    .action(async (name: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<SetOptions>();
      const { weight, cap, allowance, compress, sharing } = options;
      const settings = { weight, cap, allowance, compress, sharing };
      if (Object.values(settings).every((value) => value === undefined)) {
        throw new TransmigrateError(
          'USAGE',
          'nothing to set: give --weight, --cap, --allowance, --compress, --sharing',
        );
      }
      await apply(context, options, { ...guestOf(name, options), ...settings });
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate tmem set demo --weight 200 --cap 10000', what: 'Twice the usual share, and a cap.' },
  ]);
}

/** `transmigrate tmem shared-auth`. */
export function tmemAuthoriseCommand(context: Context): Command {
  const command = new Command('shared-auth')
    .summary('say whether a guest may use a shared pool')
    .argument('<name>', 'the guest')
    .requiredOption('-u, --uuid <uuid>', 'of the pool')
    .addOption(new Option('-A, --auth <on|off>', 'may it?').argParser(parseSwitch).default(true, 'on'))
    .action(async (name: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions & { uuid: string; auth: boolean }>();
      const host = await hostOf(context, options);
      const { changed } = await host.authoriseTmem({ guest: name, uuid: options.uuid, authorised: options.auth });
      if (options.json === true) await context.stdout.writeJson({ changed });
      else if (options.quiet !== true) await context.stdout.writeLines([changed ? 'changed' : 'it was so already']);
    });
  return addHostOptions(command);
}

/** `transmigrate tmem freeable`. */
export function tmemFreeableCommand(context: Context): Command {
  const command = new Command('freeable')
    .summary('show how much memory flushing would free')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const { freeableBytes } = await (await hostOf(context, options)).tmem();
      if (options.json === true) await context.stdout.writeJson({ freeableBytes });
      else await context.stdout.writeLines([formatBytes(freeableBytes)]);
    });
  return addHostOptions(command);
}

/** `transmigrate tmem flush`. */
export function tmemFlushCommand(context: Context): Command {
  const command = new Command('flush')
    .summary('free memory: evict the oldest ephemeral pages')
    .argument('<size>', 'how much, e.g. 16M', parseSize)
    .action(async (bytes: number, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const { freedBytes } = await (await hostOf(context, options)).flushTmem(bytes);
      if (options.json === true) await context.stdout.writeJson({ freedBytes });
      else if (options.quiet !== true) await context.stdout.writeLines([`${formatBytes(freedBytes)} freed`]);
    });
  return addHostOptions(command);
}

function whom(command: Command): Command {
  return command.argument('[name]', 'the guest').option('-a, --all', 'every guest');
}

/** Everybody is meant only when it is said. @throws USAGE */
function guestOf(name: string | undefined, { all }: WhomOptions): { guest?: string } {
  if (name !== undefined && all === true) throw new TransmigrateError('USAGE', 'give a guest or --all, not both');
  if (name === undefined && all !== true) throw new TransmigrateError('USAGE', 'give a guest, or --all');
  return name === undefined ? {} : { guest: name };
}

async function apply(
  context: Context,
  options: HostOptions,
  choice: { [K in keyof TmemSetChoice]: TmemSetChoice[K] },
): Promise<void> {
  const { guests } = await (await hostOf(context, options)).setTmem(choice);
  if (options.json === true) await context.stdout.writeJson({ guests });
  else if (options.quiet !== true) await context.stdout.writeLines([`${plural(guests.length, 'guest')} changed`]);
}

function parseCount(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new TransmigrateError('USAGE', `'${text}' is not a number`);
  return Number(text);
}

function parseSwitch(text: string): boolean {
  const value = { on: true, off: false, '1': true, '0': false }[text];
  if (value === undefined) throw new TransmigrateError('USAGE', `'${text}' is neither on nor off`);
  return value;
}
