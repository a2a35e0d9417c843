import { TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { watchedPieces, type Work } from '../io/work.ts';
import { checkChannels, checkMeeting, isMeeting } from '../stream/channels.ts';
import { decodePieces } from '../stream/decode-pieces.ts';
import { StreamDecoder, type DecodedRecord, type DecoderOptions } from '../stream/decoder.ts';

/** A record of one of several channels. */
export interface ChannelRecord extends DecodedRecord {
  /** Position of the channel's source in what was given. */
  readonly source: number;
  /** False for a record at which channels meet, but for the last of them: it is applied once (stream 14.1). */
  readonly applies: boolean;
}

/** Decoders for sources, which take a larger container for what it is. */
export function decodersFor(sources: readonly ByteSource[], options: DecoderOptions): StreamDecoder[] {
  return sources.map((source) => new StreamDecoder({ container: source.container, ...options }));
}

/**
 * All records of all channels of a stream: each channel in its order, and none goes past a meeting before all are there
 * (stream 14.1). The records of a meeting come when all channels have brought theirs and they are the same.
 * @param decoders one for each source.
 */
export async function* readChannels(
  sources: readonly ByteSource[],
  decoders: readonly StreamDecoder[],
  work: Work = {},
): AsyncGenerator<ChannelRecord> {
  if (sources.length === 1) {
    for await (const decoded of decodePieces(watchedPieces(sources[0], work), decoders[0])) {
      yield { ...decoded, source: 0, applies: true };
    }
    // What is wrong with the channel itself comes first: it may be one of several, and the others missing.
    checkChannels([decoders[0].preamble!]);
    return;
  }
  const readers = sources.map((source, i) =>
    named(decodePieces(watchedPieces(source, work), decoders[i]), source.name),
  );
  try {
    // The first record, ABOUT, tells which channel a source is.
    for (const [source, reader] of readers.entries()) {
      const step = await reader.next();
      if (step.done !== true) yield { ...step.value, source, applies: true };
    }
    try {
      checkChannels(decoders.map((decoder) => decoder.preamble!));
    } catch (error) {
      throw withFile(error, sources[(error as TransmigrateError).data['place'] as number].name);
    }
    const channels = [...readers.keys()].toSorted(
      (one, other) => decoders[one].preamble!.channel - decoders[other].preamble!.channel,
    );
    for (;;) {
      const arrived: DecodedRecord[] = [];
      for (const source of channels) {
        let step = await readers[source].next();
        for (; step.done !== true && !isMeeting(step.value); step = await readers[source].next()) {
          yield { ...step.value, source, applies: true };
        }
        if (step.done !== true) arrived.push(step.value);
      }
      // END is a meeting, so all channels end together.
      if (arrived.length === 0) return;
      try {
        checkMeeting(arrived);
      } catch (error) {
        throw withFile(error, sources[channels[(error as TransmigrateError).data['place'] as number]].name);
      }
      for (const [place, source] of channels.entries()) {
        yield { ...arrived[place], source, applies: place === channels.length - 1 };
      }
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.return(undefined)));
  }
}

/** The same, with errors that say which input they are about. */
async function* named(records: AsyncGenerator<DecodedRecord>, file: string): AsyncGenerator<DecodedRecord> {
  try {
    yield* records;
  } catch (error) {
    throw withFile(error, file);
  }
}

function withFile(error: unknown, file: string): unknown {
  if (error instanceof TransmigrateError) error.file = file;
  return error;
}
