/**
 * Both ends of a connection that carries live state, without a connection: what the source wrote lies in memory, and
 * the destination applies as much of it as arrived.
 */
import { MemorySink } from '../../../src/io/memory.ts';
import type { Ledger, LiveOutput, Lost } from '../../../src/migrate/section/live.ts';
import type { StateLoader } from '../../../src/migrate/section/section.ts';
import { isMeeting, meet } from '../../../src/stream/channels.ts';
import { StreamDecoder } from '../../../src/stream/decoder.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import { choice } from '../streams.ts';

/** What was written on one channel, seal by seal. */
class SealedLedger implements Ledger {
  readonly sealed: { pages: Set<number>; steps: Map<string, number> }[] = [];
  #pages = new Set<number>();
  #steps = new Map<string, number>();

  pages(first: number, count: number): void {
    for (let pfn = first; pfn < first + count; pfn++) this.#pages.add(pfn);
  }

  step(state: string, step: number): void {
    this.#steps.set(state, step);
  }

  seal(): void {
    this.sealed.push({ pages: this.#pages, steps: this.#steps });
    this.#pages = new Set();
    this.#steps = new Map();
  }
}

/** One set of connections, from its beginning to its end or its cut. */
export class Leg {
  readonly #sinks: MemorySink[];
  readonly #writers: StreamWriter[];
  readonly #ledgers: SealedLedger[];
  readonly output: LiveOutput;

  private constructor(sinks: MemorySink[], writers: StreamWriter[]) {
    this.#sinks = sinks;
    this.#writers = writers;
    this.#ledgers = writers.map(() => new SealedLedger());
    this.output = {
      channels: writers.map((writer, i) => ({ writer, ledger: this.#ledgers[i] })),
      meet: async () => {
        await meet(writers);
        for (const ledger of this.#ledgers) ledger.seal();
      },
    };
  }

  static async open(channels: number): Promise<Leg> {
    const sinks = Array.from({ length: channels }, () => new MemorySink());
    const writers = await Promise.all(
      sinks.map((sink, channel) =>
        StreamWriter.open(sink, choice({ kind: 'migration', indexed: false, channel, channels }), { name: 'leg' }),
      ),
    );
    return new Leg(sinks, writers);
  }

  get writers(): readonly StreamWriter[] {
    return this.#writers;
  }

  async seal(channel: number): Promise<void> {
    await this.#writers[channel].seal();
    this.#ledgers[channel].seal();
  }

  /** Ends a round: the channels meet, so that a page may be sent again on any. */
  async roundEnd(): Promise<void> {
    if (this.#writers.length > 1) await this.output.meet();
    for (const writer of this.#writers) await writer.round();
  }

  async end(): Promise<void> {
    const several = this.#writers.length > 1;
    if (several) await meet(this.#writers);
    for (const writer of this.#writers) await writer.checkpoint();
    const chains = several ? await meet(this.#writers) : undefined;
    for (const writer of this.#writers) await writer.end(chains);
  }

  bytes(channel = 0): Uint8Array {
    return this.#sinks[channel].bytes();
  }

  /**
   * The destination applies each channel up to the end of its stream, or up to the seal with the number that is given;
   * past a meeting only when all channels have come to it.
   * @returns what did not arrive, of the states with these names.
   */
  async arrive(loaders: readonly StateLoader[], seals?: readonly number[]): Promise<(state: string) => Lost> {
    const channels = this.#sinks.map((sink, i) => new Arriving(sink.bytes(), seals?.[i] ?? Number.POSITIVE_INFINITY));
    for (;;) {
      for (const channel of channels) await channel.toMeeting(loaders);
      if (channels.some((channel) => !channel.met)) break;
      // Applied once, however many channels brought it.
      await channels[0].pass(loaders);
      for (const channel of channels.slice(1)) await channel.pass([]);
    }
    return (state) => {
      const lost = new Set<number>();
      const steps = this.#ledgers.map((ledger, i) => {
        const held = ledger.sealed.slice(0, channels[i].applied);
        ledger.seal();
        for (const { pages } of ledger.sealed.slice(channels[i].applied)) for (const pfn of pages) lost.add(pfn);
        return held.reduce((newest, { steps: all }) => Math.max(newest, all.get(state) ?? 0), 0);
      });
      return { pages: Uint32Array.from(lost).sort(), steps };
    };
  }
}

class Arriving {
  readonly #decoder = new StreamDecoder();
  readonly #most: number;
  #held: ReturnType<StreamDecoder['read']>;
  #over = false;
  /** Seals up to which everything was applied. */
  applied = 0;

  constructor(bytes: Uint8Array, most: number) {
    this.#decoder.feed(bytes);
    this.#most = most;
  }

  /** Whether it stands before a record at which all channels meet. */
  get met(): boolean {
    return this.#held !== undefined;
  }

  async toMeeting(loaders: readonly StateLoader[]): Promise<void> {
    while (!this.#over && this.#held === undefined && this.applied < this.#most) {
      const next = this.#decoder.read();
      if (next === undefined) this.#over = true;
      else if (this.#decoder.preamble!.channels > 1 && isMeeting(next)) this.#held = next;
      else {
        for (const loader of loaders) await loader.load(next);
        if (next.record.kind === 'SEAL') this.applied++;
      }
    }
  }

  async pass(loaders: readonly StateLoader[]): Promise<void> {
    for (const loader of loaders) await loader.load(this.#held!);
    this.#held = undefined;
  }
}
