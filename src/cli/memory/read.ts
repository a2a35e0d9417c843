import { Command, Option } from 'commander';
import { hexNumber, toHex } from '../../bytes/hex.ts';
import { TransmigrateError, EXIT } from '../../errors.ts';
import { PAGING_MODES, type PagingMode } from '../../image/memory/paging.ts';
import type { MemoryRead } from '../../image/memory/read.ts';
import type { OpenedImage } from '../../image/open/opened-image.ts';
import type { Context } from '../context.ts';
import { addExamples } from '../examples.ts';
import { plural } from '../text/format.ts';
import { addImageOptions, withImage, type ImageOptions } from '../with-image.ts';
import { parseAddress, parseCount, parseLength } from './numbers.ts';

interface ReadOptions extends ImageOptions {
  readonly virtual?: boolean;
  readonly vcpu?: number;
  readonly cr3?: bigint;
  readonly paging?: PagingMode;
  readonly raw?: boolean;
}

/** Bytes that are read at a time: a whole number of lines. */
const PART_BYTES = 256 * 1024;
/** Most bytes that one JSON object holds. */
const JSON_BYTES = 16 * 1024 * 1024;

/** `transmigrate memory read FILE ADDRESS LENGTH`. */
export function memoryReadCommand(context: Context): Command {
  const command = new Command('read')
    .summary('print the bytes at an address')
    .description(
      'Prints memory at a physical address, or at a virtual one through the page tables of a vCPU. Where a byte is ' +
        'not there it stops, says why, and ends with 1. Numbers are decimal, or hex with 0x; lengths may have K, M, G.',
    )
    .argument('<file>', 'the image; "-": standard input')
    .argument('<address>', 'of the first byte', parseAddress)
    .argument('<length>', 'in bytes', parseLength)
    .option('--virtual', 'the address is virtual')
    .addOption(new Option('--vcpu <n>', 'whose page tables; means --virtual').argParser(parseCount))
    .addOption(new Option('--cr3 <address>', 'where the page tables are; means --virtual').argParser(parseAddress))
    .addOption(
      new Option('--paging <mode>', 'which page tables, where the image does not say; means --virtual').choices(
        PAGING_MODES,
      ),
    )
    .addOption(new Option('--raw', 'the bytes as they are').conflicts('json'))
    .option('--json', 'print one JSON object')
    .action(async (file: string, address: bigint, length: number, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ReadOptions>();
      if (options.json === true && length > JSON_BYTES) {
        throw new TransmigrateError('USAGE', `${plural(length, 'byte')} are too many for one JSON object`, {
          next: 'Read at most 16M at a time, or use --raw.',
        });
      }
      await withImage(context, file, options, (image) => read(context, image, address, length, options));
    });
  return addExamples(addImageOptions(command), [
    { line: 'transmigrate memory read guest.tmig 0x100000 256', what: 'Physical memory.' },
    {
      line: 'transmigrate memory read guest.xl 0xffffffff81000000 64 --virtual',
      what: 'What the first vCPU sees at this address.',
    },
    { line: 'transmigrate memory read core 0x1000 4K --raw | sha256sum', what: 'One page, for another program.' },
  ]);
}

async function read(
  context: Context,
  image: OpenedImage,
  address: bigint,
  length: number,
  options: ReadOptions,
): Promise<void> {
  const tools = await context.library.memoryTools();
  const { cr3, paging, vcpu } = options;
  const isVirtual = options.virtual === true || cr3 !== undefined || paging !== undefined || vcpu !== undefined;
  const machine = new tools.MachineMemory(image);
  const choice = cr3 === undefined && paging === undefined ? undefined : { cr3, mode: paging };
  const space = isVirtual ? machine.space(vcpu, choice) : undefined;
  const readPart = (at: bigint, into: Uint8Array): Promise<MemoryRead> =>
    space === undefined
      ? tools.readPhysical(machine.pages, at, into)
      : tools.readVirtual(machine.pages, space, at, into);

  if (options.json === true) {
    const into = new Uint8Array(length);
    const { bytes, stop } = await readPart(address, into);
    if (stop !== null) context.exitCode = EXIT.failed;
    await context.stdout.writeJson({
      ok: stop === null,
      space: isVirtual ? 'virtual' : 'physical',
      paging: space?.paging.mode ?? null,
      address: hexNumber(address, 16),
      requested: length,
      bytes,
      data: toHex(into.subarray(0, bytes)),
      stop: stop === null ? null : tools.stopJson(stop),
    });
    return;
  }
  const dump = new tools.Hexdump();
  const buffer = new Uint8Array(Math.min(length, PART_BYTES));
  let done = 0;
  let stop: MemoryRead['stop'] = null;
  while (done < length && stop === null) {
    if (context.signal.aborted) throw new TransmigrateError('CANCELLED', 'cancelled');
    const at = address + BigInt(done);
    const part = await readPart(at, buffer.subarray(0, length - done));
    const bytes = buffer.subarray(0, part.bytes);
    if (options.raw !== true) await context.stdout.writeLines(dump.lines(at, bytes));
    else if (!(await context.stdout.writeWanted(bytes))) return;
    done += part.bytes;
    stop = part.stop;
  }
  if (options.raw !== true) await context.stdout.writeLines(dump.end(address + BigInt(done)));
  if (stop === null) return;
  const count = done === 0 ? 'Nothing' : `Only ${plural(done, 'byte')} of ${plural(length, 'byte')}`;
  throw new TransmigrateError('MEMORY_ABSENT', `${count} can be read. ${tools.stopText(stop)}`, {
    data: { read: done, requested: length, stop: tools.stopJson(stop) },
  });
}
