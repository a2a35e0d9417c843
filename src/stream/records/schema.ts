/** The schemas by which an old reader prints a stranger's record: stream 12.1 and 12.2. */
import type { Json, JsonObject } from '../../bytes/bounded-json.ts';
import { ByteReader } from '../../bytes/byte-reader.ts';
import { hexNumber, toHex, toUuid } from '../../bytes/hex.ts';
import { TransmigrateError, type ErrorDetails } from '../../errors.ts';
import { LIMITS } from '../limits.ts';

/** Field types with the hex digits of the integer ones. */
const WIDTH = {
  u8: 2,
  u16: 4,
  u32: 8,
  u64: 16,
  i8: 2,
  i16: 4,
  i32: 8,
  i64: 16,
  f32: 0,
  f64: 0,
  bool: 0,
  uuid: 0,
  string: 0,
  bytes: 0,
} as const;

export type FieldType = keyof typeof WIDTH;

/** A field of a schema (stream 12.1). */
export interface SchemaField {
  readonly name: string;
  readonly type: FieldType;
  readonly count?: number | string;
  readonly unit?: string;
  readonly text?: string;
  readonly show?: 'hex';
}

/** A record's layout (stream 12.1). */
export interface Schema {
  readonly fields: readonly SchemaField[];
}

/**
 * Checks a schema that came from outside. Keys that it does not know are let be.
 * @throws SCHEMA_INVALID, LIMIT_EXCEEDED
 */
export function checkSchema(value: Json, where: ErrorDetails): Schema {
  const wrong = (what: string): never => {
    throw new TransmigrateError('SCHEMA_INVALID', `The schema can't be used: ${what}`, where);
  };
  if (!isObject(value) || !Array.isArray(value['fields'])) return wrong('it has no list of fields');
  const fields = value['fields'];
  if (fields.length > LIMITS.schemaFields) {
    throw new TransmigrateError('LIMIT_EXCEEDED', `A schema of ${fields.length} fields`, where);
  }
  const integers = new Set<string>();
  const names = new Set<string>();
  for (const [position, field] of fields.entries()) {
    if (!isObject(field)) return wrong(`field ${position} is not an object`);
    const { name, type, count, unit, text, show } = field;
    if (typeof name !== 'string' || !/^[A-Za-z][A-Za-z0-9_]*$/.test(name))
      return wrong(`the name of field ${position}`);
    if (names.has(name)) return wrong(`two fields are called ${name}`);
    if (typeof type !== 'string' || !Object.hasOwn(WIDTH, type)) return wrong(`the type of ${name}`);
    if (unit !== undefined && typeof unit !== 'string') return wrong(`the unit of ${name}`);
    if (text !== undefined && typeof text !== 'string') return wrong(`the text of ${name}`);
    if (show !== undefined && (show !== 'hex' || WIDTH[type as FieldType] === 0)) return wrong(`how ${name} is shown`);
    const countIsRight =
      count === undefined ||
      (typeof count === 'number' && Number.isInteger(count) && count >= 0 && count <= LIMITS.schemaCount) ||
      (count === 'rest' ? position === fields.length - 1 : typeof count === 'string' && integers.has(count));
    if (!countIsRight) return wrong(`the count of ${name}`);
    names.add(name);
    if (count === undefined && (type === 'u8' || type === 'u16' || type === 'u32')) integers.add(name);
  }
  return value as unknown as Schema;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The fields of a record by its schema, in the form of cli-json section 3. A body that does not fit is no error of the
 * stream (stream 12.2): then `schemaProblem` says why, and the body is shown as bytes.
 */
export function printBySchema(schema: Schema, body: Uint8Array): JsonObject {
  const reader = new ByteReader(body, 0, 'record', '12.2');
  const shown: JsonObject = {};
  const numbers = new Map<string, number>();
  try {
    for (const field of schema.fields) {
      if (reader.left === 0) break;
      const value = printField(reader, field, numbers);
      if (typeof value === 'number') numbers.set(field.name, value);
      else if (typeof value === 'string' && field.show === 'hex') numbers.set(field.name, Number.parseInt(value, 16));
      Object.defineProperty(shown, field.name, { value, enumerable: true, configurable: true, writable: true });
    }
  } catch (error) {
    if (!(error instanceof TransmigrateError)) throw error;
    return { bytes: toHex(body.subarray(0, 64)), schemaProblem: error.message };
  }
  if (reader.left > 0) shown['extraBytes'] = reader.left;
  return shown;
}

function countOf(field: SchemaField, numbers: ReadonlyMap<string, number>): number | undefined {
  return typeof field.count === 'string' ? numbers.get(field.count) : field.count;
}

function printField(reader: ByteReader, field: SchemaField, numbers: ReadonlyMap<string, number>): Json {
  if (field.count === undefined) return printValue(reader, field);
  const values: Json[] = [];
  if (field.count === 'rest') {
    while (reader.left > 0) values.push(printValue(reader, field));
    return values;
  }
  const count = countOf(field, numbers) ?? 0;
  // Every value takes at least a byte, so a count that lies ends at the end of the body.
  for (let i = 0; i < count; i++) values.push(printValue(reader, field));
  return values;
}

function printValue(reader: ByteReader, field: SchemaField): Json {
  const { name, type } = field;
  const integer = (value: number | bigint): Json => {
    if (field.show !== 'hex') return typeof value === 'bigint' ? value.toString() : value;
    const width = WIDTH[type];
    return hexNumber(BigInt.asUintN(width * 4, BigInt(value)), width);
  };
  switch (type) {
    case 'u8':
      return integer(reader.u8(name));
    case 'u16':
      return integer(reader.u16(name));
    case 'u32':
      return integer(reader.u32(name));
    case 'u64':
      return integer(reader.u64(name));
    case 'i8':
      return integer(reader.i8(name));
    case 'i16':
      return integer(reader.i16(name));
    case 'i32':
      return integer(reader.i32(name));
    case 'i64':
      return integer(reader.i64(name));
    case 'f32':
      return float(reader.f32(name));
    case 'f64':
      return float(reader.f64(name));
    case 'bool': {
      const value = reader.u8(name);
      if (value > 1) throw reader.error('FIELD_VALUE', `${name} is ${value}, which is neither false nor true`, name);
      return value === 1;
    }
    case 'uuid':
      return toUuid(reader.take(16, name));
    case 'string':
      return reader.string(name);
    case 'bytes':
      return toHex(reader.take(reader.u32(name), name));
  }
}

function float(value: number): Json {
  return Number.isFinite(value) ? value : String(value);
}
