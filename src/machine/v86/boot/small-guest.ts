/**
 * The small guest (guests/small/README.md): its image with parameters set, its commands, and what its lines say.
 */

import { TransmigrateError } from '../../../errors.ts';
import { SMALL_GUEST_BASE64 } from './small-guest-bytes.ts';

/** Pools of the small guest, as bits of `pools`. */
export const SMALL_GUEST_POOL = {
  persistent: 1,
  ephemeral: 2,
  /** Persistent and PRECOMPRESSED (T5). */
  precompressed: 4,
  /** Destroyed and made again now and then, by turns persistent and ephemeral. */
  churning: 8,
} as const;

/** The ticks of its clock in a second. */
export const SMALL_GUEST_HZ = 100;

/** Memory that the image, its tables and one page take; the rest is what it dirties. */
export const SMALL_GUEST_LEAST_BYTES = 5 * 1024 * 1024;

/** What the small guest does. Everything but `seed` and `spin` can be changed while it runs. */
export interface SmallGuestParameters {
  /** Pages of memory written in a round; 0 for none. */
  readonly pagesPerRound: number;
  /** Pages of memory in use, 0 for all there are. */
  readonly span: number;
  /** Ticks from the beginning of a round to that of the next; 0 for no rest. */
  readonly paceTicks: number;
  /** Bytes from one written word of a page to the next: a power of two from 4 to 1,024. More is faster. */
  readonly strideBytes: number;
  /** tmem operations in a round; 0 for none. */
  readonly tmemOperations: number;
  /** Pages in use in each tmem pool, a multiple of 8 up to 16,384. */
  readonly tmemPages: number;
  /** A sum of {@link SMALL_GUEST_POOL}. */
  readonly pools: number;
  /** Ticks from a report to the next; 0 for none unasked. */
  readonly reportTicks: number;
  /** Where its choices begin; not 0. */
  readonly seed: number;
  /** How often it looks for the completion of a tmem request before it halts until the next tick. */
  readonly spin: number;
}

/** In the order of the parameter block of the image. */
const PARAMETERS = [
  'pagesPerRound',
  'span',
  'paceTicks',
  'strideBytes',
  'tmemOperations',
  'tmemPages',
  'pools',
  'reportTicks',
  'seed',
  'spin',
] as const satisfies readonly (keyof SmallGuestParameters)[];

/** The letters of the commands that set them while the guest runs. */
const COMMAND_LETTERS = {
  pagesPerRound: 'w',
  span: 's',
  paceTicks: 'p',
  strideBytes: 'd',
  tmemOperations: 't',
  tmemPages: 'm',
  pools: 'o',
  reportTicks: 'r',
} as const;

export type SmallGuestSetting = keyof typeof COMMAND_LETTERS;

/** Commands without a number. */
export const SMALL_GUEST_COMMAND = {
  /** A report at once. */
  report: '?\n',
  /** All of memory and every page of the persistent pools are checked; a line of kind `check` answers. */
  check: 'c\n',
  /** The processor ends in a triple fault, for tests of a guest that crashes. */
  crash: 'k\n',
} as const;

/** Three ways to be busy: for pre-copy, one that it outruns, one that it must work for, one that it cannot win. */
export const SMALL_GUEST_RATE = {
  slow: { pagesPerRound: 16, paceTicks: 10, strideBytes: 4 },
  quick: { pagesPerRound: 64, paceTicks: 1, strideBytes: 4 },
  flood: { pagesPerRound: 4096, paceTicks: 0, strideBytes: 1024 },
} as const satisfies Record<string, Partial<SmallGuestParameters>>;

const BLOCK_OFFSET = 0x20;
const BLOCK_MAGIC = 0x47534d54;
const BLOCK_VERSION = 1;
const VALUES_OFFSET = BLOCK_OFFSET + 8;

/**
 * The image, for `planMultiboot`. What `parameters` leaves out is as guests/small/guest.asm has it: 16 pages in a
 * round, ten rounds a second, four tmem operations in each. The bytes are the caller's.
 *
 * Throws USAGE for a number that is not one of 32 bits.
 */
export function smallGuestImage(parameters: Partial<SmallGuestParameters> = {}): Uint8Array<ArrayBuffer> {
  const image = fromBase64(SMALL_GUEST_BASE64);
  const view = new DataView(image.buffer);
  if (view.getUint32(BLOCK_OFFSET, true) !== BLOCK_MAGIC || view.getUint32(BLOCK_OFFSET + 4, true) !== BLOCK_VERSION) {
    throw new TransmigrateError('INTERNAL', 'The small guest has no parameter block of this version.');
  }
  for (const [i, name] of PARAMETERS.entries()) {
    const value = parameters[name];
    if (value !== undefined) view.setUint32(VALUES_OFFSET + i * 4, checkedNumber(name, value), true);
  }
  return image;
}

/** The command that changes a parameter of the running guest. Throws USAGE for a number that is not one of 32 bits. */
export function smallGuestCommand(setting: SmallGuestSetting, value: number): string {
  return `${COMMAND_LETTERS[setting]}${checkedNumber(setting, value)}\n`;
}

/** A line of the guest's serial port. Counters wrap around at 2^32. */
export type SmallGuestLine =
  | { readonly kind: 'hello'; readonly version: number; readonly memory: number; readonly tmem: number }
  | ({ readonly kind: 'report' } & SmallGuestReport)
  | ({ readonly kind: 'check' } & SmallGuestCheck)
  /** Something was wrong; the first eight times it says what. */
  | { readonly kind: 'fault'; readonly text: string }
  /** An answer to a command. */
  | { readonly kind: 'set'; readonly letter: string; readonly value: number }
  | { readonly kind: 'error'; readonly text: string }
  /** An exception of the processor: the guest has stopped. */
  | { readonly kind: 'panic'; readonly text: string };

export interface SmallGuestReport {
  readonly round: number;
  readonly ticks: number;
  /** Pages of memory written so far. */
  readonly pages: number;
  /** Pages of memory that did not hold what was written to them last. Never goes down. */
  readonly bad: number;
  /** tmem: puts done; gets that gave a page; gets that did not; flushes; pools made. */
  readonly puts: number;
  readonly gets: number;
  readonly misses: number;
  readonly flushes: number;
  readonly pools: number;
  /** Requests that the host refused as it may: no memory, no space, frozen, no pool. */
  readonly refused: number;
  /** tmem: lost persistent pages, wrong contents, stale pages, results that cannot be. Never goes down. */
  readonly tmembad: number;
  /** How often the time stamp counter went back. */
  readonly back: number;
}

export interface SmallGuestCheck {
  /** Pages of memory that were checked, and of persistent tmem pools that must be there. */
  readonly pages: number;
  readonly tmem: number;
  /** The counts of the report, with what the check found. */
  readonly bad: number;
  readonly tmembad: number;
}

const REPORT = [
  'round',
  'ticks',
  'pages',
  'bad',
  'puts',
  'gets',
  'misses',
  'flushes',
  'pools',
  'refused',
  'tmembad',
  'back',
] as const satisfies readonly (keyof SmallGuestReport)[];

/** What a line without its end says, or undefined where the small guest did not write it whole. */
export function parseSmallGuestLine(line: string): SmallGuestLine | undefined {
  const [word = '', ...rest] = line.split(' ');
  switch (word) {
    case 'small-guest': {
      const fields = numbers(rest, ['version', 'memory', 'tmem']);
      return fields && { kind: 'hello', ...fields };
    }
    case 'check': {
      const fields = numbers(rest, ['pages', 'bad', 'tmem', 'tmembad']);
      return fields && { kind: 'check', ...fields };
    }
    case 'fault':
    case 'panic':
      return { kind: word, text: rest.join(' ') };
    case 'error':
      return { kind: word, text: rest.join(' ') };
    case 'ok': {
      const match = /^([a-z])=(\d{1,10})$/.exec(rest.join(' '));
      return match === null ? undefined : { kind: 'set', letter: match[1], value: Number(match[2]) };
    }
    default: {
      const fields = numbers([word, ...rest], REPORT);
      return fields && { kind: 'report', ...fields };
    }
  }
}

/** `name=number` for each of these names, in this order, or undefined. */
function numbers<Name extends string>(
  words: readonly string[],
  names: readonly Name[],
): Record<Name, number> | undefined {
  if (words.length !== names.length) return undefined;
  const fields: Partial<Record<Name, number>> = {};
  for (const [i, name] of names.entries()) {
    const prefix = `${name}=`;
    const value = words[i].slice(prefix.length);
    if (!words[i].startsWith(prefix) || !/^\d{1,10}$/.test(value)) return undefined;
    fields[name] = Number(value);
  }
  return fields as Record<Name, number>;
}

function checkedNumber(name: string, value: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
  throw new TransmigrateError('USAGE', `The small guest's parameter ${name} can't be ${value}`, {
    data: { name, value },
    next: 'Give a whole number from 0 to 4294967295.',
  });
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
