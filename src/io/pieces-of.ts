import type { RandomAccess } from '../bytes/endpoints.ts';
import type { ByteSource } from './source.ts';

const PIECE_BYTES = 1024 * 1024;

/**
 * The bytes of something that can be read at any place, in order from `start` on: as often as it is asked for. A piece
 * is valid until the next is asked for; the next is read while one is worked on.
 */
export async function* piecesOf(input: RandomAccess, start = 0): AsyncGenerator<Uint8Array> {
  const buffers = [new Uint8Array(PIECE_BYTES), new Uint8Array(PIECE_BYTES)];
  let turn = 0;
  let at = start;
  let next = input.readAt(at, buffers[turn]);
  for (;;) {
    const found = await next;
    if (found === 0) return;
    at += found;
    const piece = buffers[turn].subarray(0, found);
    turn = 1 - turn;
    next = input.readAt(at, buffers[turn]);
    // If the reader stops here, the read under way still ends by itself; its failure is nobody's.
    next.catch(() => undefined);
    yield piece;
  }
}

/** The same source, for who must not close it. */
export function unclosed(source: ByteSource): ByteSource {
  const { name, size, container, random } = source;
  return { name, size, container, random, pieces: () => source.pieces(), close: () => Promise.resolve() };
}

/** A source that can be read at any place, to be read from its first byte on once more. Closing it does nothing. */
export function again({ name, size, container, random }: ByteSource): ByteSource {
  return { name, size, container, random, pieces: () => piecesOf(random!), close: () => Promise.resolve() };
}
