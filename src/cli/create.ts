import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { BootChoice, DiskChoice } from '../host/api.ts';
import type { Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { parseSize } from './size.ts';
import { guestSentence } from './text/guest.ts';

interface CreateOptions extends HostOptions {
  readonly memory?: number;
  readonly multiboot?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly pages?: number;
  readonly ticks?: number;
  readonly disk: readonly DiskChoice[];
  readonly tmem: boolean;
  readonly driverVersion?: string;
  readonly paused?: boolean;
}

/** `transmigrate create [NAME]`. */
export function createCommand(context: Context): Command {
  const command = new Command('create')
    .summary('boot a guest on the host')
    .description(
      'Boots a guest: a kernel and initrd (--kernel), a multiboot image (--multiboot), or, without either, the ' +
        'small guest that comes with the package: it rewrites and checks its memory and uses tmem.',
    )
    .argument('[name]', 'its name; without one the host gives it one')
    .addOption(new Option('--memory <size>', 'guest memory, e.g. 64M').argParser(parseSize))
    .option('--kernel <file>', 'a Linux kernel: bzImage or vmlinux')
    .option('--initrd <file>', 'its initial RAM disk')
    .option('--append <words>', 'its command line')
    .option('--multiboot <file>', 'a multiboot image')
    .addOption(new Option('--pages <number>', 'small guest: pages that it rewrites in a round').argParser(parseCount))
    .addOption(new Option('--ticks <number>', 'small guest: timer ticks between rounds').argParser(parseCount))
    .addOption(
      new Option(
        '--disk <spec>',
        'a disk: hda=FILE, hda=FILE,readonly, hda=FILE,shared, or hdb=tmem,SIZE for swap on tmem',
      )
        .argParser(collectDisk)
        .default([], 'none'),
    )
    .option('--no-tmem', 'without transcendent memory')
    .option('--driver-version <version>', 'an older v86 that the host has')
    .option('--paused', 'do not run it yet')
    .action(async (name: string | undefined, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<CreateOptions>();
      const host = await hostOf(context, options);
      const { memory, driverVersion } = options;
      const guest = await host.create({
        name,
        boot: bootOf(options),
        tmem: options.tmem,
        disks: [...options.disk],
        paused: options.paused === true,
        ...(memory !== undefined && { memoryMiB: Math.ceil(memory / 2 ** 20) }),
        ...(driverVersion !== undefined && { driverVersion }),
      });
      if (options.json === true) await context.stdout.writeJson(guest);
      else if (options.quiet !== true) await context.stdout.writeLines([guestSentence(guest)]);
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate create demo', what: 'The small guest, called demo.' },
    {
      line: "transmigrate create linux --memory 64M --kernel vmlinuz --initrd initrd.gz --append 'console=ttyS0'",
      what: 'A Linux of your own.',
    },
  ]);
}

function bootOf(options: CreateOptions): BootChoice {
  const { kernel, multiboot, initrd, append, pages, ticks } = options;
  if (kernel !== undefined && multiboot !== undefined) {
    throw new TransmigrateError('USAGE', '--kernel and --multiboot can not both be given');
  }
  if (kernel === undefined && (initrd !== undefined || append !== undefined)) {
    throw new TransmigrateError('USAGE', '--initrd and --append need a --kernel');
  }
  if (kernel !== undefined) {
    return {
      kind: 'linux',
      kernel: resolve(kernel),
      commandLine: append ?? '',
      ...(initrd !== undefined && { initrd: resolve(initrd) }),
    };
  }
  if (multiboot !== undefined) return { kind: 'multiboot', image: resolve(multiboot) };
  return { kind: 'small', ...(pages !== undefined && { pages }), ...(ticks !== undefined && { ticks }) };
}

function parseCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new TransmigrateError('USAGE', `'${text}' is not a number`);
  return Number(text);
}

/** `hda=FILE[,readonly|,shared]` or `hdb=tmem,SIZE`. */
function collectDisk(text: string, before: readonly DiskChoice[]): readonly DiskChoice[] {
  const [, name, what, option] = /^(hda|hdb)=([^,]+)(?:,([^,]+))?$/.exec(text) ?? [];
  if (name === undefined || what === undefined) {
    throw new TransmigrateError('USAGE', `'${text}' is no disk: give hda=FILE, hda=FILE,readonly or hdb=tmem,SIZE`);
  }
  const disk = name as DiskChoice['name'];
  if (what === 'tmem') return [...before, { name: disk, policy: 'tmem', bytes: parseSize(option ?? '') }];
  const policy = { readonly: 'digest', shared: 'shared' }[option ?? ''];
  if (option !== undefined && policy === undefined) {
    throw new TransmigrateError('USAGE', `'${option}' is no kind of disk: give readonly or shared, or nothing`);
  }
  return [...before, { name: disk, policy: (policy ?? 'inside-device') as DiskChoice['policy'], path: resolve(what) }];
}
