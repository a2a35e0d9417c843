import { Command, Option } from 'commander';
import { fromHex, hexNumber } from '../../bytes/hex.ts';
import { EXIT, TransmigrateError } from '../../errors.ts';
import type { OpenedImage } from '../../image/open/opened-image.ts';
import { startProgress, type Context } from '../context.ts';
import { addExamples } from '../examples.ts';
import { formatHex } from '../text/format.ts';
import { addImageOptions, withImage, type ImageOptions } from '../with-image.ts';
import { parseAddress, parseCount } from './numbers.ts';

interface FindOptions extends ImageOptions {
  readonly hex?: Uint8Array;
  readonly text?: Uint8Array;
  readonly utf16?: Uint8Array;
  readonly count?: boolean;
  readonly max?: number;
  readonly start?: bigint;
}

/** Most places that one JSON object lists. */
const JSON_MATCHES = 1_000_000;

/** `transmigrate memory find FILE`. */
export function memoryFindCommand(context: Context): Command {
  const command = new Command('find')
    .summary('find bytes in physical memory')
    .description(
      'Prints the physical address of every place where the bytes stand, also where they go on in the next page. ' +
        'Ends with 1 when there is none.',
    )
    .argument('<file>', 'the image; "-": standard input')
    .addOption(new Option('--hex <digits>', 'these bytes; spaces may stand between').argParser(hexBytes))
    .addOption(new Option('--text <text>', 'this text, as UTF-8').argParser((text) => new TextEncoder().encode(text)))
    .addOption(new Option('--utf16 <text>', 'this text, as UTF-16, little-endian').argParser(utf16Bytes))
    .option('--count', 'print only how many')
    .addOption(new Option('--max <n>', 'stop after so many').argParser(parseCount))
    .addOption(new Option('--start <address>', 'where to begin').argParser(parseAddress))
    .option('--json', 'print one JSON object')
    .action(async (file: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<FindOptions>();
      const patterns = [options.hex, options.text, options.utf16].filter((one) => one !== undefined);
      const [pattern] = patterns;
      if (pattern === undefined || patterns.length > 1) {
        throw new TransmigrateError('USAGE', 'give one of --hex, --text and --utf16');
      }
      await withImage(context, file, options, (image) => find(context, image, pattern, options));
    });
  return addExamples(addImageOptions(command), [
    { line: "transmigrate memory find guest.tmig --text 'Linux version '", what: 'Where does it say so?' },
    { line: "transmigrate memory find guest.xl --hex '55 48 89 e5' --count", what: 'How many functions begin so?' },
  ]);
}

async function find(context: Context, image: OpenedImage, pattern: Uint8Array, options: FindOptions): Promise<void> {
  const { findBytes, foundAddress } = await context.library.memoryTools();
  const progress = startProgress(context, options, 'find');
  const isListed = options.count !== true;
  const max = options.max ?? (options.json === true && isListed ? JSON_MATCHES : Number.POSITIVE_INFINITY);
  const matches: string[] = [];
  let count = 0;
  const work = { onProgress: progress.update, signal: context.signal, ...(options.start && { from: options.start }) };
  try {
    for await (const { firstPfn, offsets } of findBytes(image.memory, pattern, work)) {
      const wanted = offsets.slice(0, max - count);
      count += wanted.length;
      const addresses = isListed ? wanted.map((offset) => foundAddress(image.memory, firstPfn, offset)) : [];
      if (options.json === true) for (const address of addresses) matches.push(hexNumber(address, 16));
      else await context.stdout.writeLines(addresses.map((address) => formatHex(address)));
      if (count >= max) break;
    }
  } finally {
    progress.finish();
  }
  const ok = count > 0;
  context.exitCode = ok ? EXIT.ok : EXIT.failed;
  if (options.json === true) {
    await context.stdout.writeJson({ ok, count, whole: count < max, ...(isListed && { matches }) });
  } else if (!isListed) await context.stdout.writeLines([String(count)]);
}

/** @throws USAGE */
function hexBytes(text: string): Uint8Array {
  try {
    return fromHex(text.replaceAll(' ', ''));
  } catch (cause) {
    throw new TransmigrateError('USAGE', `'${text}' are not bytes in hex: give two digits for each`, { cause });
  }
}

function utf16Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(2 * text.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), true);
  return bytes;
}
