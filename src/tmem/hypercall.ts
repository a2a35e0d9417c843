/**
 * The tmem hypercall (spec/hypercall.md): one descriptor of 64 bytes is carried out for a client. Guests are hostile:
 * whatever stands in a descriptor, the answer is a number.
 */
import { HANDLE_HALVES, PAGE_BYTES, RESULT } from './constants.ts';
import { DESCRIPTOR as AT, DESCRIPTOR_BYTES, OPERATION } from './descriptor.ts';
import type { TmemEngine } from './engine.ts';

/** Result for a number of a pool that no client has: slots are below 16, and this is read as no slot. */
const NO_SLOT = -1;

/** Carries out descriptors for the clients of one engine. One for a host will do: it keeps nothing between calls. */
export class TmemHypercall {
  readonly #engine: TmemEngine;
  readonly #handle = new Uint32Array(HANDLE_HALVES);

  constructor(engine: TmemEngine) {
    this.#engine = engine;
  }

  /**
   * Whether a descriptor's operation reads or writes a page: then the caller finds `pageAddress` in guest memory first.
   * False for a descriptor of another length.
   */
  needsPage(descriptor: Uint8Array): boolean {
    if (descriptor.length !== DESCRIPTOR_BYTES) return false;
    const operation = halfAt(descriptor, AT.operation);
    return operation === OPERATION.put || operation === OPERATION.get;
  }

  /**
   * The guest-physical address of the page, or -1 when it is not aligned to a page or above 2^52. Whether there is
   * memory at it is for the caller to find out.
   */
  pageAddress(descriptor: Uint8Array): number {
    const low = halfAt(descriptor, AT.page);
    const high = halfAt(descriptor, AT.page + 4);
    if (low % PAGE_BYTES !== 0 || high >= 2 ** 20) return -1;
    return high * 2 ** 32 + low;
  }

  /**
   * Carries out a descriptor and answers its result (hypercall 4), which is also written at offset 8; after a get from
   * a PRECOMPRESSED pool the length is written at offset 44. The status is left alone: the caller writes it last.
   *
   * @param page the 4096 bytes of guest memory at the page's address: read by a put, filled by a get that finds the
   * page, and otherwise untouched. Undefined where the guest has no such memory: badAddress. Never kept.
   */
  execute(client: number, descriptor: Uint8Array, page: Uint8Array | undefined): number {
    if (descriptor.length !== DESCRIPTOR_BYTES) return RESULT.badAddress;
    const result = this.#perform(client, descriptor, page);
    for (let byte = 0; byte < 4; byte++) descriptor[AT.result + byte] = (result >> (8 * byte)) & 0xff;
    return result;
  }

  #perform(client: number, descriptor: Uint8Array, page: Uint8Array | undefined): number {
    const operation = halfAt(descriptor, AT.operation);
    if (!(operation >= OPERATION.newPool && operation <= OPERATION.flushObject)) return RESULT.invalid;
    const length = halfAt(descriptor, AT.length);
    if (halfAt(descriptor, AT.reserved) !== 0 || halfAt(descriptor, AT.reserved + 4) !== 0) return RESULT.invalid;
    if (length !== 0 && operation !== OPERATION.put && operation !== OPERATION.get) return RESULT.invalid;
    const pool = halfAt(descriptor, AT.pool);
    const engine = this.#engine;
    if (operation === OPERATION.newPool) {
      for (let at = AT.object + 16; at < AT.index + 4; at++) if (descriptor[at] !== 0) return RESULT.invalid;
      return engine.newPool(client, pool, descriptor.subarray(AT.object, AT.object + 16));
    }
    const slot = pool < 16 ? pool : NO_SLOT;
    for (let half = 0; half < HANDLE_HALVES; half++) this.#handle[half] = halfAt(descriptor, AT.object + 4 * half);
    switch (operation) {
      case OPERATION.destroyPool:
        return engine.destroyPool(client, slot);
      case OPERATION.put:
        return this.#put(client, slot, length, page);
      case OPERATION.get:
        return this.#get(client, slot, descriptor, page);
      case OPERATION.flushPage:
        return engine.flushPage(client, slot, this.#handle);
      default:
        return engine.flushObject(client, slot, this.#handle);
    }
  }

  #put(client: number, slot: number, length: number, page: Uint8Array | undefined): number {
    const engine = this.#engine;
    if (page?.length !== PAGE_BYTES) return engine.putUnreadable(client, slot, this.#handle);
    if (engine.isPrecompressed(client, slot)) return engine.put(client, slot, this.#handle, page, length);
    // Where no length belongs, the field is reserved; what was there must still not be read again.
    if (length !== 0) return engine.putUnreadable(client, slot, this.#handle, RESULT.invalid);
    return engine.put(client, slot, this.#handle, page);
  }

  #get(client: number, slot: number, descriptor: Uint8Array, page: Uint8Array | undefined): number {
    const engine = this.#engine;
    // An exclusive get would lose the page that it can't deliver.
    if (page?.length !== PAGE_BYTES) return RESULT.badAddress;
    const result = engine.get(client, slot, this.#handle, page);
    if (result === RESULT.done && engine.isPrecompressed(client, slot)) {
      for (let byte = 0; byte < 4; byte++) descriptor[AT.length + byte] = (engine.gotBytes >> (8 * byte)) & 0xff;
    }
    return result;
  }
}

/** A little-endian u32; without a view, because a descriptor is a few bytes somewhere in guest memory. */
function halfAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}
