import { TransmigrateError } from '../../errors.ts';

const FACTORS: Readonly<Record<string, bigint>> = { '': 0n, K: 10n, M: 20n, G: 30n, T: 40n };
const ADDRESS_END = 2n ** 64n;

/** An address: decimal, or hex with `0x`. @throws USAGE */
export function parseAddress(text: string): bigint {
  const value = /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? BigInt(text) : undefined;
  if (value !== undefined && value < ADDRESS_END) return value;
  const hex = /^[0-9a-f]+$/i.test(text) && value === undefined;
  const what = `'${text}' is not an address: give a decimal number, or a hex number with 0x`;
  throw new TransmigrateError('USAGE', what, hex ? { next: `If it is hex, write 0x${text}.` } : {});
}

/** A length in bytes: decimal or hex, with K, M, G or T for powers of 1,024. @throws USAGE */
export function parseLength(text: string): number {
  const [, number, unit = ''] = /^(0x[0-9a-f]+|\d+)([KMGT]?)(?:i?B)?$/i.exec(text) ?? [];
  const value = number === undefined ? -1n : BigInt(number) << (FACTORS[unit.toUpperCase()] ?? 0n);
  if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw new TransmigrateError(
    'USAGE',
    `'${text}' is not a length: give bytes, or a number with K, M, G or T, e.g. 64K`,
  );
}

/** `FROM-TO`, the end not in it, or `FROM+LENGTH`. @throws USAGE */
export function parseRange(text: string): { readonly from: bigint; readonly to: bigint } {
  const [, first, sign, second] = /^([^-+]+)([-+])([^-+]+)$/.exec(text) ?? [];
  if (first === undefined || second === undefined) {
    throw new TransmigrateError('USAGE', `'${text}' is not a range: give FROM-TO, or FROM+LENGTH, e.g. 0x100000+4K`);
  }
  const from = parseAddress(first);
  const to = sign === '-' ? parseAddress(second) : from + BigInt(parseLength(second));
  if (to >= from) return { from, to };
  throw new TransmigrateError('USAGE', `the range '${text}' ends before it begins`);
}

/** A number that is not negative. @throws USAGE */
export function parseCount(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new TransmigrateError('USAGE', `'${text}' is not a number`);
}
