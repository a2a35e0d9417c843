/**
 * The log reader (T3, T4): sends a client's pages while the guest goes on, and everything that becomes untrue of what
 * was sent, until source and destination are equal.
 *
 * Each page is unsent, in flight or held: its mark says that it is to be sent, and the number of the step that it was
 * sent in, compared with what the destination has acknowledged, says which of the other two it is. When a page goes
 * that some version of was sent, whatever the cause, an invalidation is queued; invalidations go before pages. So the
 * order in which the destination applies the steps of a channel leaves it with what the source had.
 *
 * Ephemeral pages go over the first channel, and a page that the destination does not have goes after all that are
 * older. A put over a page leaves its place in the order alone, here and there; so the destination evicts them in the
 * order in which the source would have.
 */
import { TransmigrateError } from '../errors.ts';
import type { Client, Pool, Watcher } from './clients.ts';
import { HANDLE_HALVES, TMEM_LIMITS } from './constants.ts';
import type { TmemEngine } from './engine.ts';
import { finish, mix } from './id-table.ts';
import { InvalidationQueue } from './invalidations.ts';
import { BATCH_HEAD_BYTES, INVALIDATE_SCOPE, PageBatch, writeHead } from './page-batch.ts';
import { FORGOTTEN, PageMarks } from './page-marks.ts';
import { OBJECT, PAGE } from './page-table.ts';
import { RecencyWalk } from './recency-walk.ts';
import {
  clientOf,
  countReader,
  imageOfClient,
  imageOfPool,
  sharedPool,
  travellingPools,
  type ClientImage,
  type PoolImage,
  type ReadOptions,
} from './snapshot.ts';

/** How a client's pages are sent. */
export interface LogOptions extends ReadOptions {
  /** Channels: 1 to 16, by default 1. All that concerns an object goes over one; ephemeral pages over the first. */
  readonly channels?: number;
}

/**
 * Something to send. Steps are numbered through all channels. `open` and `close` go over every channel, between
 * barriers (stream 14.1); the others over the channel that was asked. Bodies are the reader's, valid until its next
 * step.
 */
export type LogStep =
  | { readonly kind: 'open'; readonly step: number; readonly pool: PoolImage }
  /** The body of a TMEM_INVALIDATE record with scope pool. */
  | { readonly kind: 'close'; readonly step: number; readonly incarnation: number; readonly body: Uint8Array }
  /** The body of a TMEM_PAGES record. */
  | LogBatch<'pages'>
  /** The body of a TMEM_INVALIDATE record. */
  | LogBatch<'invalidate'>;

export interface LogBatch<K> {
  readonly kind: K;
  readonly step: number;
  readonly incarnation: number;
  readonly count: number;
  readonly body: Uint8Array;
}

/** A pool opened or closed: kept until every channel has acknowledged it. */
interface Meeting {
  readonly kind: 'open' | 'close';
  readonly pool: PoolImage;
  /** The step it was sent in; 0 for not yet, or not since the cut. */
  step: number;
  /** Whether it was ever sent: then the destination may know of it. */
  heard: boolean;
}

const LAST_STEP = 2 ** 32 - 1;

export class TmemLog implements Watcher {
  /** What travels beside pages, as it is now. */
  readonly #client: Client;
  readonly #engine: TmemEngine;
  readonly #ephemeral: boolean;
  readonly #channels: number;
  readonly #marks: PageMarks;
  readonly #queues: readonly InvalidationQueue[];
  readonly #acknowledged: number[];
  /** Where each channel's search for unsent pages goes on. */
  readonly #cursors: number[];
  readonly #batch: PageBatch;
  readonly #meetings: Meeting[] = [];
  /** Of each pool whose pages travel, by its number, the incarnation. */
  readonly #pages: (number | undefined)[] = [];
  /** Pools that were opened, by incarnation. */
  readonly #open = new Map<number, PoolImage>();
  readonly #handle = new Uint32Array(HANDLE_HALVES);
  readonly #walk: RecencyWalk;
  /** Ephemeral pages that are to be sent and never were. */
  #fresh = 0;
  /** After a cut: any page may be one that the destination does not have. */
  #again = false;
  readonly #lives = (incarnation: number): boolean => this.#open.has(incarnation);
  #step = 0;
  #refused: TransmigrateError | undefined;
  #closed = false;
  /** Pages that were sent, each time, and invalidations. */
  readonly sent = { pages: 0, invalidations: 0 };

  /** @throws TMEM_NO_CLIENT, TMEM_READERS, TMEM_SHARED_POOL; USAGE for a number of channels out of range. */
  constructor(engine: TmemEngine, clientId: number, options: LogOptions = {}) {
    const { channels = 1 } = options;
    if (!(Number.isInteger(channels) && channels >= 1 && channels <= TMEM_LIMITS.channels)) {
      throw new TransmigrateError('USAGE', `A tmem log can't have ${channels} channels.`, { data: { channels } });
    }
    const client = clientOf(engine, clientId);
    this.#ephemeral = options.ephemeral === true;
    const pools = travellingPools(client, this.#ephemeral);
    countReader(engine);
    this.#engine = engine;
    this.#client = client;
    this.#channels = channels;
    // Ephemeral pages are marked as if they had a channel of their own, behind the others.
    this.#marks = new PageMarks(channels + 1);
    this.#walk = new RecencyWalk(engine.holdings.table.pages, client.own);
    this.#queues = Array.from({ length: channels }, () => new InvalidationQueue());
    this.#acknowledged = Array.from({ length: channels }, () => 0);
    this.#cursors = Array.from({ length: channels + 1 }, () => 0);
    this.#batch = new PageBatch(options.codecs);
    // Incarnations ascend in a stream (stream 4), while pools are listed by slot.
    for (const [slot, pool] of pools.toSorted(([, one], [, other]) => one.incarnation - other.incarnation)) {
      this.opened(pool, slot);
      if (this.#travels(pool)) engine.holdings.eachPage(pool, (page) => this.#mark(page, pool));
    }
    client.watchers.push(this);
  }

  get client(): ClientImage {
    return imageOfClient(this.#client);
  }

  /** Pools that travel and are there now: the destination is told of each, some in steps that come yet. */
  get pools(): readonly PoolImage[] {
    return [...this.#open.values()];
  }

  /** What is still to be sent. */
  get backlog(): { pages: number; invalidations: number; pools: number } {
    return {
      pages: this.#marks.counts.reduce((sum, count) => sum + count, 0),
      invalidations: this.#queues.reduce((sum, queue) => sum + queue.waiting, 0),
      pools: this.#meetings.filter(({ step }) => step === 0).length,
    };
  }

  /** Bytes of this reader's own lists: they are beside the host's limit (spec/tmem.md 7.2). */
  get bytes(): number {
    return this.#marks.bytes + this.#queues.reduce((sum, queue) => sum + queue.bytes, 0);
  }

  /**
   * The next thing to send on a channel, or undefined when there is nothing now. Pools come first, then invalidations,
   * then pages.
   * @throws TMEM_SHARED_POOL when another client has joined a persistent pool that travels; USAGE for a channel that
   * the log does not have.
   */
  next(channel: number): LogStep | undefined {
    this.#checkChannel(channel);
    if (this.#refused !== undefined) throw this.#refused;
    if (this.#closed) return undefined;
    if (this.#step >= LAST_STEP) throw new TransmigrateError('LIMIT_EXCEEDED', 'A tmem log has too many steps.');
    return (
      this.#meeting() ??
      this.#invalidate(channel) ??
      this.#sendMarked(channel) ??
      (channel === 0 ? this.#sendEphemeral() : undefined)
    );
  }

  /** The destination has applied all steps of a channel up to this one: they are held. @throws USAGE, as `next` does */
  acknowledge(channel: number, step: number): void {
    this.#checkChannel(channel);
    if (step <= this.#acknowledged[channel]) return;
    this.#acknowledged[channel] = Math.min(step, this.#step);
    this.#queues[channel].acknowledge(step);
    const all = Math.min(...this.#acknowledged);
    while (this.#meetings.length > 0 && this.#meetings[0].step !== 0 && this.#meetings[0].step <= all) {
      this.#meetings.shift();
    }
  }

  /**
   * After a cut: the destination holds, of each channel, all steps up to these. What was sent later is sent again, in
   * the version that there is then; nothing else is (T4).
   */
  resume(acknowledged: readonly number[]): void {
    for (let channel = 0; channel < this.#channels; channel++) this.acknowledge(channel, acknowledged[channel] ?? 0);
    for (const queue of this.#queues) queue.resume();
    for (const meeting of this.#meetings) meeting.step = 0;
    const { holdings } = this.#engine;
    this.#marks.eachSent((page, step) => {
      const pool = holdings.pools[holdings.table.poolOf(page)]!;
      if (step > this.#acknowledged[this.#channelOf(page, pool)]) this.#marks.mark(page, this.#laneOf(page, pool));
    });
    this.#walk.restart();
    this.#again = true;
  }

  /** Ends the reader. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#engine.readers--;
    const at = this.#client.watchers.indexOf(this);
    if (at !== -1) this.#client.watchers.splice(at, 1);
  }

  /** @internal */
  stored(page: number, pool: Pool): void {
    if (this.#travels(pool)) this.#mark(page, pool);
  }

  /** @internal */
  removed(page: number, pool: Pool): void {
    this.#walk.leaves(page);
    if (!this.#travels(pool) || !this.#forget(page, pool)) return;
    this.#engine.holdings.table.handleOf(page, this.#handle);
    this.#queues[this.#channelOf(page, pool)].push(INVALIDATE_SCOPE.pages, pool.incarnation, this.#handle);
  }

  /** @internal */
  moved(page: number): void {
    this.#walk.leaves(page);
  }

  /** @internal One invalidation for an object, if more than one of its pages was sent. */
  objectRemoved(object: number, pool: Pool): void {
    if (!this.#travels(pool)) return;
    const { table } = this.#engine.holdings;
    const first = table.objects.get(object, OBJECT.first);
    let sent = 0;
    for (let page = first; page !== 0 && sent < 2; page = table.pages.get(page, PAGE.objectNext)) {
      if (this.#marks.sent(page) !== 0) sent++;
    }
    if (sent < 2) return;
    for (let page = first; page !== 0; page = table.pages.get(page, PAGE.objectNext)) this.#forget(page, pool);
    table.handleOf(first, this.#handle);
    this.#queues[this.#channelOf(first, pool)].push(INVALIDATE_SCOPE.objects, pool.incarnation, this.#handle);
  }

  /** @internal */
  opened(pool: Pool, slot: number): void {
    if (!pool.persistent && !this.#ephemeral) return;
    const image = imageOfPool(pool, slot);
    this.#meetings.push({ kind: 'open', pool: image, step: 0, heard: false });
    this.#open.set(pool.incarnation, image);
    // Pages of a shared ephemeral pool belong to all who share it, and do not travel (T7).
    if (pool.persistent || !pool.shared) this.#pages[pool.number] = pool.incarnation;
    this.sharersChanged(pool);
  }

  /** @internal */
  closed(pool: Pool): void {
    const image = this.#open.get(pool.incarnation);
    if (image === undefined) return;
    // Every page of it that is marked must be forgotten: its record can be another page soon.
    if (this.#travels(pool)) {
      this.#engine.holdings.eachPage(pool, (page) => void this.#forget(page, pool));
      this.#pages[pool.number] = undefined;
    }
    this.#open.delete(pool.incarnation);
    const last = this.#meetings.at(-1);
    // Nobody has heard of it.
    if (last?.kind === 'open' && !last.heard && last.pool === image) this.#meetings.pop();
    else this.#meetings.push({ kind: 'close', pool: image, step: 0, heard: false });
  }

  /** @internal */
  sharersChanged(pool: Pool): void {
    const image = this.#open.get(pool.incarnation);
    if (image === undefined || !pool.persistent) return;
    if (pool.sharers.some((sharer) => sharer !== this.#client)) {
      this.#refused ??= sharedPool(this.#client, image.slot, pool);
    }
  }

  #checkChannel(channel: number): void {
    if (Number.isInteger(channel) && channel >= 0 && channel < this.#channels) return;
    throw new TransmigrateError('USAGE', `A tmem log with ${this.#channels} channels has no channel ${channel}.`, {
      data: { channel, channels: this.#channels },
    });
  }

  #travels(pool: Pool): boolean {
    return this.#pages[pool.number] === pool.incarnation;
  }

  /** The channel that a page goes over. */
  #channelOf(page: number, pool: Pool): number {
    if (this.#channels === 1 || !pool.persistent) return 0;
    const { pages, objects } = this.#engine.holdings.table;
    const object = pages.get(page, PAGE.object);
    let hash = 0;
    for (let half = 0; half < 6; half++) hash = mix(hash, objects.get(object, OBJECT.id + half));
    return (finish(hash) >>> 0) % this.#channels;
  }

  /** Where a page is marked. */
  #laneOf(page: number, pool: Pool): number {
    return pool.persistent ? this.#channelOf(page, pool) : this.#channels;
  }

  #mark(page: number, pool: Pool): void {
    const news = this.#marks.mark(page, this.#laneOf(page, pool));
    if (news && !pool.persistent && this.#marks.sent(page) === 0) this.#fresh++;
  }

  /** A page is not to be sent. @returns whether it was once. */
  #forget(page: number, pool: Pool): boolean {
    const known = this.#marks.forget(page, this.#laneOf(page, pool));
    if (known === FORGOTTEN.marked && !pool.persistent) this.#fresh--;
    return (known & FORGOTTEN.sent) !== 0;
  }

  #meeting(): LogStep | undefined {
    const meeting = this.#meetings.find(({ step }) => step === 0);
    if (meeting === undefined) return undefined;
    meeting.step = ++this.#step;
    meeting.heard = true;
    const { step, pool } = meeting;
    if (meeting.kind === 'open') return { kind: 'open', step, pool };
    const body = new Uint8Array(BATCH_HEAD_BYTES);
    writeHead(new DataView(body.buffer), 0, pool.incarnation, INVALIDATE_SCOPE.pool, 0);
    return { kind: 'close', step, incarnation: pool.incarnation, body };
  }

  #invalidate(channel: number): LogStep | undefined {
    const queue = this.#queues[channel];
    if (queue.waiting === 0) return undefined;
    const body = queue.take(this.#step + 1, this.#lives);
    if (body === undefined) return undefined;
    this.sent.invalidations += queue.count;
    return { kind: 'invalidate', step: ++this.#step, incarnation: queue.incarnation, count: queue.count, body };
  }

  /** Pages of one pool that are marked in a lane, by their numbers. */
  #sendMarked(lane: number): LogStep | undefined {
    const marks = this.#marks;
    if (marks.counts[lane] === 0) return undefined;
    const { table } = this.#engine.holdings;
    const batch = this.#batch;
    batch.clear();
    let page = marks.next(this.#cursors[lane], lane) || marks.next(0, lane);
    const pool = table.poolOf(page);
    // Where the search goes on: at the first page that was passed over because it is another pool's.
    let cursor = 0;
    let last = page;
    for (; page !== 0 && !batch.full; page = marks.next(page + 1, lane)) {
      last = page;
      if (table.poolOf(page) === pool) this.#send(page, lane);
      else if (cursor === 0) cursor = page;
    }
    this.#cursors[lane] = cursor === 0 ? last + 1 : cursor;
    return this.#pagesStep(pool);
  }

  /** Ephemeral pages: first those that the destination may not have, from the oldest on; then the others. */
  #sendEphemeral(): LogStep | undefined {
    const lane = this.#channels;
    if (this.#marks.counts[lane] === 0) return undefined;
    if (this.#fresh === 0 && !this.#again) return this.#sendMarked(lane);
    const { table } = this.#engine.holdings;
    const batch = this.#batch;
    batch.clear();
    let pool = 0;
    let page = this.#walk.next;
    for (; page !== 0 && !batch.full; page = this.#walk.next) {
      if (this.#marks.isMarked(page, lane)) {
        const itsPool = table.poolOf(page);
        if (pool !== 0 && itsPool !== pool) break;
        pool = itsPool;
        if (this.#marks.sent(page) === 0) this.#fresh--;
        this.#send(page, lane);
      }
      this.#walk.take(page);
    }
    if (page === 0) this.#again = false;
    return pool === 0 ? this.#sendMarked(lane) : this.#pagesStep(pool);
  }

  #send(page: number, lane: number): void {
    this.#batch.add(this.#engine.holdings, page);
    this.#marks.clear(page, lane);
    this.#marks.setSent(page, this.#step + 1);
  }

  #pagesStep(pool: number): LogStep {
    const batch = this.#batch;
    const step = ++this.#step;
    this.sent.pages += batch.count;
    const incarnation = this.#pages[pool]!;
    return { kind: 'pages', step, incarnation, count: batch.count, body: batch.finish(incarnation) };
  }
}
