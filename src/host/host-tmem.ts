import { fromUuid } from '../bytes/hex.ts';
import { CODEC, type CodecId, type CodecName } from '../codec/codec.ts';
import { TransmigrateError } from '../errors.ts';
import type { TmemService } from '../machine/machine.ts';
import type { TmemCapability } from '../migrate/negotiate/judge.ts';
import { LiveTmem } from '../migrate/section/live-tmem.ts';
import { TmemLoader, TmemWriter } from '../migrate/section/tmem.ts';
import type { TmemPin } from '../migrate/save/save.ts';
import { TmemEngine, type ClientSettings } from '../tmem/engine.ts';
import { PAGE_BYTES, TMEM_LIMITS } from '../tmem/constants.ts';
import { TmemLog } from '../tmem/log-reader.ts';
import { TmemHypercall } from '../tmem/hypercall.ts';
import { IncomingTmem } from '../tmem/incoming.ts';
import type { TmemDecision, TmemPolicy } from '../tmem/policy.ts';
import { TmemSnapshot } from '../tmem/snapshot.ts';
import { tmemStatistics, type ClientStatistics, type PoolStatistics, type TmemStatistics } from '../tmem/statistics.ts';
import type { HostInfo } from './api.ts';

/** The place of one guest in the host's tmem. */
export interface TmemSeat {
  /** Number of its client in the engine. */
  readonly client: number;
  /** Answers the guest's requests. */
  readonly service: TmemService;
  counts(): { readonly pools: number; readonly pages: number };
  /** Takes tmem records of an image. */
  loader(): TmemLoader;
  /** What was loaded belongs to the guest from now on, and is seen by others. @returns pages that are there */
  moveIn(): number;
  /** What became of an image's requests (T6). */
  decisions(): readonly TmemDecision[];
  /** What did not come along. */
  warnings(): readonly string[];
  /** Everything of the guest goes. */
  leave(): void;
}

/** The one tmem engine of a host (T1), or none. */
export class HostTmem {
  readonly #engine: TmemEngine | undefined;
  readonly #hypercall: TmemHypercall | undefined;
  readonly #policy: TmemPolicy;
  #clients = 0;

  /** @param limitBytes 0: tmem is off. @param seed 32 random bits. @param policy what images may ask for (T6). */
  constructor(limitBytes: number, seed: number, policy: TmemPolicy = {}) {
    this.#policy = policy;
    if (limitBytes === 0) return;
    this.#engine = new TmemEngine({ limitBytes, seed, client: { compress: true } });
    this.#hypercall = new TmemHypercall(this.#engine);
  }

  /** Everything about the engine; undefined when tmem is off. */
  statistics(): TmemStatistics | undefined {
    return this.#engine === undefined ? undefined : tmemStatistics(this.#engine);
  }

  info(): HostInfo['tmem'] {
    if (this.#engine === undefined) return null;
    const { limitBytes, chargedBytes, pages } = tmemStatistics(this.#engine);
    return { limitBytes, usedBytes: chargedBytes, pages };
  }

  /** A place for a new guest. @throws TMEM_DISABLED */
  seat(): TmemSeat {
    const engine = this.#engine;
    const hypercall = this.#hypercall;
    if (engine === undefined || hypercall === undefined) {
      throw new TransmigrateError('TMEM_DISABLED', 'The guest needs tmem, and this host has none');
    }
    const client = ++this.#clients;
    let loader: TmemLoader | undefined;
    const counts: TmemSeat['counts'] = () => {
      const counted = tmemStatistics(engine).clients.find((each) => each.client === client);
      if (counted === undefined) return { pools: 0, pages: 0 };
      return { pools: counted.pools.length, pages: counted.ephemeralPages + counted.persistentPages };
    };
    return {
      client,
      service: (descriptor, page) => hypercall.execute(client, descriptor, page),
      counts,
      loader: () =>
        (loader = new TmemLoader(({ compress, frozen, weight, cap, allowancePages, authorised }) => {
          const allowance = Number(allowancePages);
          const asked = { compress, frozen, weight, cap, allowance, authorised: [...authorised] };
          return IncomingTmem.admit(engine, client, asked, this.#policy);
        })),
      moveIn: () => {
        loader?.incoming?.run();
        return counts().pages;
      },
      decisions: () => loader?.incoming?.decisions ?? [],
      warnings: () => loader?.warnings ?? [],
      leave: () => {
        loader?.incoming?.rollback();
        engine.destroyClient(client);
      },
    };
  }

  /** Pins a guest's tmem as it is now (T2). @throws TMEM_NO_MEMORY, TMEM_READERS, TMEM_SHARED_POOL */
  pin(client: number | null): TmemPin | null {
    if (client === null || this.#engine?.settings(client) === undefined) return null;
    const snapshot = new TmemSnapshot(this.#engine, client, { ephemeral: true });
    const pages = snapshot.left;
    return { section: new TmemWriter(snapshot), pages, release: () => snapshot.close() };
  }

  /** What this host has for a guest that comes (N1). */
  capability(codecs: readonly string[]): TmemCapability {
    const statistics = this.statistics();
    const pageBytes = PAGE_BYTES;
    if (statistics === undefined) {
      return { enabled: false, freeBytes: 0, freeSlots: 0, pageBytes, codecs: [], uuids: [] };
    }
    const { limitBytes, chargedBytes, freeableBytes, clients } = statistics;
    const uuids = new Set(clients.flatMap(({ pools }) => pools.flatMap(({ uuid }) => uuid ?? [])));
    return {
      enabled: true,
      freeBytes: Math.max(0, limitBytes - chargedBytes + freeableBytes),
      freeSlots: TMEM_LIMITS.sharedPools - uuids.size,
      pageBytes,
      codecs: [...codecs],
      uuids: [...uuids],
    };
  }

  /** Everything about one guest's; null for a guest without tmem. One that has not used it yet is made known. */
  client(client: number | null): ClientStatistics | null {
    const engine = this.#engine;
    if (client === null || engine === undefined) return null;
    engine.addClient(client);
    return tmemStatistics(engine).clients.find((each) => each.client === client) ?? null;
  }

  /**
   * A guest's tmem, as it travels while the guest runs (T3).
   * @param codecs names of those that the receiver knows, asked when it begins: other pages travel raw (T5). Absent:
   * all.
   */
  live(client: number, codecs?: () => readonly string[]): LiveTmem {
    const engine = this.#mustBeOn();
    const known = (): CodecId[] | undefined =>
      codecs?.().flatMap((name) => (Object.hasOwn(CODEC, name) ? CODEC[name as CodecName] : []));
    return new LiveTmem(
      () => new TmemLog(engine, client, { ephemeral: true, codecs: known() }),
      () => {
        const pools = this.client(client)?.pools ?? [];
        const sum = (of: (pool: PoolStatistics) => number): number => pools.reduce((all, pool) => all + of(pool), 0);
        return { pages: sum(({ pages }) => pages), storedBytes: sum(({ storedBytes }) => storedBytes), needs: {} };
      },
    );
  }

  /** Changes settings of clients. @throws TMEM_DISABLED, USAGE */
  set(clients: readonly number[], settings: Partial<ClientSettings>): void {
    const engine = this.#mustBeOn();
    for (const client of clients) {
      // A guest that has not used it yet has its settings all the same.
      engine.addClient(client);
      engine.set(client, settings);
    }
  }

  /** @returns whether anything changed. @throws TMEM_DISABLED, and USAGE when a client has as many uuids as it can */
  authorise(client: number, uuid: string, authorised: boolean): boolean {
    const engine = this.#mustBeOn();
    engine.addClient(client);
    const result = engine.authorise(client, fromUuid(uuid), authorised);
    if (result < 0) throw new TransmigrateError('USAGE', 'A guest can be authorised for 16 uuids and no more');
    return result === 1;
  }

  /** Evicts ephemeral pages. @returns bytes that were freed. @throws TMEM_DISABLED */
  flush(bytes: number): number {
    return this.#mustBeOn().flushMemory(bytes);
  }

  #mustBeOn(): TmemEngine {
    if (this.#engine !== undefined) return this.#engine;
    throw new TransmigrateError('TMEM_DISABLED', 'This host has no tmem');
  }

  /** A guest is gone. */
  leave(client: number | null): void {
    if (client !== null) this.#engine?.destroyClient(client);
  }
}
