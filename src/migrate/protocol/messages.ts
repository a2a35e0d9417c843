/** What the two hosts of a migration say to each other, as data: protocol 3. */
import { z } from 'zod';
import { nesting, parseJsonObject, type JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import { PROTOCOL_LIMITS } from './limits.ts';

const L = PROTOCOL_LIMITS;
const count = z.int().min(0);
const id = z.string().regex(/^[0-9a-f]{32}$/);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const uuid = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
const name = z.string().min(1).max(L.nameCharacters);
const names = z.array(name).max(L.names);
const epoch = z.int().min(1).max(L.epoch);
const seal = z.object({ seal: count, chain: hash });
const channels = z.array(seal).min(1).max(L.channels);
const error = z.object({ code: name, message: z.string().max(L.textCharacters) });

/** The part of HELLO that every version of the protocol can read (protocol 3.2). */
export const helloHeadSchema = z.object({
  protocol: z.object({ least: z.int().min(1), most: z.int().min(1) }),
  host: z.object({ identity: id, name, version: name }),
});

export const helloSchema = helloHeadSchema.extend({
  /** What the sender wants: 7.3 for `ask`, 7.6 for `owner`. */
  purpose: z.enum(['migrate', 'check', 'resume', 'ask', 'owner']),
  /** Of the migration. */
  id,
  /** Which connection of the migration it is, from 1 (protocol 6.5). */
  leg: z.int().min(1).max(L.legs),
  features: names,
  codecs: names,
  /** Names of records of one's own that the sender knows (stream 12). */
  records: names,
  limits: z.object({
    channels: z.int().min(1).max(L.channels),
    sealBytes: z.int().min(L.leastSealBytes).max(L.sealBytes),
    unacknowledgedSeals: z.int().min(L.leastUnacknowledgedSeals).max(L.unacknowledgedSeals),
  }),
  /** Whether a cut connection can be followed by another one: false over stdio (H4). */
  resumable: z.boolean(),
});

const poolSchema = z.object({
  slot: z.int().min(0).max(15),
  persistent: z.boolean(),
  shared: z.boolean(),
  /** Other clients that share it, on the source. */
  sharers: count,
  /** Of a shared pool. */
  uuid: uuid.nullable(),
  precompressed: z.boolean(),
  pageBytes: z.int().min(1),
  pages: count,
});

const diskSchema = z.object({
  name,
  policy: z.enum(['inside-device', 'digest', 'tmem', 'shared']),
  bytes: count,
  digest: hash.nullable(),
});

/** What a machine needs, in bytes as carried and unpacked (N1). */
export const offerSchema = z.object({
  epoch,
  machine: z.object({ uuid, name }),
  /** It stands still, and is to stand still where it goes. */
  paused: z.boolean(),
  driver: z.object({ name, version: name, fingerprint: hash, format: name }),
  memory: z.object({ bytes: z.int().min(1), pageBytes: z.int().min(4096), carriedBytes: count }),
  vcpus: z.int().min(1).max(L.vcpus),
  deviceBytes: count,
  /** Null for a machine without. `persistent` alone must find room; ephemeral pages may be left out. */
  tmem: z
    .object({
      pageBytes: z.int().min(4096),
      persistent: z.object({ pages: count, bytes: count, carriedBytes: count }),
      ephemeral: z.object({ pages: count, bytes: count }),
      pools: z.array(poolSchema).max(L.pools),
      codecs: names,
    })
    .nullable(),
  disks: z.array(diskSchema).max(L.disks),
  codec: name,
  /** Mandatory records of one's own that the stream will hold. */
  records: names,
  configuration: z.record(z.string(), z.json()),
});

const reasonSchema = z.object({
  code: name,
  text: z.string().max(L.textCharacters),
  needed: z.json().optional(),
  found: z.json().optional(),
});

export const acceptSchema = z.object({
  epoch,
  codec: name,
  features: names,
  channels: z.int().min(1).max(L.channels),
  /** 32 random bytes; every further connection of the migration must say them (N4). */
  secret: hash,
  reserved: z.object({ memoryBytes: count, tmemBytes: count, tmemSlots: count, name }),
  /** What the destination measured of itself, in milliseconds (L2); null when it never did. */
  measured: z.object({ deviceLoadMs: z.number().min(0).nullable(), fsyncMs: z.number().min(0).nullable() }),
  notes: z.array(z.string().max(L.textCharacters)).max(L.reasons),
});

export const refuseSchema = z.object({ reasons: z.array(reasonSchema).min(1).max(L.reasons) });
export const resumeSchema = z.object({ epoch, secret: hash });
/** `agreement`: of the connection over which what is held came (protocol 4.6). */
export const holdsSchema = z.object({ epoch, leg: z.int().min(1).max(L.legs), channels, agreement: hash });
export const finalSchema = z.object({ epoch, channels });
export const failedSchema = z.object({ epoch, error });
const claim = z.object({ id, epoch });
export const confirmSchema = claim.extend({ chains: z.array(hash).min(1).max(L.channels), agreement: hash });
const runsSchema = claim.extend({ gone: z.boolean() });
const ownerSchema = z.object({ id, machine: uuid.nullable() });
const ownershipSchema = z.object({
  id,
  epoch: count,
  owner: z.enum(['source', 'destination', 'unknown']),
  gone: z.boolean(),
  state: name,
});

/** Messages by name: their record number in a stream and the shape of their body (protocol 3.1). */
export const MESSAGES = {
  HELLO: { number: 0x7f00, schema: helloSchema },
  OFFER: { number: 0x7f01, schema: offerSchema },
  ACCEPT: { number: 0x7f02, schema: acceptSchema },
  REFUSE: { number: 0x7f03, schema: refuseSchema },
  RESUME: { number: 0x7f04, schema: resumeSchema },
  HOLDS: { number: 0x7f05, schema: holdsSchema },
  FINAL: { number: 0x7f06, schema: finalSchema },
  FAILED: { number: 0x7f07, schema: failedSchema },
  CONFIRM: { number: 0x7f10, schema: confirmSchema },
  GIVEN: { number: 0x7f11, schema: claim },
  KEPT: { number: 0x7f12, schema: claim },
  DONE: { number: 0x7f13, schema: claim },
  RUNNING: { number: 0x7f14, schema: runsSchema },
  TAKEN: { number: 0x7f15, schema: runsSchema },
  ABANDONED: { number: 0x7f16, schema: claim },
  YIELDED: { number: 0x7f17, schema: claim },
  OWNER: { number: 0x7f20, schema: ownerSchema },
  OWNERSHIP: { number: 0x7f21, schema: ownershipSchema },
} as const;

export type MessageKind = keyof typeof MESSAGES;
type BodyOf<K extends MessageKind> = z.infer<(typeof MESSAGES)[K]['schema']>;
/** A message: its name and its fields. */
export type Message = { [K in MessageKind]: { readonly kind: K } & Readonly<BodyOf<K>> }[MessageKind];
export type MessageOf<K extends MessageKind> = Extract<Message, { readonly kind: K }>;
export type Offer = z.infer<typeof offerSchema>;

/**
 * The body of a message's record: a string of stream 1.4 with its JSON (protocol 3.1).
 * @throws RangeError for what is longer or deeper than a receiver takes: a defect of the caller.
 */
export function encodeMessage(message: Message): Uint8Array {
  // The name is the record's: it stands in no body.
  const text = new TextEncoder().encode(JSON.stringify({ ...message, kind: undefined }));
  if (text.byteLength > L.messageBytes || nesting(text) > L.messageDepth) {
    throw new RangeError(`${message.kind} of ${text.byteLength} bytes, the limit is ${L.messageBytes}`);
  }
  const body = new Uint8Array(2 + text.byteLength);
  new DataView(body.buffer).setUint16(0, text.byteLength, true);
  body.set(text, 2);
  return body;
}

/**
 * Reads the body of a message's record. Unknown keys are left out: a later version may add some.
 * @throws LENGTH_MISMATCH, LIMIT_EXCEEDED, JSON_INVALID, FIELD_VALUE with the message's name and the field.
 */
export function decodeMessage<K extends MessageKind>(kind: K, body: Uint8Array, offset = 0): MessageOf<K> {
  return checkMessage(kind, jsonOf(kind, body, offset), offset);
}

function jsonOf(kind: MessageKind, body: Uint8Array, offset: number): JsonObject {
  const where = { offset, path: kind, section: 'protocol 3.1' };
  const length = body.byteLength < 2 ? Number.NaN : new DataView(body.buffer, body.byteOffset).getUint16(0, true);
  if (length !== body.byteLength - 2) {
    const what = `${kind} has ${body.byteLength} bytes, which is not what its length says`;
    throw new TransmigrateError('LENGTH_MISMATCH', what, where);
  }
  if (length > L.messageBytes) {
    throw new TransmigrateError('LIMIT_EXCEEDED', `${kind} has ${length} bytes of JSON`, where);
  }
  return parseJsonObject(body.subarray(2), L.messageDepth, where);
}

/**
 * The part of a HELLO that every version can read (N3).
 * @throws as {@link decodeMessage}
 */
export function decodeHelloHead(body: Uint8Array, offset = 0): z.infer<typeof helloHeadSchema> {
  return checked(helloHeadSchema, 'HELLO', jsonOf('HELLO', body, offset), offset);
}

/** @throws FIELD_VALUE */
export function checkMessage<K extends MessageKind>(kind: K, fields: JsonObject, offset = 0): MessageOf<K> {
  return { kind, ...checked(MESSAGES[kind].schema as z.ZodType<object>, kind, fields, offset) } as MessageOf<K>;
}

function checked<T>(schema: z.ZodType<T>, kind: MessageKind, fields: JsonObject, offset: number): T {
  const parsed = schema.safeParse(fields);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue.path.map(String).join('.');
  throw new TransmigrateError('FIELD_VALUE', `${kind} has a field that it may not have: ${issue.message}`, {
    offset,
    path: field === '' ? kind : `${kind}/${field}`,
    section: 'protocol 3.1',
    data: { field },
  });
}
