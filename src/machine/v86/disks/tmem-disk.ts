import { DISK_POLICY, type MachineDisk, type TmemService } from '../../machine.ts';
import { TMEM_PAGE_BYTES as PAGE, TMEM_RESULT, TmemClient } from '../../tmem-request.ts';
import { Disk } from './disk.ts';

const NO_POOL = -1;
const ZERO = Buffer.alloc(PAGE);

/**
 * A disk whose pages are in a persistent pool of tmem: what a guest swaps to. The device blob holds the number of the
 * pool alone. A page of zeros is not stored. v86's drives know no TRIM, so what the guest gave up stays until it is
 * written over.
 */
export class TmemDisk extends Disk {
  readonly #name: string;
  readonly #tmem: TmemClient;
  readonly #page = Buffer.alloc(PAGE);
  /** The pool is made at the first write, so that a machine that is restored into makes none. */
  #pool = NO_POOL;

  constructor(name: string, bytes: number, service: TmemService) {
    super(bytes);
    this.#name = name;
    this.#tmem = new TmemClient(service);
  }

  override describe(): MachineDisk {
    const { byteLength: bytes } = this;
    return { name: this.#name, policy: DISK_POLICY.tmem, readOnly: false, bytes, digest: null, location: '' };
  }

  protected override read(start: number, into: Uint8Array): boolean {
    for (let at = 0; at < into.byteLength;) {
      const { index, from, length } = piece(start + at, into.byteLength - at);
      const page = this.#pool === NO_POOL ? null : this.#tmem.get(this.#pool, index);
      // What is not there was never written, or was zero.
      if (page !== null) into.set(page.subarray(from, from + length), at);
      at += length;
    }
    return true;
  }

  protected override write(start: number, bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.byteLength;) {
      const { index, from, length } = piece(start + at, bytes.byteLength - at);
      if (length < PAGE) {
        const old = this.#pool === NO_POOL ? null : this.#tmem.get(this.#pool, index);
        this.#page.set(old ?? ZERO);
      }
      this.#page.set(bytes.subarray(at, at + length), from);
      if (!this.#store(index)) return false;
      at += length;
    }
    return true;
  }

  protected override state(): unknown[] {
    return [this.#pool];
  }

  protected override restore([pool]: readonly unknown[]): void {
    // The number comes out of an image; the engine knows which pools this client has.
    this.#pool = typeof pool === 'number' && Number.isInteger(pool) && pool >= 0 && pool < 2 ** 31 ? pool : NO_POOL;
  }

  #store(index: number): boolean {
    const isZero = this.#page.equals(ZERO);
    if (this.#pool === NO_POOL) {
      if (isZero) return true;
      const pool = this.#tmem.newPool();
      if (pool < 0) return false;
      this.#pool = pool;
    }
    if (isZero) return this.#tmem.flush(this.#pool, index) >= 0;
    return this.#tmem.put(this.#pool, index, this.#page) === TMEM_RESULT.done;
  }
}

/** The part of a page that begins at `at`, and is at most `most` long. */
function piece(at: number, most: number): { index: number; from: number; length: number } {
  const from = at % PAGE;
  return { index: (at - from) / PAGE, from, length: Math.min(PAGE - from, most) };
}
