/** Small streams for tests, and how to read them. */
import { MemorySink } from '../../src/io/memory.ts';
import { StreamDecoder, type DecodedRecord, type DecoderOptions } from '../../src/stream/decoder.ts';
import type { PreambleChoice } from '../../src/stream/preamble.ts';
import { StreamWriter } from '../../src/stream/writer.ts';
import type { WriterOptions } from '../../src/stream/writer-options.ts';
import { random } from './random.ts';

export const PAGE = 4096;

export function choice(changes: Partial<PreambleChoice> = {}): PreambleChoice {
  return {
    kind: 'save',
    byteOrder: 'little',
    wordBits: 64,
    domainType: 'emulated-tmem',
    machine: 62,
    pageSize: PAGE,
    streamId: new Uint8Array(16).fill(0x5a),
    indexed: true,
    ...changes,
  };
}

/** Writes a stream: `body` between ABOUT and the final checkpoint. */
export async function written(
  body: (writer: StreamWriter) => Promise<void>,
  changes: Partial<PreambleChoice> = {},
  options: WriterOptions = {},
): Promise<Uint8Array> {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(sink, choice(changes), { name: 'test' }, options);
  await body(writer);
  await writer.checkpoint();
  await writer.end();
  return sink.bytes();
}

/** Decodes a whole stream in one piece. `visit` sees every record while it is valid. */
export function decoded(
  bytes: Uint8Array,
  visit: (record: DecodedRecord, decoder: StreamDecoder) => void = () => undefined,
  options: DecoderOptions = {},
): StreamDecoder {
  const decoder = new StreamDecoder(options);
  decoder.feed(bytes);
  for (let next = decoder.read(); next !== undefined; next = decoder.read()) visit(next, decoder);
  decoder.finish();
  return decoder;
}

/** Pages of four kinds in turn: zero, one byte repeated, random, half random. */
export function somePages(pages: number, seed: string): Uint8Array {
  const bytes = new Uint8Array(pages * PAGE);
  const generator = random(seed);
  for (let page = 0; page < pages; page++) {
    const at = bytes.subarray(page * PAGE, (page + 1) * PAGE);
    const kind = generator.below(4);
    if (kind === 1) at.fill(1 + generator.below(255));
    else if (kind >= 2) generator.scramble(kind === 2 ? at : at.subarray(0, PAGE / 2));
  }
  return bytes;
}
