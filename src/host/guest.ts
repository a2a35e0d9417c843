import { TransmigrateError } from '../errors.ts';
import type { JsonObject } from '../bytes/bounded-json.ts';
import type { Machine } from '../machine/machine.ts';
import type { GuestInfo, GuestState } from './api.ts';
import type { OwnSeats } from './own-states.ts';
import { GuestConsole } from './console.ts';

/** Which tmem of a guest's is counted for `list`. */
export type TmemCounts = () => { readonly pools: number; readonly pages: number } | null;

export interface GuestParts {
  readonly name: string;
  readonly uuid: string;
  readonly machine: Machine;
  /** The guest's client in the host's tmem engine; null without tmem. */
  readonly tmemClient: number | null;
  readonly tmemCounts: TmemCounts;
  /** What it has of state of one's own. */
  readonly own: OwnSeats;
  /** How its machine was made, as it goes into ABOUT (stream 6.1). */
  readonly configuration: JsonObject;
  readonly since: Date;
  /** What it runs under (protocol 1.2). */
  readonly epoch: number;
}

/** A guest of the host: a machine with a name, an identity, a console, and one thing at a time that is done with it. */
export class Guest {
  readonly name: string;
  readonly uuid: string;
  readonly machine: Machine;
  readonly tmemClient: number | null;
  readonly own: OwnSeats;
  readonly configuration: JsonObject;
  readonly console = new GuestConsole();
  /** What it runs under; grows when it comes back from a migration. */
  epoch: number;
  readonly #tmemCounts: TmemCounts;
  readonly #since: Date;
  #busy: { readonly what: string; readonly cancel: AbortController; readonly done: Promise<void> } | null = null;
  #crash: string | undefined;

  constructor(parts: GuestParts) {
    this.name = parts.name;
    this.uuid = parts.uuid;
    this.machine = parts.machine;
    this.tmemClient = parts.tmemClient;
    this.own = parts.own;
    this.configuration = parts.configuration;
    this.#tmemCounts = parts.tmemCounts;
    this.#since = parts.since;
    this.epoch = parts.epoch;
    const { machine } = parts;
    machine.on('console', (bytes, port) => {
      if (port === 0) this.console.write(bytes);
    });
    machine.on('crashed', (reason) => (this.#crash ??= reason));
    machine.on('closed', (reason, expected) => {
      if (!expected) this.#crash ??= reason;
      this.console.end();
    });
  }

  get state(): GuestState {
    if (this.#crash !== undefined) return 'crashed';
    const { status } = this.machine;
    return status === 'paused' ? 'paused' : status === 'crashed' || status === 'closed' ? 'crashed' : 'running';
  }

  info(): GuestInfo {
    const { capabilities } = this.machine;
    return {
      name: this.name,
      uuid: this.uuid,
      state: this.state,
      ...(this.#crash !== undefined && { reason: this.#crash }),
      driver: capabilities.driver,
      driverVersion: capabilities.version,
      memoryBytes: capabilities.pages * capabilities.pageBytes,
      tmem: this.#tmemCounts(),
      since: this.#since.toISOString(),
      busy: this.#busy?.what ?? null,
    };
  }

  /** Types on the guest's serial port. @throws GUEST_CRASHED */
  async type(bytes: Uint8Array): Promise<void> {
    this.mustLive();
    await this.machine.writeConsole(bytes);
  }

  /** @throws GUEST_CRASHED */
  mustLive(): void {
    if (this.state !== 'crashed') return;
    throw new TransmigrateError('GUEST_CRASHED', `${this.name} crashed: ${this.#crash ?? 'its machine is no more'}`, {
      data: { name: this.name },
      next: 'Look at its console; `transmigrate destroy` removes it.',
    });
  }

  /**
   * Does one thing with the guest that nothing else may come between.
   * @param work gets a signal that {@link interrupt} aborts.
   * @throws GUEST_BUSY
   */
  async during<T>(what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#busy !== null) {
      const { name } = this;
      throw new TransmigrateError('GUEST_BUSY', `${name} is busy: ${this.#busy.what}`, { data: { name } });
    }
    const cancel = new AbortController();
    const { promise: done, resolve } = Promise.withResolvers<void>();
    this.#busy = { what, cancel, done };
    try {
      return await work(cancel.signal);
    } finally {
      this.#busy = null;
      resolve();
    }
  }

  /** Resolves when nothing is being done with it. */
  async idle(): Promise<void> {
    await this.#busy?.done;
  }

  /** Whatever is being done with it is to end soon. */
  interrupt(): void {
    this.#busy?.cancel.abort();
  }
}
