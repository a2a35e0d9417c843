import { equalBytes } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import type { DecodedRecord } from './decoder.ts';
import type { Preamble } from './preamble.ts';
import { recordPath } from './record-header.ts';
import { RECORDS, TYPE } from './record-types.ts';
import type { StreamWriter } from './writer.ts';

/** Where in the body of END its vector of chains begins (stream 6.5): what is before is its channel's own. */
const END_VECTOR = 64;

/** Whether all channels meet at a record (stream 14.1). */
export function isMeeting({ header, record }: Pick<DecodedRecord, 'header' | 'record'>): boolean {
  if (header.type === TYPE.barrier) return true;
  if (record.kind === 'TMEM_INVALIDATE') return record.scope === 'pool';
  return RECORDS.get(header.type)?.meeting === true;
}

/**
 * Compares the records that the channels brought to a meeting, in ascending order of channels (stream 14.2).
 * @throws CHAIN_VECTOR about the first that differs from the lowest channel's; its data have the place of that one.
 */
export function checkMeeting(arrived: readonly DecodedRecord[]): void {
  const [first] = arrived;
  for (const [place, { header, record, body }] of arrived.entries()) {
    if (header.type === first.header.type && equalBytes(comparedPart(record, body), comparedPart(record, first.body)))
      continue;
    throw new TransmigrateError('CHAIN_VECTOR', 'The channels meet at records that differ', {
      offset: header.offset,
      path: recordPath(header),
      section: '14.2',
      record: { sequence: header.sequence, name: RECORDS.get(header.type)!.name, channel: place },
      data: { place },
    });
  }
}

/** What must be equal on all channels: all of it, but of END the vector of chains. */
function comparedPart(record: DecodedRecord['record'], body: Uint8Array): Uint8Array {
  return record.kind === 'END' ? body.subarray(END_VECTOR) : body;
}

/**
 * Whether these are the channels of one stream, each once, in any order (stream 14).
 * @throws CHAIN_VECTOR when not; its data have the place of the first preamble that does not belong.
 */
export function checkChannels(preambles: readonly Preamble[]): void {
  const [first] = preambles;
  const wrong = (what: string, place: number): never => {
    throw new TransmigrateError('CHAIN_VECTOR', what, { offset: 0, path: 'preamble', section: '14', data: { place } });
  };
  const seen = new Set<number>();
  for (const [place, preamble] of preambles.entries()) {
    if (preamble.streamId !== first.streamId) wrong('These channels are of different streams', place);
    if (ofStream(preamble) !== ofStream(first)) wrong('These channels say different things about their stream', place);
    if (seen.has(preamble.channel)) wrong(`Channel ${preamble.channel} is given twice`, place);
    seen.add(preamble.channel);
  }
  if (first.channels !== preambles.length) {
    wrong(`The stream has ${first.channels} channels, and ${preambles.length} are given`, 0);
  }
}

/** What a preamble says of its stream: all but the number of its channel, and its checksum. */
function ofStream(preamble: Preamble): string {
  const shared = { ...preamble, channel: 0, checksum: 0 };
  return JSON.stringify(shared, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

/** Writes a BARRIER on all channels of a stream, sealed (stream 6.2). @returns the vector of chains. */
export async function meet(writers: readonly StreamWriter[]): Promise<Uint8Array[]> {
  const chains = await Promise.all(writers.map((writer) => writer.seal()));
  await Promise.all(writers.map((writer) => writer.barrier(chains)));
  return chains;
}
