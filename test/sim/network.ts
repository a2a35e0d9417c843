/** A network between two hosts: slow, late, cut, parted; and frames that are lost, doubled or out of order. */
import type { VirtualClock } from './clock.ts';
import type { Scenario } from './scenario.ts';

export type SideName = 'source' | 'destination';

export interface Frame {
  /** Counts up in each direction of a connection, as records do: what is missing or doubled is seen. */
  readonly sequence: number;
  readonly bytes: number;
  readonly content: unknown;
}

/** One end of a connection, as its host sees it. */
export interface End {
  onFrame: (frame: Frame) => void;
  onClosed: () => void;
}

export class SimConnection {
  readonly #network: SimNetwork;
  readonly ends: Record<SideName, End>;
  open = true;
  /** When the last frame in each direction arrives. */
  readonly #busyUntil: Record<SideName, number> = { source: 0, destination: 0 };
  readonly #sequence: Record<SideName, number> = { source: 0, destination: 0 };

  constructor(network: SimNetwork) {
    this.#network = network;
    const nobody: End = { onFrame: () => undefined, onClosed: () => undefined };
    this.ends = { source: { ...nobody }, destination: { ...nobody } };
  }

  /** @returns milliseconds until the sender may go on. */
  send(from: SideName, content: unknown, bytes: number): number {
    const { clock, scenario, healed } = this.#network;
    const to: SideName = from === 'source' ? 'destination' : 'source';
    if (!this.open) return 0;
    const sequence = this.#sequence[from]++;
    const { random, bytesPerMs, delayMs, frames, cuts } = scenario;
    const begin = Math.max(clock.nowMs, this.#busyUntil[from]);
    const sentMs = begin + bytes / bytesPerMs;
    this.#busyUntil[from] = sentMs;
    const frame: Frame = { sequence, bytes, content };
    const deliver = (delay: number): void => {
      clock.after(sentMs - clock.nowMs + delay, () => {
        // What is on the way when a connection ends may still come, to whoever held that end.
        if (this.open || random.below(2) === 0) this.ends[to].onFrame(frame);
      });
    };
    const happens = (chance: number): boolean => !healed && chance > 0 && random.below(10_000) < chance;
    const arrives = this.#network.parted ? this.#network.partedForMs + delayMs : delayMs;
    if (happens(frames)) {
      const kind = random.below(3);
      if (kind === 1) {
        deliver(arrives);
        deliver(arrives + 1);
      } else if (kind === 2) {
        deliver(arrives + 5);
      }
    } else {
      deliver(arrives);
    }
    if (happens(cuts)) clock.after(random.below(50), () => this.close());
    return sentMs - clock.nowMs;
  }

  /** Both ends hear of it, each in its time. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    const { clock, scenario } = this.#network;
    for (const side of ['source', 'destination'] as const) {
      clock.after(scenario.delayMs + scenario.random.below(20), () => this.ends[side].onClosed());
    }
  }
}

export class SimNetwork {
  readonly clock: VirtualClock;
  readonly scenario: Scenario;
  healed = false;
  #partedUntil = 0;
  /** Connections that may still be open. */
  #connections: SimConnection[] = [];

  constructor(clock: VirtualClock, scenario: Scenario) {
    this.clock = clock;
    this.scenario = scenario;
    for (const { atMs, forMs } of scenario.partitions) clock.after(atMs, () => this.#part(forMs));
  }

  get parted(): boolean {
    return this.clock.nowMs < this.#partedUntil;
  }

  get partedForMs(): number {
    return Math.max(this.#partedUntil - this.clock.nowMs, 0);
  }

  heal(): void {
    this.healed = true;
    this.#partedUntil = 0;
  }

  /** Tries to connect. @param reach the connection, or null. */
  connect(isUp: () => boolean, reach: (connection: SimConnection | null) => void): void {
    this.clock.after(2 * this.scenario.delayMs + 1, () => {
      if (this.parted || !isUp()) {
        reach(null);
        return;
      }
      const connection = new SimConnection(this);
      this.#connections = [...this.#connections.filter(({ open }) => open), connection];
      reach(connection);
    });
  }

  #part(forMs: number): void {
    if (this.healed) return;
    this.#partedUntil = Math.max(this.#partedUntil, this.clock.nowMs + forMs);
    // A short one is not noticed; a long one ends what is open, after a while.
    const open = this.#connections.filter((connection) => connection.open);
    if (forMs > 1000) this.clock.after(1000, () => open.forEach((connection) => connection.close()));
  }
}
