// Records of one's own (section 12), unknown records (3.4), and ACK (6.6).
import { cat, hex, u32, u64, utf8, zeros } from './bytes.ts';
import type { Json, JsonObject } from './bytes.ts';
import { known } from './channel.ts';
import type { Rec } from './channel.ts';
import { optionalBit } from './format.ts';

export type Binding = { record: Json; name: Json; version: Json; text?: Json; schema?: Json; more?: Json };

/** DICTIONARY; `more` puts keys into the JSON that the specification does not name. */
export function dictionary(binding: Binding): Rec {
  const value: JsonObject = { record: binding.record, name: binding.name, version: binding.version };
  if (binding.text !== undefined) value['text'] = binding.text;
  if (binding.schema !== undefined) value['schema'] = binding.schema;
  if (binding.more !== undefined) value['more'] = binding.more;
  return {
    ...known('DICTIONARY'),
    body: utf8(JSON.stringify(value)),
    fields: {
      record: binding.record,
      name: binding.name,
      version: binding.version,
      text: binding.text ?? null,
      schema: binding.schema ?? null,
    },
  };
}

/** A stream-local record; `fields` is what its schema makes of the body. */
export function own(number: number, name: string, body: Buffer, fields: JsonObject, optional = true): Rec {
  return { type: optional ? number + optionalBit : number, name, section: '12', body, fields };
}

/** A record of a number that this specification does not have. */
export function unknown(number: number, body: Buffer, fields?: JsonObject, name = 'unknown', optional = true): Rec {
  return {
    type: optional ? number + optionalBit : number,
    name,
    section: '3.4',
    body,
    fields: fields ?? asBytes(body),
  };
}

/** What is shown of a body without a schema. */
export const asBytes = (body: Buffer): JsonObject => ({ bytes: hex(body.subarray(0, 64)) });

/** What is shown of a body that does not fit its schema; the text of the problem is the reader's. */
export const misfit = (body: Buffer): JsonObject => ({ bytes: hex(body), schemaProblem: '*' });

export function ack(channel: number, seal: number, chain: Buffer, reserved = 0, tail = zeros(0)): Rec {
  return {
    ...known('ACK'),
    body: cat(u32(channel), u32(reserved), u64(seal), chain, tail),
    fields: { channel, seal, chain: hex(chain) },
  };
}
