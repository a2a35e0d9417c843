/** Formats by the names of `--to`. A list of its own, so that help and completions do not load the writers. */
import { TransmigrateError } from '../errors.ts';
import { escapeText } from './escape.ts';

/** What can be written; a test keeps this equal to the library's own list. */
export const TARGET_NAMES = [
  'tmig',
  'xen-libxc',
  'xen-libxc-v2',
  'libxl',
  'xl',
  'xenopsd',
  'libvirt',
  'v86',
  'xen-core',
  'elf-core',
  'raw',
] as const;

/** Codecs in which memory of an image of ours can be stored. */
export const CODEC_NAMES = ['zstd', 'raw', 'lz4', 'deflate', 'lzo1x'] as const;

/** Endings of file names that are used for one format only. */
const ENDINGS: Readonly<Record<string, string>> = {
  tmig: 'tmig',
  xl: 'xl',
  libxl: 'libxl',
  libxc: 'xen-libxc',
  xenopsd: 'xenopsd',
  v86state: 'v86',
  elf: 'elf-core',
  raw: 'raw',
};

/** The format that is asked for, or that the name of the output stands for. @throws USAGE */
export function targetOf(to: string | undefined, output: string): string {
  if (to !== undefined) return to;
  const ending = /\.([a-z0-9]+)$/i.exec(output)?.[1]?.toLowerCase() ?? '';
  const format = Object.hasOwn(ENDINGS, ending) ? ENDINGS[ending] : undefined;
  if (format !== undefined) return format;
  throw new TransmigrateError('USAGE', `the name ${escapeText(output)} does not say which format it is to be`, {
    next: `Say it: --to ${TARGET_NAMES.join(', ')}.`,
  });
}
