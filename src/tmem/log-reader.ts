/**
 * The log reader (T3, T4): sends a client's pages while the guest goes on, and everything that becomes untrue of what
 * was sent, until source and destination are equal.
 *
 * Each page is unsent, in flight or held: its mark says that it is to be sent, and the number of the step that it was
 * sent in, compared with what the destination has acknowledged, says which of the other two it is. When a page goes
 * that some version of was sent, whatever the cause, an invalidation is queued; invalidations go before pages. So the
 * order in which the destination applies the steps of a channel leaves it with what the source had.
 */
import { TransmigrateError } from '../errors.ts';
import type { Client, Pool, Watcher } from './clients.ts';
import { HANDLE_HALVES, TMEM_LIMITS } from './constants.ts';
import type { TmemEngine } from './engine.ts';
import { finish, mix } from './id-table.ts';
import { InvalidationQueue } from './invalidations.ts';
import { BATCH_HEAD_BYTES, INVALIDATE_SCOPE, PageBatch, writeHead } from './page-batch.ts';
import { PageMarks } from './page-marks.ts';
import { OBJECT, PAGE } from './page-table.ts';
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
  /** Channels: 1 to 16, by default 1. All that concerns an object goes over one. */
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
  /** The step it was sent in; 0 for not yet, or not since the last cut. */
  step: number;
  /** Whether it was ever sent: after a cut the destination may have heard of it, and not said so. */
  sent: boolean;
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
    this.#marks = new PageMarks(channels);
    this.#queues = Array.from({ length: channels }, () => new InvalidationQueue());
    this.#acknowledged = Array.from({ length: channels }, () => 0);
    this.#cursors = Array.from({ length: channels }, () => 0);
    this.#batch = new PageBatch(options.codecs);
    for (const [slot, pool] of pools) {
      this.opened(pool, slot);
      if (this.#travels(pool)) engine.holdings.eachPage(pool, (page) => this.#mark(page));
    }
    client.watchers.push(this);
  }

  get client(): ClientImage {
    return imageOfClient(this.#client);
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
   * @throws TMEM_SHARED_POOL when another client has joined a persistent pool that travels.
   */
  next(channel: number): LogStep | undefined {
    if (this.#refused !== undefined) throw this.#refused;
    if (this.#closed) return undefined;
    if (this.#step >= LAST_STEP) throw new TransmigrateError('LIMIT_EXCEEDED', 'A tmem log has too many steps.');
    return this.#meeting() ?? this.#invalidate(channel) ?? this.#sendPages(channel);
  }

  /** The destination has applied all steps of a channel up to this one: they are held. */
  acknowledge(channel: number, step: number): void {
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
    this.#marks.eachSent((page, step) => {
      const channel = this.#channelOf(page);
      if (step > this.#acknowledged[channel]) this.#marks.mark(page, channel);
    });
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
    if (this.#travels(pool)) this.#mark(page);
  }

  /** @internal */
  removed(page: number, pool: Pool): void {
    if (!this.#travels(pool)) return;
    const channel = this.#channelOf(page);
    this.#marks.clear(page, channel);
    if (this.#marks.sent(page) === 0) return;
    this.#marks.setSent(page, 0);
    this.#engine.holdings.table.handleOf(page, this.#handle);
    this.#queues[channel].push(INVALIDATE_SCOPE.pages, pool.incarnation, this.#handle);
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
    for (let page = first; page !== 0; page = table.pages.get(page, PAGE.objectNext)) {
      if (this.#marks.sent(page) !== 0) this.#marks.setSent(page, 0);
    }
    table.handleOf(first, this.#handle);
    this.#queues[this.#channelOf(first)].push(INVALIDATE_SCOPE.objects, pool.incarnation, this.#handle);
  }

  /** @internal */
  renumbered(old: number, page: number, pool: Pool): void {
    if (!this.#travels(pool)) return;
    this.#marks.clear(old, this.#channelOf(old));
    const sent = this.#marks.sent(old);
    if (sent === 0) return;
    this.#marks.setSent(old, 0);
    this.#marks.setSent(page, sent);
  }

  /** @internal */
  opened(pool: Pool, slot: number): void {
    if (!pool.persistent && !this.#ephemeral) return;
    const image = imageOfPool(pool, slot);
    this.#meetings.push({ kind: 'open', pool: image, step: 0, sent: false });
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
      this.#engine.holdings.eachPage(pool, (page) => {
        this.#marks.clear(page, this.#channelOf(page));
        if (this.#marks.sent(page) !== 0) this.#marks.setSent(page, 0);
      });
      this.#pages[pool.number] = undefined;
    }
    this.#open.delete(pool.incarnation);
    const last = this.#meetings.at(-1);
    // Nobody has heard of it.
    if (last?.kind === 'open' && !last.sent && last.pool === image) this.#meetings.pop();
    else this.#meetings.push({ kind: 'close', pool: image, step: 0, sent: false });
  }

  /** @internal */
  sharersChanged(pool: Pool): void {
    const image = this.#open.get(pool.incarnation);
    if (image === undefined || !pool.persistent) return;
    if (pool.sharers.some((sharer) => sharer !== this.#client)) {
      this.#refused ??= sharedPool(this.#client, image.slot, pool);
    }
  }

  #travels(pool: Pool): boolean {
    return this.#pages[pool.number] === pool.incarnation;
  }

  #channelOf(page: number): number {
    if (this.#channels === 1) return 0;
    const { pages, objects } = this.#engine.holdings.table;
    const object = pages.get(page, PAGE.object);
    let hash = 0;
    for (let half = 0; half < 6; half++) hash = mix(hash, objects.get(object, OBJECT.id + half));
    return (finish(hash) >>> 0) % this.#channels;
  }

  #mark(page: number): void {
    this.#marks.mark(page, this.#channelOf(page));
  }

  #meeting(): LogStep | undefined {
    const meeting = this.#meetings.find(({ step }) => step === 0);
    if (meeting === undefined) return undefined;
    meeting.step = ++this.#step;
    meeting.sent = true;
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

  #sendPages(channel: number): LogStep | undefined {
    const marks = this.#marks;
    if (marks.counts[channel] === 0) return undefined;
    const { holdings } = this.#engine;
    const batch = this.#batch;
    batch.clear();
    let page = marks.next(this.#cursors[channel], channel) || marks.next(0, channel);
    const pool = holdings.table.poolOf(page);
    const step = ++this.#step;
    // Where the search goes on: at the first page that was passed over because it is another pool's.
    let cursor = 0;
    let last = page;
    for (; page !== 0 && !batch.full; page = marks.next(page + 1, channel)) {
      last = page;
      if (holdings.table.poolOf(page) !== pool) {
        if (cursor === 0) cursor = page;
        continue;
      }
      batch.add(holdings, page);
      marks.clear(page, channel);
      marks.setSent(page, step);
    }
    this.#cursors[channel] = cursor === 0 ? last + 1 : cursor;
    this.sent.pages += batch.count;
    const incarnation = this.#pages[pool]!;
    return { kind: 'pages', step, incarnation, count: batch.count, body: batch.finish(incarnation) };
  }
}
