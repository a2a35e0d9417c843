import { TransmigrateError } from '../errors.ts';

const FACTORS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes of `64M`, `1.5G`, `4096` or `512KiB`. @throws USAGE */
export function parseSize(text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.round(Number(number) * (FACTORS[unit.toUpperCase()] ?? Number.NaN));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new TransmigrateError('USAGE', `'${text}' is not a size: give bytes, or a number with K, M, G or T, e.g. 64M`);
}
