/** What moves state: the source's side with the real log reader, and the destination's with the real restore. */
import { createHash } from 'node:crypto';
import { Unacknowledged } from '../../src/migrate/precopy/unacknowledged.ts';
import type { Left } from '../../src/migrate/precopy/predict.ts';
import type { SectionName } from '../../src/migrate/precopy/shares.ts';
import type { Place } from '../../src/migrate/session/effects.ts';
import { IncomingTmem } from '../../src/tmem/incoming.ts';
import type { TmemEngine } from '../../src/tmem/engine.ts';
import { TmemLog, type LogStep } from '../../src/tmem/log-reader.ts';
import { CLIENT, type SimGuest } from './guest.ts';
import type { Scenario } from './scenario.ts';

const PAGE_BYTES = 4096;
export const DEVICE_BYTES = 20_000;

/** A record of a leg. */
export type StateFrame =
  | { readonly kind: 'ram'; readonly pages: readonly (readonly [pfn: number, content: number])[] }
  | { readonly kind: 'tmem'; readonly step: Readonly<LogStep> }
  /** A pool that an earlier leg has brought, or may have (protocol 6.5). */
  | { readonly kind: 'pool'; readonly pool: Extract<LogStep, { readonly kind: 'open' }>['pool'] }
  | { readonly kind: 'round' | 'checkpoint' }
  | { readonly kind: 'device'; readonly counter: number }
  | { readonly kind: 'seal'; readonly seal: number; readonly chain: string };

/** The chain of a leg, over everything that was written. */
class LegChain {
  value: string;
  #hash = createHash('sha256');

  constructor(leg: number) {
    this.value = createHash('sha256').update(`leg ${leg}`).digest('hex');
    this.#hash.update(this.value);
  }

  add(frame: StateFrame): void {
    this.#hash.update(frame.kind);
    if (frame.kind === 'ram') this.#hash.update(Uint32Array.from(frame.pages.flat()));
    if (frame.kind === 'tmem' && 'body' in frame.step) this.#hash.update(frame.step.body);
  }

  seal(): string {
    this.value = this.#hash.digest('hex');
    this.#hash = createHash('sha256').update(this.value);
    return this.value;
  }
}

export class SourcePlane {
  readonly #guest: SimGuest;
  readonly #log: TmemLog;
  readonly #shadow: Uint32Array;
  /** Pages that are sent whether they changed or not. */
  readonly #marked: Uint8Array;
  readonly #unacknowledged: Unacknowledged;
  /** Pools that were opened on some leg and whose end is not known to have arrived, by incarnation. */
  readonly #pools = new Map<
    number,
    { readonly pool: Extract<LogStep, { kind: 'open' }>['pool']; openedIn: number; closedIn: number | null }
  >();
  #declared = new Set<number>();
  #chain = new LegChain(1);
  #cursor = 0;
  #seals = 0;
  #fault: Scenario['fault'];
  /** Pages and invalidations that were sent. */
  readonly sent = { pages: 0, tmem: 0, invalidations: 0 };

  constructor(guest: SimGuest, scenario: Scenario) {
    this.#guest = guest;
    this.#fault = scenario.fault;
    const { pages } = scenario;
    this.#log = new TmemLog(guest.engine, CLIENT, { ephemeral: scenario.ephemeral });
    this.#shadow = new Uint32Array(pages);
    this.#marked = new Uint8Array(pages).fill(1);
    this.#unacknowledged = new Unacknowledged(pages, 4);
  }

  get waitingSeals(): number {
    return this.#unacknowledged.waiting;
  }

  /** One piece of work. */
  work(
    section: SectionName,
    bytes: number,
    emit: (frame: StateFrame, bytes: number) => void,
  ): {
    readonly bytes: number;
    readonly pages: number;
    readonly invalidations: number;
  } {
    return section === 'ram' ? this.#ram(bytes, emit) : this.#tmem(bytes, emit);
  }

  /** What is left of this round, about: for memory as far as it was not looked at. */
  leftOfRound(): Readonly<Record<SectionName, number>> {
    return { ram: this.#dirty(this.#cursor) * PAGE_BYTES, tmem: this.#tmemLeft(), own: 0 };
  }

  left(): Left {
    const { pages, invalidations, pools } = this.#log.backlog;
    this.#cursor = 0;
    return {
      dirtyBytes: this.#dirty(0) * PAGE_BYTES,
      tmemBytes: pages * PAGE_BYTES + pools,
      invalidations,
      ownBytes: 0,
      deviceBytes: DEVICE_BYTES,
    };
  }

  seal(emit: (frame: StateFrame, bytes: number) => void): { readonly seal: number; readonly chain: string } {
    const seal = ++this.#seals;
    const chain = this.#chain.seal();
    this.#unacknowledged.sealed(seal, chain);
    emit({ kind: 'seal', seal, chain }, 72);
    return { seal, chain };
  }

  record(frame: StateFrame, emit: (frame: StateFrame, bytes: number) => void): void {
    this.#chain.add(frame);
    emit(frame, frame.kind === 'device' ? DEVICE_BYTES : 40);
  }

  acknowledge(seal: number, chain: string): void {
    this.#unacknowledged.acknowledge(seal, chain);
    this.#held(this.#unacknowledged.heldStep('tmem'));
  }

  /** Goes back to what the destination holds, and begins the stream of another leg. */
  goBack(leg: number, place: Place, sameLeg: boolean, emit: (frame: StateFrame, bytes: number) => void): void {
    if (this.#fault === 'forgets what was on the way') this.#fault = null;
    else {
      if (sameLeg) this.#unacknowledged.holds(place.channels[0].seal, place.channels[0].chain);
      for (const page of this.#unacknowledged.lost()) this.#marked[page] = 1;
      this.#held(this.#unacknowledged.heldStep('tmem'));
      this.#log.resume([this.#unacknowledged.heldStep('tmem')]);
    }
    this.#chain = new LegChain(leg);
    this.#seals = 0;
    this.#cursor = 0;
    this.#declared = new Set();
    for (const [incarnation, { pool, openedIn }] of [...this.#pools].toSorted(([one], [other]) => one - other)) {
      // The others are opened again, in their order.
      if (openedIn > this.#unacknowledged.heldStep('tmem')) continue;
      this.#declared.add(incarnation);
      this.record({ kind: 'pool', pool }, emit);
    }
  }

  close(): void {
    this.#log.close();
  }

  #held(step: number): void {
    this.#log.acknowledge(0, step);
    for (const [incarnation, { closedIn }] of this.#pools) {
      if (closedIn !== null && closedIn <= step) this.#pools.delete(incarnation);
    }
  }

  #dirty(from: number): number {
    let dirty = 0;
    for (let page = from; page < this.#shadow.length; page++) {
      if (this.#marked[page] === 1 || this.#shadow[page] !== this.#guest.memory[page]) dirty++;
    }
    return dirty;
  }

  #tmemLeft(): number {
    const { pages, invalidations, pools } = this.#log.backlog;
    return pages * PAGE_BYTES + invalidations + pools;
  }

  #ram(bytes: number, emit: (frame: StateFrame, bytes: number) => void): ReturnType<SourcePlane['work']> {
    const pages: [number, number][] = [];
    const { memory } = this.#guest;
    while (this.#cursor < memory.length && pages.length * PAGE_BYTES < bytes) {
      const page = this.#cursor++;
      if (this.#marked[page] === 0 && this.#shadow[page] === memory[page]) continue;
      const again = this.#marked[page] === 0;
      this.#marked[page] = 0;
      this.#shadow[page] = memory[page];
      if (this.#fault === 'skips a dirty page' && again) {
        this.#fault = null;
        continue;
      }
      pages.push([page, memory[page]]);
      this.#unacknowledged.sent(page, 1);
    }
    this.sent.pages += pages.length;
    const size = 40 + pages.length * PAGE_BYTES;
    if (pages.length > 0) {
      const frame: StateFrame = { kind: 'ram', pages };
      this.#chain.add(frame);
      emit(frame, size);
    }
    return { bytes: size, pages: pages.length, invalidations: 0 };
  }

  #tmem(most: number, emit: (frame: StateFrame, bytes: number) => void): ReturnType<SourcePlane['work']> {
    let bytes = 0;
    const before = { ...this.#log.sent };
    while (bytes < most) {
      const step = this.#log.next(0);
      if (step === undefined) break;
      this.#unacknowledged.sentStep('tmem', step.step);
      bytes += this.#step(step, emit);
    }
    const pages = this.#log.sent.pages - before.pages;
    const invalidations = this.#log.sent.invalidations - before.invalidations;
    this.sent.tmem += pages;
    this.sent.invalidations += invalidations;
    return { bytes, pages, invalidations };
  }

  #step(step: LogStep, emit: (frame: StateFrame, bytes: number) => void): number {
    if (step.kind === 'open') {
      const { incarnation } = step.pool;
      this.#pools.set(incarnation, { pool: step.pool, openedIn: step.step, closedIn: null });
      if (this.#declared.has(incarnation)) return 0;
      this.#declared.add(incarnation);
    }
    if (step.kind === 'close') {
      const known = this.#pools.get(step.incarnation);
      if (known !== undefined) known.closedIn = step.step;
    }
    if (step.kind === 'invalidate' && this.#fault === 'loses an invalidation') {
      this.#fault = null;
      return step.body.byteLength;
    }
    // Bodies are the reader's until its next step.
    const copy = 'body' in step ? { ...step, body: step.body.slice() } : step;
    const frame: StateFrame = { kind: 'tmem', step: copy };
    this.#chain.add(frame);
    const bytes = 40 + ('body' in step ? step.body.byteLength : 48);
    emit(frame, bytes);
    return bytes;
  }
}

/** A machine on its way in. */
export class DestinationPlane {
  readonly memory: Uint32Array;
  readonly #present: Uint8Array;
  readonly #incoming: IncomingTmem;
  readonly #opened = new Set<number>();
  readonly #closed = new Set<number>();
  #chain = new LegChain(1);
  #whole = false;

  constructor(engine: TmemEngine, pages: number) {
    this.memory = new Uint32Array(pages);
    this.#present = new Uint8Array(pages);
    this.#incoming = new IncomingTmem(engine, CLIENT, {});
  }

  newLeg(leg: number): string {
    this.#chain = new LegChain(leg);
    this.#whole = false;
    return this.#chain.value;
  }

  /** Applies a record. @returns a seal that was reached. */
  apply(frame: StateFrame): { readonly seal: number; readonly chain: string } | null {
    if (frame.kind === 'seal') {
      const chain = this.#chain.seal();
      if (chain !== frame.chain) throw new Error('a seal with another chain');
      return { seal: frame.seal, chain };
    }
    this.#chain.add(frame);
    switch (frame.kind) {
      case 'ram':
        for (const [page, content] of frame.pages) {
          this.memory[page] = content;
          this.#present[page] = 1;
        }
        break;
      case 'pool':
        this.#open(frame.pool);
        break;
      case 'tmem':
        this.#step(frame.step);
        break;
      case 'checkpoint':
        this.#whole = true;
        break;
      case 'round':
      case 'device':
        break;
    }
    return null;
  }

  /** What is missing, or null. */
  complete(): string | null {
    if (!this.#whole) return 'no checkpoint';
    const missing = this.#present.indexOf(0);
    return missing === -1 ? null : `page ${missing} never came`;
  }

  run(): void {
    this.#incoming.run();
  }

  discard(): void {
    this.#incoming.rollback();
  }

  #open(pool: Extract<LogStep, { kind: 'open' }>['pool']): void {
    if (this.#opened.has(pool.incarnation) || this.#closed.has(pool.incarnation)) return;
    this.#opened.add(pool.incarnation);
    this.#incoming.openPool(pool);
  }

  #step(step: LogStep): void {
    switch (step.kind) {
      case 'open':
        this.#open(step.pool);
        break;
      case 'close':
        if (!this.#opened.delete(step.incarnation)) break;
        this.#closed.add(step.incarnation);
        this.#incoming.invalidate(step.body);
        break;
      case 'pages':
        if (!this.#closed.has(step.incarnation)) this.#incoming.loadPages(step.body);
        break;
      case 'invalidate':
        if (!this.#closed.has(step.incarnation)) this.#incoming.invalidate(step.body);
        break;
    }
  }
}
