/**
 * A disk for v86's IDE controller whose content is ours: pages in a store that may answer at once or later, so that it
 * can be memory, a file, or tmem (a swap disk). v86 takes such an object as `hda`, `hdb` and so on.
 *
 * What v86 calls is `AsyncXHRBuffer`'s interface (v86 0.5.66 to 0.5.462, src/buffer.js). It has no way to report a
 * failed request: the guest would wait for ever, so a failure goes to `onFailure`, and whoever made the disk must act.
 */

import { TransmigrateError } from '../../../src/errors.ts';
import { PAGE } from '../../../src/machine/v86/boot/plan.ts';

/** Pages by number. What was never written reads as zeros. */
export interface PageStore {
  /** Copies a page into `into`, which has a page's length. */
  read(page: number, into: Uint8Array): void | Promise<void>;
  /** Takes a copy of `content`, which has a page's length. */
  write(page: number, content: Uint8Array): void | Promise<void>;
}

export interface DiskOptions {
  /** A multiple of 4,096. */
  readonly byteLength: number;
  readonly store: PageStore;
  /** Told of a request that the store could not do. Its completion never comes. */
  readonly onFailure: (error: unknown) => void;
}

/** What v86 stores for the disk: no content, only what it takes to see that it is the same disk. */
export type DiskState = readonly [byteLength: number];

const SECTOR = 512;

export class DiskBuffer {
  readonly byteLength: number;
  /** Set by v86, called once the disk can be used. */
  onload: ((event: object) => void) | undefined = undefined;
  readonly #store: PageStore;
  readonly #onFailure: (error: unknown) => void;
  readonly #page = new Uint8Array(PAGE);
  /** The last request that has not been done; the next one follows it. */
  #last: Promise<void> | undefined = undefined;
  /** Requests that are waited for: `#last` and those before it. */
  #inFlight = 0;

  constructor({ byteLength, store, onFailure }: DiskOptions) {
    if (!Number.isSafeInteger(byteLength) || byteLength <= 0 || byteLength % PAGE !== 0) {
      throw new TransmigrateError('USAGE', `A disk can't have ${byteLength} bytes`, {
        data: { byteLength },
        next: 'Give a multiple of 4,096 bytes.',
      });
    }
    this.byteLength = byteLength;
    this.#store = store;
    this.#onFailure = onFailure;
  }

  /** Resolves when no request is in flight: before a guest is paused to be saved, they must be done. */
  async drained(): Promise<void> {
    while (this.#last !== undefined) await this.#last;
  }

  // What v86 calls.

  load(): void {
    this.onload?.({});
  }

  /** The bytes handed to `done` belong to v86. */
  get(start: number, byteLength: number, done: (bytes: Uint8Array) => void): void {
    this.#check(start, byteLength);
    const bytes = new Uint8Array(byteLength);
    this.#perform(
      () => this.#each(start, byteLength, (page, offset, at, length) => this.#read(page, offset, bytes, at, length)),
      () => done(bytes),
    );
  }

  /** `bytes` may be used again by v86 when this returns. */
  set(start: number, bytes: Uint8Array, done: () => void): void {
    this.#check(start, bytes.length);
    const content = bytes.slice();
    this.#perform(
      () =>
        this.#each(start, content.length, (page, offset, at, length) => this.#write(page, offset, content, at, length)),
      done,
    );
  }

  /** v86 asks for what it can have at once, and otherwise calls `get`: which is as quick. */
  get_from_cache(_start: number, _byteLength: number): undefined {
    return undefined;
  }

  get_and_cache(start: number, byteLength: number, done: (bytes: Uint8Array) => void): void {
    this.get(start, byteLength, done);
  }

  /** v86 offers disks for download; this one is not held as one buffer. */
  get_buffer(done: (buffer?: ArrayBuffer) => void): void {
    done();
  }

  get_state(): DiskState {
    return [this.byteLength];
  }

  /** Throws FIELD_VALUE where the state is that of a disk of another size. */
  set_state(state: DiskState): void {
    if (state[0] !== this.byteLength) {
      throw new TransmigrateError('FIELD_VALUE', `The state is that of a disk of ${state[0]} bytes`, {
        data: { found: state[0], expected: this.byteLength },
        next: 'Restore it with a disk of the same size.',
      });
    }
  }

  #check(start: number, byteLength: number): void {
    // v86 checks what the guest asks for; a request outside would be a defect of one of us.
    if (start < 0 || byteLength < 0 || start + byteLength > this.byteLength || start % SECTOR !== 0) {
      throw new TransmigrateError('INTERNAL', `A disk request at ${start} of ${byteLength} bytes is outside`);
    }
  }

  /** One request after the other, in the order they came; at once where nothing has to be waited for. */
  #perform(work: () => void | Promise<void>, done: () => void): void {
    if (this.#last !== undefined) {
      this.#follow(this.#last.then(work), done);
      return;
    }
    let pending: void | Promise<void>;
    try {
      pending = work();
    } catch (error) {
      this.#onFailure(error);
      return;
    }
    if (pending === undefined) done();
    else this.#follow(pending, done);
  }

  #follow(pending: Promise<void>, done: () => void): void {
    this.#inFlight++;
    this.#last = this.#finish(pending, done);
  }

  async #finish(pending: Promise<void>, done: () => void): Promise<void> {
    try {
      await pending;
    } catch (error) {
      this.#onFailure(error);
      return;
    } finally {
      // What `done` asks for next may be done at once.
      if (--this.#inFlight === 0) this.#last = undefined;
    }
    done();
  }

  /** Splits a range into pages. Goes on synchronously as long as the store does. */
  #each(
    start: number,
    byteLength: number,
    step: (page: number, offset: number, at: number, length: number) => void | Promise<void>,
    from = 0,
  ): void | Promise<void> {
    let at = from;
    while (at < byteLength) {
      const offset = (start + at) % PAGE;
      const length = Math.min(PAGE - offset, byteLength - at);
      const pending = step(Math.floor((start + at) / PAGE), offset, at, length);
      at += length;
      if (pending !== undefined) {
        const next = at;
        return pending.then(() => this.#each(start, byteLength, step, next));
      }
    }
    return undefined;
  }

  #read(page: number, offset: number, into: Uint8Array, at: number, length: number): void | Promise<void> {
    if (length === PAGE) return this.#store.read(page, into.subarray(at, at + PAGE));
    return after(this.#store.read(page, this.#page), () => {
      into.set(this.#page.subarray(offset, offset + length), at);
    });
  }

  #write(page: number, offset: number, from: Uint8Array, at: number, length: number): void | Promise<void> {
    if (length === PAGE) return this.#store.write(page, from.subarray(at, at + PAGE));
    return after(this.#store.read(page, this.#page), () => {
      this.#page.set(from.subarray(at, at + length), offset);
      return this.#store.write(page, this.#page);
    });
  }
}

function after(pending: void | Promise<void>, then: () => void | Promise<void>): void | Promise<void> {
  return pending === undefined ? then() : pending.then(then);
}

const CHUNK_PAGES = 256;

/** A store in memory, which takes as much as was written, in pieces of 1 MiB. */
export class MemoryPages implements PageStore {
  readonly #chunks = new Map<number, Uint8Array>();

  /** @param content what it holds at first, from page 0 on; copied. */
  constructor(content: Uint8Array = new Uint8Array()) {
    for (let at = 0; at < content.length; at += PAGE) {
      const page = new Uint8Array(PAGE);
      page.set(content.subarray(at, at + PAGE));
      if (page.some((byte) => byte !== 0)) this.write(at / PAGE, page);
    }
  }

  /** Bytes that it takes. */
  get heldBytes(): number {
    return this.#chunks.size * CHUNK_PAGES * PAGE;
  }

  read(page: number, into: Uint8Array): void {
    const chunk = this.#chunks.get(Math.floor(page / CHUNK_PAGES));
    const at = (page % CHUNK_PAGES) * PAGE;
    if (chunk === undefined) into.fill(0);
    else into.set(chunk.subarray(at, at + PAGE));
  }

  write(page: number, content: Uint8Array): void {
    const number = Math.floor(page / CHUNK_PAGES);
    let chunk = this.#chunks.get(number);
    if (chunk === undefined) {
      chunk = new Uint8Array(CHUNK_PAGES * PAGE);
      this.#chunks.set(number, chunk);
    }
    chunk.set(content, (page % CHUNK_PAGES) * PAGE);
  }
}
