/** What drivers ask tmem for by themselves, with descriptors of the hypercall (spec/hypercall.md). */
import { DESCRIPTOR, DESCRIPTOR_BYTES, OPERATION } from '../tmem/descriptor.ts';
import type { TmemService } from './machine.ts';

export const TMEM_PAGE_BYTES = 4096;

/** Results (hypercall 4). */
export const TMEM_RESULT = { done: 1, notThere: 0, badAddress: -14, noPool: -19, invalid: -22 } as const;

/** A persistent pool, version 1 of the interface (stream 10.2). */
const PERSISTENT_POOL = 0x0100_0001;

/** Asks a service for pages of one pool and object, without a guest's descriptor. */
export class TmemClient {
  readonly #service: TmemService;
  readonly #descriptor = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #view = new DataView(this.#descriptor.buffer);
  readonly #page = new Uint8Array(TMEM_PAGE_BYTES);

  constructor(service: TmemService) {
    this.#service = service;
  }

  /** Makes a persistent pool. Its id, or a negative result. */
  newPool(): number {
    return this.#ask(OPERATION.newPool, PERSISTENT_POOL, 0);
  }

  /** Stores a copy of a page. @returns the result of the hypercall. */
  put(pool: number, index: number, page: Uint8Array): number {
    this.#page.set(page);
    return this.#ask(OPERATION.put, pool, index);
  }

  /** The page, valid until the next request; or null. */
  get(pool: number, index: number): Uint8Array | null {
    return this.#ask(OPERATION.get, pool, index) === TMEM_RESULT.done ? this.#page : null;
  }

  flush(pool: number, index: number): number {
    return this.#ask(OPERATION.flushPage, pool, index);
  }

  #ask(operation: number, pool: number, index: number): number {
    this.#descriptor.fill(0);
    this.#view.setUint32(DESCRIPTOR.operation, operation, true);
    this.#view.setUint32(DESCRIPTOR.pool, pool, true);
    this.#view.setUint32(DESCRIPTOR.index, index, true);
    return this.#service(this.#descriptor, this.#page);
  }
}
