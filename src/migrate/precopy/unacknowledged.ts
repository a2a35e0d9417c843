/**
 * What was sent above the seals that the destination has acknowledged (M2, T4): protocol 6.2. No content, but which
 * pages, a bit each, and up to which step of the tmem log and of each state of one's own; after a cut these are sent
 * again.
 */
import { TransmigrateError } from '../../errors.ts';

/** The newest step of each kind of state that has any. */
type Steps = ReadonlyMap<string, number>;

interface Sealed {
  readonly seal: number;
  readonly chain: string;
  readonly pages: Uint8Array;
  readonly steps: Steps;
}

/** One channel's. */
export class Unacknowledged {
  readonly #pages: number;
  readonly #most: number;
  readonly #sealed: Sealed[] = [];
  /** Bitmaps with no bit set. */
  readonly #spare: Uint8Array[] = [];
  #open: Uint8Array;
  #steps: Steps = new Map();
  #held: Steps = new Map();
  /** The newest seal that was acknowledged on this connection, and its chain. */
  #last: { readonly seal: number; readonly chain: string } | undefined;

  /**
   * @param pages of the guest's memory.
   * @param most seals that may be unacknowledged.
   */
  constructor(pages: number, most: number) {
    this.#pages = pages;
    this.#most = most;
    this.#open = new Uint8Array(Math.ceil(pages / 8));
  }

  /** Whether another seal may be written: flow control (stream 5.5). */
  get maySeal(): boolean {
    return this.#sealed.length < this.#most;
  }

  get waiting(): number {
    return this.#sealed.length;
  }

  /** Pages were sent, zero ones too. */
  sent(first: number, count: number): void {
    for (let page = first; page < first + count; page++) this.#open[page >> 3] |= 1 << (page & 7);
  }

  /** A step of a kind of state was sent. */
  sentStep(state: string, step: number): void {
    const before = this.#steps.get(state) ?? 0;
    if (step > before) this.#steps = new Map([...this.#steps, [state, step]]);
  }

  /** The step up to which the destination has applied a kind of state. */
  heldStep(state: string): number {
    return this.#held.get(state) ?? 0;
  }

  /** A SEAL was written behind all of it. */
  sealed(seal: number, chain: string): void {
    if (!this.maySeal) throw new RangeError('more seals than may be unacknowledged');
    this.#sealed.push({ seal, chain, pages: this.#open, steps: this.#steps });
    this.#open = this.#spare.pop() ?? new Uint8Array(Math.ceil(this.#pages / 8));
  }

  /**
   * The destination has applied everything up to a seal.
   * @throws CHAIN_VECTOR when its chain is another one; RECORD_ORDER for a seal that was not written or is done.
   */
  acknowledge(seal: number, chain: string): void {
    const at = this.#sealed.findIndex((each) => each.seal === seal);
    if (at === -1) {
      const what = `Seal ${seal} was acknowledged, which is not waiting for that`;
      throw new TransmigrateError('RECORD_ORDER', what, { section: 'stream 6.6', data: { seal } });
    }
    if (this.#sealed[at].chain !== chain) {
      throw new TransmigrateError('CHAIN_VECTOR', `The destination has another chain at seal ${seal}`, {
        section: 'stream 6.6',
        data: { seal, expected: this.#sealed[at].chain, found: chain },
      });
    }
    this.#held = this.#sealed[at].steps;
    this.#last = { seal, chain };
    for (const { pages } of this.#sealed.splice(0, at + 1)) {
      pages.fill(0);
      this.#spare.push(pages);
    }
  }

  /**
   * The destination says after a cut what it holds of the connection; 0 is nothing. It may be more than it could
   * acknowledge, and never less.
   * @throws as {@link acknowledge}
   */
  holds(seal: number, chain: string): void {
    const acknowledged = this.#last?.seal ?? 0;
    if (seal > acknowledged) this.acknowledge(seal, chain);
    else if (seal < acknowledged || (seal > 0 && chain !== this.#last?.chain)) {
      const what = `The destination acknowledged seal ${acknowledged}, and now holds ${seal}`;
      throw new TransmigrateError('CHAIN_VECTOR', what, { section: 'protocol 6.5', data: { acknowledged, seal } });
    }
  }

  /**
   * The connection was cut, and nothing more was acknowledged: gives the pages that must be sent again, rising, and
   * begins anew.
   */
  lost(): Uint32Array {
    const all = [...this.#sealed.splice(0).map(({ pages }) => pages), this.#open];
    const merged = this.#spare.pop() ?? new Uint8Array(this.#open.byteLength);
    let count = 0;
    for (let byte = 0; byte < merged.byteLength; byte++) {
      for (const pages of all) merged[byte] |= pages[byte];
      for (let bits = merged[byte]; bits !== 0; bits &= bits - 1) count++;
    }
    const lost = new Uint32Array(count);
    let at = 0;
    for (let page = 0; page < this.#pages; page++) {
      if ((merged[page >> 3] & (1 << (page & 7))) !== 0) lost[at++] = page;
    }
    merged.fill(0);
    this.#spare.push(merged);
    for (const pages of all) pages.fill(0);
    this.#open = all.pop()!;
    this.#spare.push(...all);
    this.#steps = this.#held;
    this.#last = undefined;
    return lost;
  }
}
