import type { Socket } from 'node:net';

/** Bytes that go out as one event, and bytes that may wait to go out before the guest has to. */
const LIMITS = { event: 4096, waiting: 1024 * 1024 } as const;

export interface ConsoleHooks {
  send(port: number, bytes: Uint8Array): void;
  /** The parent does not take what the guest writes: the guest is to stand still until it does. */
  stall(): void;
  go(): void;
}

/** Gathers what the guest writes to its serial ports, a byte at a time, into events. */
export class ConsoleBuffer {
  readonly #socket: Socket;
  readonly #hooks: ConsoleHooks;
  readonly #bytes = new Uint8Array(LIMITS.event);
  #port = 0;
  #length = 0;
  #due = false;
  stalled = false;

  constructor(socket: Socket, hooks: ConsoleHooks) {
    this.#socket = socket;
    this.#hooks = hooks;
    socket.on('drain', () => {
      if (!this.stalled) return;
      this.stalled = false;
      hooks.go();
    });
  }

  push(port: number, byte: number): void {
    if (port !== this.#port || this.#length === LIMITS.event) this.flush();
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
    this.#hooks.send(this.#port, bytes);
    if (this.stalled || this.#socket.writableLength < LIMITS.waiting) return;
    this.stalled = true;
    this.#hooks.stall();
  }
}
