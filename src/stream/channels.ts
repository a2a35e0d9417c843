import { equalBytes } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import type { DecodedRecord } from './decoder.ts';
import type { Preamble } from './preamble.ts';
import { recordPath } from './record-header.ts';
import { RECORDS, TYPE } from './record-types.ts';
import type { StreamWriter } from './writer.ts';

/** Whether all channels meet at a record (stream 14.1). */
export function isMeeting({ header, record }: Pick<DecodedRecord, 'header' | 'record'>): boolean {
  if (header.type === TYPE.barrier) return true;
  if (record.kind === 'TMEM_INVALIDATE') return record.scope === 'pool';
  return RECORDS.get(header.type)?.meeting === true;
}

/**
 * What makes several channels one stream (stream 14): each channel says when it reaches a meeting, and goes on only
 * when {@link arrive} has let it. It knows nothing of where the bytes come from.
 */
export class Meeting {
  readonly #channels: number;
  /** Body of the meeting record of each channel that has arrived; END's chains, since its counts are its own. */
  readonly #arrived: (Uint8Array | undefined)[];
  #first: { type: number; body: Uint8Array } | undefined;

  constructor(channels: number) {
    this.#channels = channels;
    this.#arrived = Array.from({ length: channels });
  }

  /**
   * A channel is at a meeting record.
   * @returns true when it is the last: the record is to be applied once, and all go on.
   * @throws CHAIN_VECTOR when it differs from what the channels before it brought.
   */
  arrive(channel: number, { header, record, body }: DecodedRecord): boolean {
    if (this.#arrived[channel] !== undefined) throw new RangeError(`channel ${channel} waits at this meeting already`);
    const compared = record.kind === 'END' ? body.slice(56) : body.slice();
    this.#first ??= { type: header.type, body: compared };
    if (this.#first.type !== header.type || !equalBytes(this.#first.body, compared)) {
      throw new TransmigrateError('CHAIN_VECTOR', 'The channels meet at records that differ', {
        offset: header.offset,
        path: `channel ${channel}, ${recordPath(header)}`,
        section: '14.2',
        data: { channel },
      });
    }
    this.#arrived[channel] = compared;
    if (this.#arrived.filter((each) => each !== undefined).length < this.#channels) return false;
    this.#arrived.fill(undefined);
    this.#first = undefined;
    return true;
  }
}

/**
 * Puts channels in order by their numbers.
 * @throws CHAIN_VECTOR when they are not the channels of one stream, each once.
 */
export function checkChannels(preambles: readonly Preamble[]): void {
  const [first] = preambles;
  const wrong = (what: string): never => {
    throw new TransmigrateError('CHAIN_VECTOR', what, { offset: 0, path: 'preamble', section: '14' });
  };
  for (const preamble of preambles) {
    if (preamble.streamId !== first.streamId) wrong('These channels are of different streams');
    if (preamble.channels !== preambles.length) {
      wrong(`The stream has ${preamble.channels} channels, and ${preambles.length} are given`);
    }
  }
  const numbers = new Set(preambles.map((preamble) => preamble.channel));
  if (numbers.size !== preambles.length) wrong('A channel is given twice');
}

/** Writes a BARRIER on all channels of a stream, sealed (stream 6.2). @returns the vector of chains. */
export async function meet(writers: readonly StreamWriter[]): Promise<Uint8Array[]> {
  const chains = await Promise.all(writers.map((writer) => writer.seal()));
  await Promise.all(writers.map((writer) => writer.barrier(chains)));
  return chains;
}
