/** Bytes that go out as one event. */
const EVENT_BYTES = 4096;

/** Gathers what the guest writes to its serial ports, a byte at a time. */
export class ConsoleBuffer {
  readonly #send: (bytes: Uint8Array, port: number) => void;
  readonly #bytes = new Uint8Array(EVENT_BYTES);
  #port = 0;
  #length = 0;
  #due = false;

  constructor(send: (bytes: Uint8Array, port: number) => void) {
    this.#send = send;
  }

  push(port: number, byte: number): void {
    if (port !== this.#port || this.#length === EVENT_BYTES) this.flush();
    this.#port = port;
    this.#bytes[this.#length++] = byte;
    if (this.#due) return;
    this.#due = true;
    // After the slice of the guest that writes now.
    setImmediate(() => {
      this.#due = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#length === 0) return;
    const bytes = this.#bytes.slice(0, this.#length);
    this.#length = 0;
    this.#send(bytes, this.#port);
  }
}
