/** Records that say how far the stream is: stream 5.3 and 6. */
import { parseJsonObject, type JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { ByteWriter } from '../../bytes/byte-writer.ts';
import { LIMITS } from '../limits.ts';

/** ABOUT (stream 6.1): what the image says of itself. Strings in it come from outside: escape them to show them. */
export interface About {
  readonly kind: 'ABOUT';
  readonly about: JsonObject;
}

/** SEAL (stream 5.3). */
export interface Seal {
  readonly kind: 'SEAL';
  readonly number: number;
  readonly offset: number;
  readonly chain: Uint8Array;
}

/** BARRIER (stream 6.2): all channels are here. */
export interface Barrier {
  readonly kind: 'BARRIER';
  readonly number: number;
  readonly chains: readonly Uint8Array[];
}

/** ROUND (stream 6.3): the source scanned everything once more. */
export interface Round {
  readonly kind: 'ROUND';
  readonly round: number;
}

/** CHECKPOINT (stream 6.4): everything before it is a consistent machine. */
export interface Checkpoint {
  readonly kind: 'CHECKPOINT';
  readonly number: number;
  /** Nanoseconds since 1970 UTC on the guest's wall clock, or 0. */
  readonly guestTimeNs: bigint;
}

/** Counts of one channel (stream 6.5). */
export interface Counts {
  records: number;
  ramPages: number;
  ramZeroPages: number;
  ramAbsentPages: number;
  tmemPages: number;
  tmemInvalidations: number;
  deviceBytes: number;
}

/** END (stream 6.5): the stream is whole. */
export interface End {
  readonly kind: 'END';
  readonly counts: Readonly<Counts>;
  readonly chains: readonly Uint8Array[];
}

/** ACK (stream 6.6): the destination applied all of a channel up to a seal. */
export interface Ack {
  readonly kind: 'ACK';
  readonly channel: number;
  readonly seal: number;
  readonly chain: Uint8Array;
}

export function noCounts(): Counts {
  return {
    records: 0,
    ramPages: 0,
    ramZeroPages: 0,
    ramAbsentPages: 0,
    tmemPages: 0,
    tmemInvalidations: 0,
    deviceBytes: 0,
  };
}

export function encodeAbout(about: JsonObject): Uint8Array {
  return encodeJson(about, LIMITS.aboutBytes, LIMITS.aboutDepth, 'ABOUT');
}

/** JSON of a control record, held to what {@link parseJsonObject} takes. @throws RangeError beyond the limits. */
export function encodeJson(value: JsonObject, maxBytes: number, maxDepth: number, what: string): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  if (bytes.byteLength > maxBytes)
    throw new RangeError(`${what} has ${bytes.byteLength} bytes, the limit is ${maxBytes}`);
  parseJsonObject(bytes, maxDepth, { offset: 0, path: what, section: '6.1' });
  return bytes;
}

export function decodeAbout(body: ByteReader): About {
  const where = { offset: body.base, path: body.path, section: body.section };
  return { kind: 'ABOUT', about: parseJsonObject(body.bytes, LIMITS.aboutDepth, where) };
}

export function encodeSeal(number: number, offset: number, chain: Uint8Array): Uint8Array {
  return new ByteWriter(48).u64(number).u64(offset).bytes(chain).done();
}

export function decodeSeal(body: ByteReader): Seal {
  const seal: Seal = {
    kind: 'SEAL',
    number: body.count('number'),
    offset: body.count('offset'),
    chain: body.take(32, 'chain').slice(),
  };
  body.end();
  return seal;
}

export function encodeBarrier(number: number, chains: readonly Uint8Array[]): Uint8Array {
  const writer = new ByteWriter(16 + 32 * LIMITS.channels).u64(number).u32(chains.length).zeros(4);
  for (const chain of chains) writer.bytes(chain);
  return writer.done();
}

export function decodeBarrier(body: ByteReader, channels: number): Barrier {
  const number = body.count('number');
  const chains = decodeChains(body, channels);
  return { kind: 'BARRIER', number, chains };
}

function decodeChains(body: ByteReader, channels: number): Uint8Array[] {
  const count = body.u32('channels');
  if (count !== channels) {
    throw body.error('FIELD_VALUE', `It speaks of ${count} channels, the preamble of ${channels}`, 'channels');
  }
  body.reserved(4);
  const chains: Uint8Array[] = [];
  for (let i = 0; i < count; i++) chains.push(body.take(32, `chains[${i}]`).slice());
  body.end();
  return chains;
}

export function encodeRound(round: number): Uint8Array {
  return new ByteWriter(16).u64(round).zeros(8).done();
}

export function decodeRound(body: ByteReader): Round {
  const round = body.count('round');
  body.reserved(8);
  body.end();
  return { kind: 'ROUND', round };
}

export function encodeCheckpoint(number: number, guestTimeNs: bigint): Uint8Array {
  return new ByteWriter(16).u64(number).u64(guestTimeNs).done();
}

export function decodeCheckpoint(body: ByteReader): Checkpoint {
  const number = body.count('number');
  const guestTimeNs = body.u64('guestTimeNs');
  body.end();
  return { kind: 'CHECKPOINT', number, guestTimeNs };
}

export function encodeEnd(counts: Counts, chains: readonly Uint8Array[]): Uint8Array {
  const writer = new ByteWriter(64 + 32 * LIMITS.channels)
    .u64(counts.records)
    .u64(counts.ramPages)
    .u64(counts.ramZeroPages)
    .u64(counts.ramAbsentPages)
    .u64(counts.tmemPages)
    .u64(counts.tmemInvalidations)
    .u64(counts.deviceBytes)
    .u32(chains.length)
    .zeros(4);
  for (const chain of chains) writer.bytes(chain);
  return writer.done();
}

export function decodeEnd(body: ByteReader, channels: number): End {
  const counts: Counts = {
    records: body.count('records'),
    ramPages: body.count('ramPages'),
    ramZeroPages: body.count('ramZeroPages'),
    ramAbsentPages: body.count('ramAbsentPages'),
    tmemPages: body.count('tmemPages'),
    tmemInvalidations: body.count('tmemInvalidations'),
    deviceBytes: body.count('deviceBytes'),
  };
  return { kind: 'END', counts, chains: decodeChains(body, channels) };
}

export function encodeAck(channel: number, seal: number, chain: Uint8Array): Uint8Array {
  return new ByteWriter(48).u32(channel).zeros(4).u64(seal).bytes(chain).done();
}

export function decodeAck(body: ByteReader, channels: number): Ack {
  const channel = body.u32('channel');
  if (channel >= channels) throw body.error('FIELD_VALUE', `There is no channel ${channel} of ${channels}`, 'channel');
  body.reserved(4);
  const ack: Ack = { kind: 'ACK', channel, seal: body.count('seal'), chain: body.take(32, 'chain').slice() };
  body.end();
  return ack;
}
