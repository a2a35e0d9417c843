/** What a source writes of its machine: the sections in rounds, over one connection after the other (protocol 5, 6). */
import { fromHex, toHex } from '../../bytes/hex.ts';
import type { Left } from '../precopy/predict.ts';
import type { BySection, SectionName } from '../precopy/shares.ts';
import { Unacknowledged } from '../precopy/unacknowledged.ts';
import { PROTOCOL_LIMITS } from '../protocol/limits.ts';
import type { LiveDevices } from '../section/live-devices.ts';
import type { LiveMemory } from '../section/live-memory.ts';
import type { LiveTmem } from '../section/live-tmem.ts';
import { bytesOf, singleOutput, takerOf, type Ledger, type LiveOutput, type LiveState } from '../section/live.ts';
import type { Named } from '../section/own.ts';
import { takeTurns } from '../section/turns.ts';
import type { Place } from '../session/effects.ts';
import type { Speaker } from './conversation.ts';

/** The kinds of state that a machine has. */
export interface SourceStates {
  readonly memory: LiveMemory;
  /** Null for a guest without. */
  readonly tmem: LiveTmem | null;
  /** State of one's own (M3). */
  readonly own: readonly Named<LiveState>[];
  readonly devices: LiveDevices;
}

/** One piece of work, done. */
export interface PieceDone {
  readonly bytes: number;
  readonly pages: number;
  readonly invalidations: number;
  readonly left: BySection;
}

/** A section of which something is left is never said to have nothing: only looking at it shows that. */
const LEAST_LEFT = 1;

/** Rounds with fewer bytes say more about looking for them than about the connection. */
const TELLING_BYTES = 256 * 1024;

const NOTHING: BySection = { ram: 0, tmem: 0, own: 0 };
const NO_PIECE = { bytes: 0, pages: 0, invalidations: 0 };

export class SourcePlane {
  readonly #states: SourceStates;
  readonly #pageBytes: number;
  readonly #nowMs: () => number;
  readonly #sent: Unacknowledged;
  readonly #ledger: Ledger;
  #speaker: Speaker | null = null;
  #output: LiveOutput | null = null;
  #begun = false;
  #over = false;
  #final = false;
  #steps: Partial<Record<SectionName, AsyncGenerator<number, void>>> = {};
  readonly #done = new Set<SectionName>();
  /** Bytes of state that the round has done, of each section. */
  #said: Record<SectionName, number> = { ...NOTHING };
  /** State of one's own that goes along, and whether this connection has the names of its records. */
  #own: readonly Named<LiveState>[] = [];
  #named = false;
  #pages = 0;
  /** Bytes of each section on this connection that were told. */
  #told: Record<SectionName, number> = { ...NOTHING };
  #deviceBytes = 0;
  #last: Place['channels'][number] = { seal: 0, chain: '' };
  /** Called when nothing waits for an acknowledgement any more, or none will come. */
  #applied: () => void = () => undefined;
  /** One after the other: what was under way when a connection is cut ends before anything else is done. */
  #queue: Promise<unknown> = Promise.resolve();
  /** Where and when the round under way began on this connection. */
  #round: { readonly wire: number; readonly ms: number } | null = null;
  /** The most bytes in a second of any round that says something about the connection. */
  #bytesPerSecond = 0;

  /** @param pages of the guest's memory. @param nowMs a clock that never goes back. */
  constructor(states: SourceStates, pages: number, pageBytes: number, nowMs: () => number) {
    this.#states = states;
    this.#pageBytes = pageBytes;
    this.#nowMs = nowMs;
    this.#sent = new Unacknowledged(pages, PROTOCOL_LIMITS.unacknowledgedSeals);
    this.#ledger = {
      pages: (first, count) => {
        this.#pages += count;
        this.#sent.sent(first, count);
      },
      step: (state, step) => this.#sent.sentStep(state, step),
    };
  }

  /** Seals of the connection that are not acknowledged. */
  get waitingSeals(): number {
    return this.#sent.waiting;
  }

  /** What the connection takes, as far as that was seen; 0 when it was not. */
  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** Bytes of the devices, when they were sent. */
  get deviceBytes(): number {
    return this.#deviceBytes;
  }

  /**
   * Both hosts know records of one's own of these names. An optional state that the other does not know stays here; a
   * mandatory one goes along: who does not know it has refused.
   * @returns the names of what stays
   */
  agree(names: readonly string[]): readonly string[] {
    const goes = ({ entry, state }: Named<LiveState>): boolean => names.includes(entry.name) || state.offer().mandatory;
    const { own } = this.#states;
    this.#own = own.filter(goes);
    return own.filter((each) => !goes(each)).map(({ entry }) => entry.name);
  }

  /** Writes go over this connection from now on. */
  attach(speaker: Speaker): void {
    this.#speaker = speaker;
    this.#output = singleOutput(speaker.writer, this.#ledger);
    this.#named = false;
    this.#told = { ...NOTHING };
    this.#round = null;
    this.#applied();
  }

  /** The writer of the connection wrote a SEAL. */
  readonly sealed = (seal: number, chain: Uint8Array): void => {
    if (this.#over) return;
    this.#last = { seal, chain: toHex(chain) };
    this.#sent.sealed(seal, this.#last.chain);
  };

  /** @throws CHAIN_VECTOR, RECORD_ORDER */
  acknowledge(seal: number, chain: string): void {
    this.#sent.acknowledge(seal, chain);
    for (const state of this.#all()) state.acknowledged(0, this.#sent.heldStep(state.name));
    if (this.#sent.waiting === 0) this.#applied();
  }

  /** Writes about so many bytes of a section. @throws what the machine, the engine and the connection throw */
  work(section: SectionName, bytes: number): Promise<PieceDone> {
    return this.#do(async (output) => {
      await this.#begin();
      const piece = await this.#walk(section, output, bytes);
      return { ...piece, left: this.#leftOfRound() };
    });
  }

  seal(): Promise<void> {
    return this.#do(async ({ channels: [{ writer }] }) => void (await writer.seal()));
  }

  /**
   * Ends a round, when the destination has applied all of it: what still waits there would be waited for in the pause.
   * @returns what is left, and how long looking at all of memory takes.
   */
  async endRound(): Promise<{ readonly left: Left; readonly scanMs: number }> {
    const { wire, ms } = this.#round ?? { wire: 0, ms: this.#nowMs() };
    const bytes = await this.#do(async ({ channels: [{ writer }] }) => {
      await this.#leaveRound();
      await writer.round();
      await writer.seal();
      return writer.offset - wire;
    });
    // Messages may be said meanwhile. Where the connection is lost nobody asks any more what came of it.
    if (this.#sent.waiting > 0) await new Promise<void>((resolve) => (this.#applied = resolve));
    const took = this.#nowMs() - ms;
    if (bytes >= TELLING_BYTES && took > 0) {
      this.#bytesPerSecond = Math.max(this.#bytesPerSecond, (bytes * 1000) / took);
    }
    this.#round = null;
    return { left: this.left(), scanMs: this.#states.memory.last?.stoppedMs ?? 0 };
  }

  /** The guest stands still: from now on all that is left is written. */
  beginFinal(): Promise<Left> {
    const begun = this.#queue.then(async () => {
      await this.#leaveRound();
      this.#final = true;
      return this.left();
    });
    this.#queue = begun.catch(() => undefined);
    return begun;
  }

  /** Devices, CHECKPOINT, and a SEAL behind it (6.3). @returns the place of that. */
  finish(guestTimeNs: bigint): Promise<Place['channels']> {
    return this.#do(async (output) => {
      const { writer } = output.channels[0];
      for await (const bytes of this.#states.devices.final(output)) this.#deviceBytes += bytes;
      await writer.checkpoint(guestTimeNs);
      await writer.seal();
      return [this.#last];
    });
  }

  /** A connection was cut: what lies above the place counts as never written (6.5). */
  goBack(place: Place, sameLeg: boolean): Promise<Left> {
    return this.#do(async () => {
      await this.#begin();
      await this.#leaveRound();
      const [{ seal, chain }] = place.channels;
      if (sameLeg) this.#sent.holds(seal, chain);
      const pages = this.#sent.lost();
      for (const state of this.#all()) await state.resend({ pages, steps: [this.#sent.heldStep(state.name)] });
      return this.left();
    });
  }

  /** What would cross if the guest were paused now. Each section has something: only looking shows that it has not. */
  left(): Left {
    const { memory, tmem, devices } = this.#states;
    const invalidations = tmem?.left().invalidations ?? 0;
    return {
      dirtyBytes: Math.max(memory.left().bytes, this.#pageBytes),
      tmemBytes: tmem === null ? 0 : Math.max(tmem.left().bytes, LEAST_LEFT),
      invalidations,
      ownBytes: this.#ownLeft(),
      deviceBytes: devices.left().bytes,
    };
  }

  /** Follows the guest no more. Never rejects. */
  end(): Promise<void> {
    this.#over = true;
    this.#applied();
    const ended = this.#queue.then(async () => {
      await this.#leaveRound().catch(() => undefined);
      if (!this.#begun) return;
      for (const state of this.#all()) await state.end();
    });
    this.#queue = ended;
    return ended;
  }

  #all(): readonly LiveState[] {
    const { memory, tmem, devices } = this.#states;
    const own = this.#own.map(({ state }) => state);
    return tmem === null ? [memory, ...own, devices] : [memory, tmem, ...own, devices];
  }

  #statesOf(section: SectionName): readonly LiveState[] {
    const { memory, tmem } = this.#states;
    if (section === 'own') return this.#own.map(({ state }) => state);
    return section === 'ram' ? [memory] : tmem === null ? [] : [tmem];
  }

  #ownLeft(): number {
    const bytes = this.#own.reduce((sum, { state }) => sum + state.left().bytes, 0);
    return this.#own.length === 0 ? 0 : Math.max(bytes, LEAST_LEFT);
  }

  async #name({ channels }: LiveOutput): Promise<void> {
    if (this.#named) return;
    this.#named = true;
    for (const { writer } of channels) for (const { entry } of this.#own) await writer.dictionary(entry);
  }

  async #begin(): Promise<void> {
    if (this.#begun) return;
    this.#begun = true;
    for (const state of this.#all()) await state.begin();
  }

  /** Messages that are said meanwhile come behind it. */
  #do<T>(what: (output: LiveOutput) => Promise<T>): Promise<T> {
    const speaker = this.#speaker;
    const output = this.#output;
    if (speaker === null || output === null) return Promise.reject(new TypeError('there is no connection'));
    const done = this.#queue.then(() => {
      if (this.#over) throw new TypeError('the migration is over');
      return speaker.write(() => what(output));
    });
    this.#queue = done.catch(() => undefined);
    return done;
  }

  async #walk(section: SectionName, output: LiveOutput, wanted: number): Promise<Omit<PieceDone, 'left'>> {
    const states = this.#statesOf(section);
    if (this.#done.has(section) || states.length === 0) return NO_PIECE;
    if (section === 'own') await this.#name(output);
    const { writer } = output.channels[0];
    const steps = (this.#steps[section] ??= takeTurns(states.map((state) => takerOf(state, output, this.#final))));
    this.#round ??= { wire: writer.offset, ms: this.#nowMs() };
    const start = { pages: this.#pages, sent: { ...this.#states.tmem?.sent } };
    let said = 0;
    while (said < wanted) {
      const step = await steps.next();
      if (step.done === true) {
        this.#done.add(section);
        break;
      }
      said += step.value;
    }
    this.#said[section] += said;
    // Also what was held back for a batch before, and a SEAL or the end of a round has sent meanwhile.
    const bytes = states.reduce((sum, state) => sum + bytesOf(state, output), 0);
    const told = this.#told[section];
    this.#told[section] = bytes;
    const sent = this.#states.tmem?.sent;
    return {
      bytes: bytes - told,
      pages:
        section === 'ram'
          ? this.#pages - start.pages
          : section === 'tmem'
            ? (sent?.pages ?? 0) - (start.sent.pages ?? 0)
            : 0,
      invalidations: (sent?.invalidations ?? 0) - (start.sent.invalidations ?? 0),
    };
  }

  #leftOfRound(): BySection {
    const { memory, tmem } = this.#states;
    // The first round counts down by itself; of a later one it is known how much the one before it found.
    const ram = memory.left().bytes - (memory.last === null ? 0 : this.#said.ram);
    return {
      ram: this.#done.has('ram') ? 0 : Math.max(ram, LEAST_LEFT),
      tmem: tmem === null || this.#done.has('tmem') ? 0 : Math.max(tmem.left().bytes, LEAST_LEFT),
      own: this.#done.has('own') ? 0 : this.#ownLeft(),
    };
  }

  /** What a round had taken from the guest and not written, the next one has again. */
  async #leaveRound(): Promise<void> {
    const steps = Object.values(this.#steps);
    this.#steps = {};
    this.#done.clear();
    this.#said = { ...NOTHING };
    for (const each of steps) await each.return();
  }
}

/** A chain as an ACK has it. */
export function chainBytes(chain: string): Uint8Array {
  return fromHex(chain);
}
