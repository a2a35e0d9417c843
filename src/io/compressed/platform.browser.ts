/** What platform.ts is in a browser: gzip by the browser itself, zstd by a decoder in JavaScript. */
import { sha256 } from '@noble/hashes/sha2.js';
import { Gunzip } from 'fflate';
import { Decompress } from 'fzstd';
import { crc32InJavaScript } from '../../bytes/crc32.ts';
import { TransmigrateError } from '../../errors.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { unpackError } from './fault.ts';

export function crc32(bytes: Uint8Array, seed: number): number {
  return crc32InJavaScript(bytes, seed);
}

export function startSha256(): { update(bytes: Uint8Array): void; digest(): Uint8Array } {
  const hash = sha256.create();
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
}

export async function* unpackWithZlib(
  kind: 'gzip' | 'zstd',
  pieces: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array> {
  const out: Uint8Array[] = [];
  let ended = false;
  const take = (chunk: Uint8Array, final?: boolean): void => {
    if (chunk.byteLength > 0) out.push(chunk);
    ended ||= final === true;
  };
  const decoder = kind === 'gzip' ? new Gunzip(take) : new Decompress(take);
  let consumed = 0;
  const push = (piece: Uint8Array, final: boolean): void => {
    try {
      decoder.push(piece, final);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const what = `The ${kind} data can't be unpacked: the decoder refuses them (${reason})`;
      throw unpackError(/eof|end/i.test(reason) ? 'TRUNCATED' : 'CODEC_DATA', what, consumed, name);
    }
  };
  for await (const piece of pieces) {
    // The decoders keep parts of what they are given, and a piece changes when the next is asked for.
    push(piece.slice(), false);
    consumed += piece.byteLength;
    yield* out.splice(0);
  }
  push(new Uint8Array(0), true);
  yield* out.splice(0);
  if (!ended) throw unpackError('TRUNCATED', `The ${kind} data end too early`, consumed, name);
}

/** There is no zstd encoder in a browser. */
export class ZstdSink implements ByteSink {
  constructor(_sink: ByteSink, _level = 3) {
    throw new TransmigrateError('UNSUPPORTED_CODEC', 'zstd is not written in a browser', {
      data: { codec: 'zstd' },
      next: 'Write it uncompressed.',
    });
  }

  write(_bytes: Uint8Array): Promise<void> {
    return Promise.resolve();
  }

  end(): Promise<void> {
    return Promise.resolve();
  }
}
