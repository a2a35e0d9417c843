/** A line of a recording of tmem (spec/tmem.md 11), checked: recordings come from files. */
import { TransmigrateError } from '../errors.ts';

/** A line of a recording. What an operation does not have is absent. */
export interface Line {
  readonly n: number;
  readonly op: string;
  readonly c?: number;
  readonly p?: number;
  readonly o?: string;
  readonly i?: number;
  readonly rc?: number;
  readonly pg?: string;
  readonly crc?: string;
  readonly ev?: readonly (readonly [number, number, string, number])[];
  readonly v?: number;
  readonly flags?: number;
  readonly uuid?: readonly [string, string];
  readonly auth?: number;
  readonly text?: string;
  readonly sub?: number;
  readonly a1?: number;
  readonly a2?: number;
  readonly hp?: number;
  readonly compress?: number;
  readonly dedup?: number;
  readonly shared_auth?: number;
}

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => Number.isSafeInteger(value);
const isHex: Check = (value) => typeof value === 'string' && /^[0-9a-f]{1,16}$/.test(value);
const isList: Check = (value) => Array.isArray(value);

/** What a field must be where there is one. Others are let pass: builds add some. */
const CHECKS: Readonly<Record<string, Check>> = {
  op: isText,
  o: isText,
  pg: isText,
  crc: isText,
  text: isText,
  uuid: (value) => Array.isArray(value) && value.length === 2 && value.every(isHex),
  ev: (value) =>
    Array.isArray(value) &&
    value.every((each: unknown) => {
      if (!isList(each)) return false;
      const [client, slot, object, index, more] = each as unknown[];
      return isNumber(client) && isNumber(slot) && isText(object) && isNumber(index) && more === undefined;
    }),
};
const NUMBERS = ['n', 'c', 'p', 'i', 'rc', 'v', 'flags', 'auth', 'sub', 'a1', 'a2', 'hp', 'compress', 'dedup'] as const;

/** @throws JSON_INVALID for what is not an object with an operation; FIELD_VALUE, which names the field. */
export function parseLine(text: string): Line {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TransmigrateError('JSON_INVALID', 'A line of a recording is not JSON.', { cause: error });
  }
  if (typeof value !== 'object' || value === null || !('op' in value) || typeof value.op !== 'string') {
    throw new TransmigrateError('JSON_INVALID', 'A line of a recording names no operation.');
  }
  const fields = value as Readonly<Record<string, unknown>>;
  for (const [name, check] of Object.entries(CHECKS)) checkField(fields, name, check);
  for (const name of NUMBERS) checkField(fields, name, isNumber);
  return value as unknown as Line;
}

function checkField(fields: Readonly<Record<string, unknown>>, name: string, check: Check): void {
  if (fields[name] === undefined || check(fields[name])) return;
  throw new TransmigrateError('FIELD_VALUE', `The field ${name} has a value that it can't have.`, { data: { name } });
}
