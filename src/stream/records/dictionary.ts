/** DICTIONARY, by which records of one's own get a name and a layout: stream 12. */
import { parseJsonObject, type JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../limits.ts';
import { LOCAL_LAST } from '../record-types.ts';
import { encodeJson } from './control.ts';
import { checkSchema, type Schema } from './schema.ts';

/** DICTIONARY (stream 12): binds a record number to a name. */
export interface Dictionary {
  readonly kind: 'DICTIONARY';
  /** Number without bit 31. */
  readonly record: number;
  /** Reverse-DNS. */
  readonly name: string;
  readonly version: number;
  readonly text: string | null;
  readonly schema: Schema | null;
}

const NAME = /^[a-z0-9-]+(\.[a-z0-9-]+)+$/;

/** @throws TransmigrateError when the schema or a field is not what {@link decodeDictionary} takes. */
export function encodeDictionary(entry: Omit<Dictionary, 'kind'>): Uint8Array {
  const { record, name, version, text, schema } = entry;
  const json = { record, name, version, ...(text !== null && { text }), ...(schema !== null && { schema }) };
  checkDictionary(json as unknown as JsonObject, { path: 'DICTIONARY', section: '12' });
  return encodeJson(json as unknown as JsonObject, LIMITS.dictionaryBytes, LIMITS.dictionaryDepth, 'DICTIONARY');
}

export function decodeDictionary(body: ByteReader): Dictionary {
  const where = { offset: body.base, path: body.path, section: body.section };
  return checkDictionary(parseJsonObject(body.bytes, LIMITS.dictionaryDepth, where), where);
}

function checkDictionary(json: JsonObject, where: { offset?: number; path: string; section: string }): Dictionary {
  const wrong = (field: string, what: string): never => {
    throw new TransmigrateError('FIELD_VALUE', what, { ...where, path: `${where.path}/${field}` });
  };
  const { record, name, version, text, schema } = json;
  if (typeof record !== 'number' || !Number.isInteger(record) || record < 1 || record > LOCAL_LAST) {
    return wrong('record', 'It binds no record number from 1 to 0x7FFF');
  }
  if (typeof name !== 'string' || name.length > LIMITS.nameBytes || !NAME.test(name)) {
    return wrong('name', 'It binds a number to what is not a reverse-DNS name');
  }
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1 || version > 0xffff) {
    return wrong('version', 'Its version is not an integer from 1 to 65535');
  }
  if (text !== undefined && typeof text !== 'string') return wrong('text', 'Its text is not a string');
  return {
    kind: 'DICTIONARY',
    record,
    name,
    version,
    text: text ?? null,
    schema: schema === undefined ? null : checkSchema(schema, { ...where, path: `${where.path}/schema` }),
  };
}
