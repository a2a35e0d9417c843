/** Most bytes of output that a guest's console keeps for those who look later. */
export const CONSOLE_KEPT_BYTES = 256 * 1024;

/** Most bytes that wait for a follower who reads too slowly; then what it missed is left out. */
export const FOLLOWER_QUEUE_BYTES = 1024 * 1024;

/**
 * What a guest wrote on its serial port: the newest bytes are kept, and any number of followers get what comes. A
 * follower that does not read costs a bounded queue, and never stops the guest.
 */
export class GuestConsole {
  readonly #kept = new Uint8Array(CONSOLE_KEPT_BYTES);
  /** Bytes ever written; the newest CONSOLE_KEPT_BYTES of them are in `#kept`, at their number modulo its length. */
  #written = 0;
  readonly #followers = new Set<Follower>();
  #ended = false;

  /** Takes output; the bytes are copied. */
  write(bytes: Uint8Array): void {
    for (const follower of this.#followers) follower.push(bytes);
    const newest = bytes.subarray(Math.max(0, bytes.byteLength - CONSOLE_KEPT_BYTES));
    this.#written += bytes.byteLength - newest.byteLength;
    const at = this.#written % CONSOLE_KEPT_BYTES;
    const first = newest.subarray(0, CONSOLE_KEPT_BYTES - at);
    this.#kept.set(first, at);
    this.#kept.set(newest.subarray(first.byteLength), 0);
    this.#written += newest.byteLength;
  }

  /** A copy of the newest bytes, at most `limit`. */
  tail(limit = CONSOLE_KEPT_BYTES): Uint8Array {
    const length = Math.min(limit, this.#written, CONSOLE_KEPT_BYTES);
    const from = (this.#written - length) % CONSOLE_KEPT_BYTES;
    const out = new Uint8Array(length);
    const first = this.#kept.subarray(from, Math.min(from + length, CONSOLE_KEPT_BYTES));
    out.set(first);
    out.set(this.#kept.subarray(0, length - first.byteLength), first.byteLength);
    return out;
  }

  /** What comes from now on, until the guest is gone or the follower stops. */
  async *follow(signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const follower = new Follower();
    if (this.#ended || signal?.aborted === true) return;
    this.#followers.add(follower);
    const stop = (): void => follower.end();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      for (let bytes = await follower.next(); bytes !== undefined; bytes = await follower.next()) yield bytes;
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#followers.delete(follower);
    }
  }

  /** The guest is gone: followers end after what they have not read yet. */
  end(): void {
    this.#ended = true;
    for (const follower of this.#followers) follower.end();
  }
}

/** One reader of a console. */
class Follower {
  #queue: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  push(bytes: Uint8Array): void {
    if (this.#bytes + bytes.byteLength > FOLLOWER_QUEUE_BYTES) return;
    this.#queue.push(bytes.slice());
    this.#bytes += bytes.byteLength;
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async next(): Promise<Uint8Array | undefined> {
    while (this.#queue.length === 0) {
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const first = this.#queue.shift()!;
    this.#bytes -= first.byteLength;
    return first;
  }
}
