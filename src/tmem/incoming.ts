/**
 * Restoring a client (T5 to T7): its pools and pages are loaded from a stream, which is not trusted, and nobody sees it
 * until it is told to run. Until then everything can be taken back.
 */
import { CODEC, isCodec } from '../codec/codec.ts';
import { fromUuid, toHex } from '../bytes/hex.ts';
import { TransmigrateError, type ErrorCode } from '../errors.ts';
import { authoriseUuid, type Client, type Pool } from './clients.ts';
import { HANDLE_HALVES, PAGE_BYTES, POOL_VERSION, RESULT, TMEM_LIMITS } from './constants.ts';
import type { ClientSettings, TmemEngine } from './engine.ts';
import {
  BATCH_HEAD_BYTES,
  ENTRY_LIMITS,
  INVALIDATE_ENTRY_BYTES,
  INVALIDATE_SCOPE,
  PAGE_ENTRY_BYTES,
} from './page-batch.ts';
import { OBJECT } from './page-table.ts';
import { copyBytes } from './platform.ts';
import { decideTmem, type TmemDecision, type TmemPolicy } from './policy.ts';
import type { ClientImage } from './snapshot.ts';

/** A pool to make (stream 10.2). */
export interface IncomingPool {
  readonly incarnation: number;
  readonly slot: number;
  readonly flags: number;
  /** Of a shared pool. */
  readonly uuid: string;
}

/** A client that is being restored. */
export class IncomingTmem {
  readonly #engine: TmemEngine;
  readonly #client: Client;
  readonly #pools = new Map<number, Pool>();
  readonly #handle = new Uint32Array(HANDLE_HALVES);
  readonly #page = new Uint8Array(PAGE_BYTES);
  #state: 'loading' | 'running' | 'gone' = 'loading';
  /** Pages that were loaded. */
  loaded = 0;
  /** What was made of the stream's requests, when the client was admitted under a policy. */
  decisions: readonly TmemDecision[] = [];

  /**
   * Begins with settings that are granted already; `admit` has a policy decide on them first.
   * @throws TMEM_CLIENT_EXISTS, or TMEM_NO_MEMORY when there are too many clients; USAGE for settings out of range.
   */
  constructor(
    engine: TmemEngine,
    clientId: number,
    granted: Partial<ClientSettings>,
    authorised: readonly string[] = [],
  ) {
    this.#engine = engine;
    if (engine.clients.has(clientId)) throw exists(clientId);
    const client = engine.makeClient(clientId, true);
    if (client === undefined) {
      throw new TransmigrateError('TMEM_NO_MEMORY', 'No further tmem client can be made.', {
        data: { limit: TMEM_LIMITS.clients },
      });
    }
    this.#client = client;
    try {
      engine.apply(client, granted);
      for (const uuid of authorised.slice(0, TMEM_LIMITS.authorised))
        authoriseUuid(client, toHex(fromUuid(uuid)), true);
    } catch (error) {
      this.rollback();
      throw error;
    }
  }

  /**
   * Begins with what a stream asks for, as far as the destination's policy grants it (T6); `decisions` says how far.
   * @throws TMEM_CLIENT_EXISTS, TMEM_NO_MEMORY, as the constructor does.
   */
  static admit(engine: TmemEngine, clientId: number, asked: ClientImage, policy: TmemPolicy = {}): IncomingTmem {
    const { settings, authorised, decisions } = decideTmem(asked, policy, engine.standard);
    const incoming = new IncomingTmem(engine, clientId, settings, authorised);
    incoming.decisions = decisions;
    return incoming;
  }

  /**
   * Makes a pool in its slot.
   * @throws TMEM_POOL_REFUSED (data: slot, reason) when the slot or the uuid is taken, or the kind not supported;
   * DUPLICATE for an incarnation that was used.
   */
  openPool({ incarnation, slot, flags, uuid }: IncomingPool): void {
    this.#loading();
    if (this.#pools.has(incarnation)) {
      throw new TransmigrateError('DUPLICATE', `Pool incarnation ${incarnation} comes again.`, {
        data: { incarnation },
      });
    }
    const refuse = (reason: string): TransmigrateError =>
      new TransmigrateError('TMEM_POOL_REFUSED', `tmem pool ${slot} can't be restored: ${reason}.`, {
        data: { slot, flags, reason },
      });
    const wanted = slot >= 0 && slot < TMEM_LIMITS.poolsOfClient;
    if (!wanted || this.#client.pools[slot] !== undefined) throw refuse('its slot is taken or does not exist');
    if (flags >>> 24 !== POOL_VERSION || (flags & 0x00ff_ff08) !== 0) throw refuse('its flags are unknown');
    if ((flags & 0xf0) !== 0) throw refuse(`its pages are not ${PAGE_BYTES} bytes`);
    const shared = (flags & 2) !== 0;
    const name = fromUuid(uuid);
    if (shared && this.#taken(toHex(name))) throw refuse('a shared pool with its uuid is here already');
    if (shared && !this.#engine.hasSharedSlots(this.#sharedPools() + 1))
      throw refuse('there are too many shared pools');
    if (this.#engine.newPoolAt(this.#client, slot, flags, name) !== slot) throw refuse('no such pool may be made');
    const pool = this.#client.pools[slot]!;
    if (pool.shared !== shared) {
      this.#engine.closePool(this.#client, slot);
      throw refuse('its uuid is not authorised');
    }
    this.#pools.set(incarnation, pool);
  }

  /**
   * Loads the pages of a TMEM_PAGES body (stream 10.3); applying it twice changes nothing (T4). A page over one that is
   * there replaces it.
   *
   * Nothing in the body is trusted: every length is checked, and stored bytes are decoded, bounded by the page, before
   * they are kept. On an error the pages before the faulty one stay; the caller rolls back.
   * @throws LENGTH_MISMATCH, FIELD_VALUE, LIMIT_EXCEEDED, UNSUPPORTED_CODEC, CODEC_DATA, TMEM_UNKNOWN_POOL;
   * TMEM_NO_MEMORY when the host's limit or the client's allowance is reached.
   */
  loadPages(body: Uint8Array): void {
    this.#loading();
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const pool = this.#poolOf(view);
    const count = view.getUint32(8, true);
    if (count === 0) throw fault('FIELD_VALUE', 'A batch without pages.');
    if (count > ENTRY_LIMITS.pages) throw fault('LIMIT_EXCEEDED', `A batch of ${count} pages.`);
    let stored = BATCH_HEAD_BYTES + count * PAGE_ENTRY_BYTES;
    if (stored > body.byteLength) throw fault('LENGTH_MISMATCH', `${count} pages in ${body.byteLength} bytes.`);
    for (let page = 0; page < count; page++) {
      stored += this.#load(view, BATCH_HEAD_BYTES + page * PAGE_ENTRY_BYTES, body, stored, pool);
    }
    if (stored !== body.byteLength) {
      throw fault('LENGTH_MISMATCH', `${body.byteLength - stored} bytes stand after the last page of a batch.`);
    }
  }

  /** Applies a TMEM_INVALIDATE body (stream 10.4). Handles that are not held are ignored. Errors as of loadPages. */
  invalidate(body: Uint8Array): void {
    this.#loading();
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const pool = this.#poolOf(view);
    const scope = view.getUint32(8, true);
    const count = view.getUint32(12, true);
    if (!(scope >= 1 && scope <= 3)) throw fault('FIELD_VALUE', `Scope ${scope} does not exist.`);
    if ((count === 0) !== (scope === INVALIDATE_SCOPE.pool))
      throw fault('FIELD_VALUE', `${count} entries, scope ${scope}.`);
    if (count > ENTRY_LIMITS.invalidates) throw fault('LIMIT_EXCEEDED', `${count} invalidations in one record.`);
    if (body.byteLength !== BATCH_HEAD_BYTES + count * INVALIDATE_ENTRY_BYTES) {
      throw fault('LENGTH_MISMATCH', `${count} invalidations in ${body.byteLength} bytes.`);
    }
    if (scope === INVALIDATE_SCOPE.pool) {
      this.#pools.delete(incarnationOf(view));
      this.#engine.closePool(this.#client, this.#client.slotOf(pool));
      return;
    }
    const { holdings } = this.#engine;
    for (let entry = 0; entry < count; entry++) {
      this.#readHandle(view, BATCH_HEAD_BYTES + entry * INVALIDATE_ENTRY_BYTES);
      if (scope === INVALIDATE_SCOPE.pages) {
        const page = holdings.table.find(pool.number, this.#handle);
        if (page !== 0) holdings.remove(page, pool);
      } else {
        const object = holdings.table.findObject(pool.number, this.#handle);
        if (object !== 0) this.#engine.removeObject(object, pool);
      }
    }
  }

  /**
   * The client runs: from here on guests' operations find it, and its ephemeral pages can be evicted.
   * @throws TMEM_CLIENT_EXISTS or TMEM_POOL_REFUSED when its number or a uuid was taken meanwhile: it stays as it was.
   */
  run(): void {
    this.#loading();
    const client = this.#client;
    if (this.#engine.clients.has(client.id)) throw exists(client.id);
    for (const [slot, pool] of client.pools.entries()) {
      if (pool?.shared === true && this.#engine.sharedPool(pool.name) !== undefined) {
        const reason = 'a shared pool with its uuid was made meanwhile';
        throw new TransmigrateError('TMEM_POOL_REFUSED', `tmem pool ${slot} can't be restored: ${reason}.`, {
          data: { slot, flags: pool.flags, reason },
        });
      }
    }
    this.#engine.adopt(client);
    this.#state = 'running';
  }

  /** Removes everything that was loaded. Nothing once it runs. */
  rollback(): void {
    if (this.#state !== 'loading') return;
    this.#state = 'gone';
    this.#engine.forget(this.#client);
  }

  #loading(): void {
    if (this.#state !== 'loading') throw exists(this.#client.id);
  }

  #taken(name: string): boolean {
    return (
      this.#engine.sharedPool(name) !== undefined ||
      this.#client.pools.some((pool) => pool?.shared === true && pool.name === name)
    );
  }

  #sharedPools(): number {
    return this.#client.pools.filter((pool) => pool?.shared === true).length;
  }

  #poolOf(view: DataView): Pool {
    if (view.byteLength < BATCH_HEAD_BYTES) throw fault('LENGTH_MISMATCH', 'A batch of tmem pages without a head.');
    const incarnation = incarnationOf(view);
    const pool = this.#pools.get(incarnation);
    if (pool === undefined) {
      throw new TransmigrateError('TMEM_UNKNOWN_POOL', `No tmem pool has the incarnation ${incarnation}.`, {
        data: { incarnation },
      });
    }
    return pool;
  }

  #readHandle(view: DataView, at: number): void {
    for (let half = 0; half < HANDLE_HALVES; half++) this.#handle[half] = view.getUint32(at + 4 * half, true);
  }

  /** Loads one page. @returns the bytes that are stored of it. */
  #load(view: DataView, entry: number, body: Uint8Array, at: number, pool: Pool): number {
    this.#readHandle(view, entry);
    const original = view.getUint32(entry + 28, true);
    const stored = view.getUint32(entry + 32, true);
    const codec = view.getUint8(entry + 36);
    if (!isCodec(codec)) throw fault('UNSUPPORTED_CODEC', `Codec ${codec} of a tmem page is unknown.`, { codec });
    if ((codec === CODEC.opaque) !== pool.precompressed) {
      throw fault('FIELD_VALUE', `A tmem page in codec ${codec} has no place in its pool.`, { codec });
    }
    const fits =
      codec === CODEC.zero
        ? original === 0 && stored === 0
        : codec === CODEC.raw || codec === CODEC.opaque
          ? stored === original && stored >= 1 && stored <= PAGE_BYTES
          : stored >= 1 && stored < original && original <= PAGE_BYTES;
    if (!fits)
      throw fault('LENGTH_MISMATCH', `${stored} stored bytes can't be ${original} bytes.`, { codec, stored, original });
    if (at + stored > body.byteLength)
      throw fault('LENGTH_MISMATCH', 'The stored bytes of a page go beyond the batch.');
    const { former } = this.#engine.holdings;
    if (codec === CODEC.zero || codec === CODEC.raw || codec === CODEC.opaque) {
      former.adopt(codec, original, stored, body, at);
    } else {
      // Decoders read a whole array: the former has one of each length.
      const room = former.room(stored);
      copyBytes(body, at, room, 0, stored);
      former.decode(codec, original, stored, this.#page);
      former.adopt(codec, original, stored, room, 0);
    }
    const result = this.#engine.restorePage(pool, this.#handle);
    if (result !== RESULT.done) {
      throw fault('TMEM_NO_MEMORY', `No room for a page of tmem client ${this.#client.id}.`, {
        client: this.#client.id,
        loaded: this.loaded,
        limitBytes: this.#engine.limitBytes,
        allowance: this.#client.allowance,
      });
    }
    if (pool.shared) {
      const { table } = this.#engine.holdings;
      table.objects.set(table.findObject(pool.number, this.#handle), OBJECT.lastClient, this.#client.id);
    }
    this.loaded++;
    return stored;
  }
}

function incarnationOf(view: DataView): number {
  return view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
}

function fault(code: ErrorCode, what: string, data: Record<string, unknown> = {}): TransmigrateError {
  return new TransmigrateError(code, what, { data });
}

function exists(client: number): TransmigrateError {
  const what = `tmem client ${client} is there already.`;
  return new TransmigrateError('TMEM_CLIENT_EXISTS', what, { data: { client } });
}
