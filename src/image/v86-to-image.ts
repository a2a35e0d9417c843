import type { JsonObject } from '../bytes/bounded-json.ts';
import type { ByteSink, RandomAccess } from '../bytes/endpoints.ts';
import { CODEC, type CodecId } from '../codec/codec.ts';
import { stateError } from '../foreign/v86/save-state.ts';
import { piecesOf } from '../io/pieces-of.ts';
import { TmigImageWriter } from './convert/tmig-writer.ts';
import type { ImageHead } from './model/event.ts';
import { V86Reader } from './readers/v86/v86-reader.ts';

export interface V86ToImageOptions {
  /** The exact version of v86 that wrote the state; when absent it is told by the state (foreign/v86 2). */
  readonly version?: string | undefined;
  /** 16 random bytes that name the stream. */
  readonly streamId: Uint8Array;
  /** How memory and devices are stored; raw when absent. */
  readonly codec?: CodecId | undefined;
  /** What else ABOUT shall say: name, uuid, tool; its `configuration` goes beside what the state shows. */
  readonly about?: JsonObject | undefined;
}

/**
 * Converts a state that v86 saved alone into an image: memory as pages, the processor as a record, the rest as the
 * device blob. Memory is read a megabyte at a time. {@link imageToV86State} gives the state back, byte for byte.
 *
 * @throws the errors of the state's reader, DRIVER_VERSION, what reading and the sink throw. The sink is not ended.
 */
export async function v86StateToImage(
  state: RandomAccess,
  sink: ByteSink,
  { version, streamId, codec = CODEC.raw, about = {} }: V86ToImageOptions,
): Promise<{ readonly version: string; readonly pages: number }> {
  const { name, size } = state;
  const pieces = (): AsyncIterable<Uint8Array> => piecesOf(state);
  const source = { name, size, container: false, random: state, pieces, close: () => Promise.resolve() };
  const reader = new V86Reader(source, { version });
  const writer = new TmigImageWriter(sink, { streamId, codec, about: {} });
  let found: ImageHead | undefined;
  for await (const event of reader.events()) {
    if (event.kind !== 'head') {
      await writer.event(event);
      continue;
    }
    if (reader.trailing.bytes > 0) {
      const total = size - reader.trailing.bytes;
      throw stateError('TRAILING_DATA', `The header says ${total} bytes, and ${size} are there`, 8);
    }
    found = event;
    await writer.event({ ...event, about: joined(about, event.about) });
  }
  const { source: from, memory } = found!.about as {
    source: { versions: { v86: string } };
    memory: { pages: number };
  };
  return { version: from.versions.v86, pages: memory.pages };
}

/** What the caller says, and what the state shows: that counts, but for the configuration. */
function joined({ configuration, ...about }: JsonObject, shown: JsonObject): JsonObject {
  const seen = shown['configuration'] as JsonObject;
  return { ...about, ...shown, configuration: { ...seen, ...(configuration as JsonObject | undefined) } };
}
