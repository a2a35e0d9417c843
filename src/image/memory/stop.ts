/** Why an address can't be read, as data and in words (debug 2.3). */
import { hexNumber } from '../../bytes/hex.ts';
import type { ErrorJson, TransmigrateError } from '../../errors.ts';

export type StopWhy =
  | 'registers-unknown'
  | 'address-width'
  | 'not-canonical'
  | 'not-present'
  | 'not-valid'
  | 'table-absent'
  | 'table-damaged'
  | 'frame-unknown'
  | 'page-absent'
  | 'page-damaged';

/** Entries of page tables, by Intel's names. */
export type LevelName = 'PML5E' | 'PML4E' | 'PDPTE' | 'PDE' | 'PTE';

/** Where reading stopped, and why. */
export interface Stop {
  readonly address: bigint;
  readonly why: StopWhy;
  /** The entry that it is about; of a table, the entry that is to be read in it. */
  readonly level?: LevelName | undefined;
  /** Physical address of that entry. */
  readonly table?: bigint | undefined;
  /** Its value. */
  readonly entry?: bigint | undefined;
  /** The page that is absent or damaged; of `frame-unknown` the frame of the machine. */
  readonly pfn?: number | undefined;
  readonly error?: TransmigrateError | undefined;
  /** Registers that are not known. */
  readonly registers?: readonly string[] | undefined;
}

export interface StopJson {
  address: string;
  why: StopWhy;
  level: LevelName | null;
  table: string | null;
  entry: string | null;
  pfn: number | null;
  error: ErrorJson | null;
  registers?: readonly string[];
}

/** As debug 2.3 says. */
export function stopJson(stop: Stop): StopJson {
  const hex = (value: bigint | undefined): string | null => (value === undefined ? null : hexNumber(value, 16));
  return {
    address: hexNumber(stop.address, 16),
    why: stop.why,
    level: stop.level ?? null,
    table: hex(stop.table),
    entry: hex(stop.entry),
    pfn: stop.pfn ?? null,
    error: stop.error?.toJSON() ?? null,
    ...(stop.registers !== undefined && { registers: stop.registers }),
  };
}

/** One sentence without its end. */
export function stopText(stop: Stop): string {
  const { why, level = 'entry', table, entry, pfn, error, registers } = stop;
  const damage = error?.message ?? '';
  const hex = (value: bigint | number | undefined): string => `0x${(value ?? 0).toString(16)}`;
  const where = table === undefined ? '' : ` at physical ${hex(table)}`;
  const what: Readonly<Record<StopWhy, string>> = {
    'registers-unknown': `the image does not know ${(registers ?? []).join(', ')}, which say where the page tables are`,
    'address-width': 'this mode has addresses of 32 bits',
    'not-canonical': 'the address is not canonical',
    'not-present': `the ${level}${where} is ${hex(entry)}: not present`,
    'not-valid': `the ${level}${where} is ${hex(entry)}: bit 7 may not be set there`,
    'table-absent': `the table with the ${level}${where} is page ${hex(pfn)}, which is not in the image`,
    'table-damaged': `the table with the ${level}${where} is page ${hex(pfn)}, which is damaged: ${damage}`,
    'frame-unknown': `the image does not say which page frame ${hex(pfn)} of the machine is`,
    'page-absent': `page ${hex(pfn)} is not in the image`,
    'page-damaged': `page ${hex(pfn)} is damaged: ${damage}`,
  };
  return `${hex(stop.address)}: ${what[why]}`;
}
