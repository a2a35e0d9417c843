import type { DecodedRecord, StreamDecoder } from './decoder.ts';

/**
 * All records of a channel whose bytes come in pieces, in order. A record is valid until the next is asked for.
 * @param pieces each is valid until the next is asked for.
 * @throws the decoder's errors; TRUNCATED at the end of a stream that is not whole.
 */
export async function* decodePieces(
  pieces: AsyncIterable<Uint8Array>,
  decoder: StreamDecoder,
): AsyncGenerator<DecodedRecord> {
  for await (const piece of pieces) {
    decoder.feed(piece);
    for (let record = decoder.read(); record !== undefined; record = decoder.read()) yield record;
  }
  // A preamble's refusal waits behind ABOUT: it comes before the news that the stream ends.
  const last = decoder.read();
  if (last !== undefined) yield last;
  decoder.finish();
}
