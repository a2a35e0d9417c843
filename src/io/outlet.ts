/** What is written to a connection: large pieces as they are, small ones together, all in order. */
import type { Writable } from 'node:stream';

/** From this size on a piece is written by itself, without a copy. */
const DIRECT_BYTES = 64 * 1024;
/** Small pieces are put together in buffers of this size, of which there are so many. */
const BUFFER_BYTES = 256 * 1024;
const BUFFERS = 4;

export class Outlet {
  readonly #stream: Writable;
  readonly #idle: Uint8Array[] = [];
  #made = 0;
  #buffer: Uint8Array | undefined;
  #filled = 0;
  #planned = false;

  constructor(stream: Writable) {
    this.#stream = stream;
  }

  /** Resolves when the bytes may be changed again; a small piece is on its way soon after. */
  write(bytes: Uint8Array): Promise<void> {
    if (bytes.byteLength >= DIRECT_BYTES || !this.#hasRoom(bytes.byteLength)) {
      this.#sendBuffer();
      return this.#send(bytes);
    }
    this.#buffer!.set(bytes, this.#filled);
    this.#filled += bytes.byteLength;
    this.#plan();
    return Promise.resolve();
  }

  /** Resolves when the system has taken everything. @throws what the stream fails with */
  flush(): Promise<void> {
    this.#sendBuffer();
    // An empty piece comes back behind all others.
    return this.#send(new Uint8Array(0));
  }

  /** Whether a small piece can be put into a buffer. With none free it goes by itself, and waits like a large one. */
  #hasRoom(bytes: number): boolean {
    if (this.#buffer !== undefined && this.#filled + bytes <= BUFFER_BYTES) return true;
    this.#sendBuffer();
    this.#buffer = this.#idle.pop();
    if (this.#buffer === undefined && this.#made < BUFFERS) {
      this.#made++;
      this.#buffer = new Uint8Array(BUFFER_BYTES);
    }
    return this.#buffer !== undefined;
  }

  /** Whoever writes many small pieces writes them in one turn of the loop: they go when that is over. */
  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    setImmediate(() => {
      this.#planned = false;
      this.#sendBuffer();
    });
  }

  #sendBuffer(): void {
    const buffer = this.#buffer;
    if (buffer === undefined || this.#filled === 0) return;
    const bytes = buffer.subarray(0, this.#filled);
    this.#buffer = undefined;
    this.#filled = 0;
    const sent = this.#send(bytes);
    // A failure is met by the next write, and by the flush.
    sent.then(
      () => this.#idle.push(buffer),
      () => undefined,
    );
  }

  #send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
  }
}
