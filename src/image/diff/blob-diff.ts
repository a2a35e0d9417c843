import { toHex } from '../../bytes/hex.ts';
import { sameRange, Sha256 } from '../../codec/platform.ts';
import type { BlobDiff } from './result.ts';

/** Reads content that comes in parts, and hashes it on the way. */
class Parts {
  readonly #parts: AsyncIterator<Uint8Array>;
  readonly #hash = new Sha256();
  part: Uint8Array = new Uint8Array(0);
  at = 0;
  bytes = 0;
  ended = false;

  constructor(parts: AsyncIterable<Uint8Array>) {
    this.#parts = parts[Symbol.asyncIterator]();
  }

  get left(): number {
    return this.part.byteLength - this.at;
  }

  async fill(): Promise<void> {
    while (this.left === 0 && !this.ended) {
      const next = await this.#parts.next();
      if (next.done === true) {
        this.ended = true;
        return;
      }
      this.part = next.value;
      this.at = 0;
      this.bytes += next.value.byteLength;
      this.#hash.update(next.value);
    }
  }

  digest(): string {
    return toHex(this.#hash.digest());
  }
}

/** Compares two contents, part by part: nothing of them is held. @throws what reading them throws */
export async function diffBlobs(a: AsyncIterable<Uint8Array>, b: AsyncIterable<Uint8Array>): Promise<BlobDiff> {
  const [one, other] = [new Parts(a), new Parts(b)];
  let offset: number | null = null;
  let at = 0;
  for (;;) {
    await one.fill();
    await other.fill();
    if (one.left === 0 && other.left === 0) break;
    // Beyond the end of one the other is only hashed.
    const bytes = one.left === 0 ? other.left : other.left === 0 ? one.left : Math.min(one.left, other.left);
    if (offset === null) {
      if (one.left === 0 || other.left === 0) offset = at;
      else if (!sameRange(one.part, one.at, other.part, other.at, bytes)) offset = at + firstDifference(one, other);
    }
    if (one.left > 0) one.at += bytes;
    if (other.left > 0) other.at += bytes;
    at += bytes;
  }
  return {
    same: offset === null,
    bytes: { a: one.bytes, b: other.bytes },
    sha256: { a: one.digest(), b: other.digest() },
    offset,
  };
}

function firstDifference(a: Parts, b: Parts): number {
  let at = 0;
  while (a.part[a.at + at] === b.part[b.at + at]) at++;
  return at;
}

/** Content that is held, as parts. */
export async function* partOf(content: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield content;
}
