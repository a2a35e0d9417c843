/** A connection to another host: bytes each way, with backpressure, a clean end and a sudden one. */
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { ByteSink } from '../bytes/endpoints.ts';
import type { TransmigrateError } from '../errors.ts';
import { cancelled, connectionLost, lostBecause } from './connection-errors.ts';
import { Inlet } from './inlet.ts';
import { Outlet } from './outlet.ts';
import type { ByteSource } from './source.ts';
import { systemTimers, type Timers } from './timers.ts';

/**
 * Both ways of it. What fails one fails the other with the same error, of class transport or CANCELLED; what was
 * received before is still given out.
 */
export interface Connection extends ByteSource, ByteSink {
  /** For messages: an address, or what the pipes are. */
  readonly name: string;
  /** Over TLS: SHA-256 of the public key in the peer's certificate, in hexadecimal. Else null. */
  readonly peer: string | null;
  /** Longest time to wait for a byte of the peer; null for no limit. Counts from the next wait on. */
  silenceMs: number | null;

  /**
   * What the peer says, until it ends its way; that it ended in the right place is for the reader to know. A piece is
   * valid until the next is asked for. At most about 2 MiB are received ahead.
   * @throws CONNECTION_LOST, PEER_UNTRUSTED, CANCELLED
   */
  pieces(): AsyncIterable<Uint8Array>;
  /** @throws CONNECTION_LOST, PEER_UNTRUSTED, CANCELLED */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when the system has taken everything that was written. Throws as `write`. */
  flush(): Promise<void>;
  /** Says that nothing more comes: the peer reads all that was written, and then the end. It may go on by itself. */
  end(): Promise<void>;
  /** Ends, when that was not done, and closes both ways. Never rejects; waits as long as the peer takes to read. */
  close(): Promise<void>;
  /**
   * Breaks it off now: all that waits fails with this, or with CONNECTION_LOST. Over TCP the peer sees a connection
   * lost; TLS, pipes and sockets of this machine know no sudden end, and there it reads an end.
   */
  reset(reason?: TransmigrateError): void;
}

export interface ConnectionOptions {
  readonly silenceMs?: number | null | undefined;
  /** What watches that limit. */
  readonly timers?: Timers | undefined;
  /** Breaks the connection off, with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
}

export interface ConnectionParts extends ConnectionOptions {
  readonly name: string;
  readonly peer: string | null;
  /** One object for a socket, two for a pair of pipes. */
  readonly readable: Readable;
  readonly writable: Writable;
  /** What already receives; when absent, the bytes are taken from `readable`. */
  readonly inlet?: Inlet | undefined;
  /** Breaks it off so that the peer sees it, beside destroying the streams. */
  readonly breakOff?: (() => void) | undefined;
}

/** Most bytes that wait for the reader before the peer has to, where the stream's own buffers are used. */
const WAITING_BYTES = 1024 * 1024;

export class StreamConnection implements Connection {
  readonly name: string;
  readonly peer: string | null;
  readonly size = null;
  readonly container = false;
  readonly random = null;
  silenceMs: number | null;
  readonly #readable: Readable;
  readonly #writable: Writable;
  readonly #inlet: Inlet;
  readonly #outlet: Outlet;
  readonly #timers: Timers;
  readonly #breakOff: () => void;
  readonly #closed: Promise<void>;
  #failure: TransmigrateError | undefined;
  #ending: Promise<void> | undefined;

  constructor(parts: ConnectionParts) {
    const { name, peer, readable, writable, silenceMs = null, timers = systemTimers, signal } = parts;
    this.name = name;
    this.peer = peer;
    this.silenceMs = silenceMs;
    this.#timers = timers;
    this.#breakOff = parts.breakOff ?? (() => undefined);
    this.#readable = readable;
    this.#writable = writable;
    this.#outlet = new Outlet(writable);
    this.#inlet = parts.inlet ?? this.#receive(readable);
    for (const stream of new Set([readable, writable])) stream.on('error', (cause) => this.#fail(cause));
    readable.on('end', () => this.#inlet.end());
    this.#closed = new Promise((resolve) => {
      let open = new Set([readable, writable]).size;
      const closed = (): void => {
        if (--open === 0) resolve();
      };
      readable.once('close', () => this.#inlet.fail(lostBecause(name, 'it was closed')));
      for (const stream of new Set([readable, writable])) stream.once('close', closed);
    });
    if (signal !== undefined) {
      const cancel = (): void => this.reset(cancelled(name));
      if (signal.aborted) cancel();
      else signal.addEventListener('abort', cancel, { once: true });
      void this.#closed.then(() => signal.removeEventListener('abort', cancel));
    }
  }

  pieces(): AsyncGenerator<Uint8Array> {
    return this.#inlet.pieces(() => {
      const { silenceMs } = this;
      if (silenceMs === null) return () => undefined;
      return this.#timers.after(silenceMs, () => this.reset(lostBecause(this.name, `silent for ${silenceMs} ms`)));
    });
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#ending !== undefined) throw lostBecause(this.name, 'it was ended here');
    try {
      await this.#outlet.write(bytes);
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  async flush(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#outlet.flush();
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async close(): Promise<void> {
    if (this.#failure === undefined) await this.end().catch(() => undefined);
    this.#readable.destroy();
    this.#writable.destroy();
    await this.#closed;
  }

  reset(reason: TransmigrateError = lostBecause(this.name, 'it was broken off here')): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    this.#inlet.fail(reason);
    this.#breakOff();
    this.#readable.destroy();
    this.#writable.destroy();
  }

  async #end(): Promise<void> {
    await this.flush();
    this.#writable.end();
    try {
      await finished(this.#writable, { readable: false });
    } catch (cause) {
      throw this.#fail(cause);
    }
  }

  /** The first failure is the one that everybody is told. */
  #fail(cause: unknown): TransmigrateError {
    if (this.#failure !== undefined) return this.#failure;
    this.#failure = connectionLost(this.name, cause);
    this.#inlet.fail(this.#failure);
    this.#readable.destroy();
    this.#writable.destroy();
    return this.#failure;
  }

  #receive(readable: Readable): Inlet {
    const inlet = new Inlet();
    readable.on('data', (bytes: Uint8Array) => {
      inlet.push(bytes, () => {
        if (inlet.bytes < WAITING_BYTES && readable.isPaused()) readable.resume();
      });
      if (inlet.bytes >= WAITING_BYTES) readable.pause();
    });
    // One that was paused by who made it does not begin by itself.
    readable.resume();
    return inlet;
  }
}
