import type { JsonObject } from '../../bytes/bounded-json.ts';
import { PAGE_BYTES } from '../../tmem/constants.ts';
import type { LogStep, TmemLog } from '../../tmem/log-reader.ts';
import { INVALIDATE_ENTRY_BYTES } from '../../tmem/page-batch.ts';
import type { PoolImage } from '../../tmem/snapshot.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import type { LiveOutput, LiveState, Lost, StateLeft, StateOffer } from './live.ts';
import { clientRecord, poolRecord, TMEM_RECORDS } from './tmem.ts';

/** What a client has that travels, before anything of it does. */
export interface TmemHoldings {
  readonly pages: number;
  /** As they are stored. */
  readonly storedBytes: number;
  /** For the destination to judge: pools and what they are. */
  readonly needs: JsonObject;
}

/** A pool that was closed, while the destination may still hold it. */
interface Closed {
  readonly pool: PoolImage;
  /** The body of the record that says so. */
  readonly body: Uint8Array;
  /** The newest step in which the log said so. */
  step: number;
}

type Meeting = Extract<LogStep, { kind: 'open' | 'close' }>;

/**
 * A client's tmem while its guest puts, gets and flushes (T3, T4): pages from the first round on, each version at most
 * once, and what became untrue of them. A stream that takes the place of one that was cut begins with what the
 * destination holds or may hold (protocol 6.5).
 */
export class LiveTmem implements LiveState {
  readonly name = 'tmem';
  readonly records = TMEM_RECORDS;
  readonly #open: () => TmemLog;
  readonly #holdings: () => TmemHoldings;
  #log: TmemLog | undefined;
  /** Pools that the destination was told of and that live, by incarnation; and those it may not know to be gone. */
  readonly #told = new Map<number, PoolImage>();
  readonly #closed = new Map<number, Closed>();
  /** Whether the stream under way has the client yet, and the incarnations that began and that ended in it. */
  #declared = false;
  readonly #opened = new Set<number>();
  readonly #ended = new Set<number>();
  /** Of each channel, the step that was acknowledged. */
  readonly #acknowledged: number[] = [];
  /** Stored bytes of the pages that were sent: what one takes, in the mean. */
  #sentBytes = 0;

  /**
   * @param open makes the log, when the migration begins: before that the engine has nothing to do for it.
   * @param holdings what the client has now.
   */
  constructor(open: () => TmemLog, holdings: () => TmemHoldings) {
    this.#open = open;
    this.#holdings = holdings;
  }

  /** Pages and invalidations that were sent, each time they were. */
  get sent(): { readonly pages: number; readonly invalidations: number } {
    return this.#log?.sent ?? { pages: 0, invalidations: 0 };
  }

  /** Pages that the client has now. */
  get offered(): number {
    return this.#holdings().pages;
  }

  offer(): StateOffer {
    const { pages, storedBytes: carriedBytes, needs } = this.#holdings();
    return { name: this.name, mandatory: true, carriedBytes, unpackedBytes: pages * PAGE_BYTES, needs };
  }

  begin(): Promise<void> {
    this.#log ??= this.#open();
    return Promise.resolve();
  }

  /** As many pages, invalidations and pools as waited when it began; what the guest does meanwhile comes later. */
  async *round(output: LiveOutput): AsyncGenerator<number, void> {
    const { pages, invalidations, pools } = this.#begun.backlog;
    yield* this.#send(output, pages + invalidations + pools);
  }

  final(output: LiveOutput): AsyncGenerator<number, void> {
    return this.#send(output, Number.POSITIVE_INFINITY);
  }

  left(): StateLeft {
    if (this.#log === undefined) {
      const { pages, storedBytes: bytes } = this.#holdings();
      return { bytes, pages, invalidations: 0 };
    }
    const { backlog, sent } = this.#log;
    const { pages, invalidations } = backlog;
    const mean = sent.pages === 0 ? PAGE_BYTES : this.#sentBytes / sent.pages;
    return { bytes: Math.ceil(pages * mean) + invalidations * INVALIDATE_ENTRY_BYTES, pages, invalidations };
  }

  acknowledged(channel: number, step: number): void {
    this.#begun.acknowledge(channel, step);
    this.#acknowledged[channel] = Math.max(step, this.#acknowledged[channel] ?? 0);
    const all = Math.min(...this.#acknowledged);
    for (const [incarnation, closed] of this.#closed) if (closed.step <= all) this.#closed.delete(incarnation);
  }

  resend({ steps }: Lost): Promise<void> {
    for (const [channel, step] of steps.entries()) this.acknowledged(channel, step);
    this.#begun.resume(steps);
    // The log gives these again, in steps of new numbers: an acknowledgement of an earlier one says nothing of them.
    for (const closed of this.#closed.values()) closed.step = Number.POSITIVE_INFINITY;
    this.#declared = false;
    this.#opened.clear();
    this.#ended.clear();
    return Promise.resolve();
  }

  end(): Promise<void> {
    this.#log?.close();
    return Promise.resolve();
  }

  get #begun(): TmemLog {
    if (this.#log === undefined) throw new TypeError('the migration of tmem has not begun');
    return this.#log;
  }

  async *#send(output: LiveOutput, most: number): AsyncGenerator<number, void> {
    const log = this.#begun;
    const { channels } = output;
    for (let channel = this.#acknowledged.length; channel < channels.length; channel++) this.#acknowledged.push(0);
    if (!this.#declared) await this.#declare(output);
    let left = most;
    for (let turn = 0, quiet = 0; quiet < channels.length && left > 0; turn++) {
      const channel = turn % channels.length;
      const step = log.next(channel);
      quiet = step === undefined ? quiet + 1 : 0;
      if (step === undefined) continue;
      if (step.kind === 'open' || step.kind === 'close') {
        left--;
        for (const { ledger } of channels) ledger?.step(this.name, step.step);
        await this.#meeting(output, step);
        yield 0;
        continue;
      }
      left -= step.count;
      const { writer, ledger } = channels[channel];
      ledger?.step(this.name, step.step);
      const incarnation = BigInt(step.incarnation);
      if (step.kind === 'invalidate') {
        await writer.tmemInvalidation(incarnation, step.body);
        yield 0;
      } else {
        this.#sentBytes += step.body.byteLength;
        await writer.tmemPages(incarnation, step.body);
        yield step.count * PAGE_BYTES;
      }
    }
  }

  /** Begins a stream: its client, and the pools that the destination was told of before, in the order they came. */
  async #declare(output: LiveOutput): Promise<void> {
    const client = clientRecord(this.#begun.client);
    await onAll(output, (writer) => writer.tmemClient(client));
    this.#declared = true;
    const pools = [...this.#told.values(), ...[...this.#closed.values()].map(({ pool }) => pool)];
    for (const pool of pools.toSorted((one, other) => one.incarnation - other.incarnation)) {
      await this.#openPool(output, pool);
      // Its slot may be its successor's.
      if (this.#closed.has(pool.incarnation)) await this.#closePool(output, pool.incarnation);
    }
  }

  async #meeting(output: LiveOutput, step: Meeting): Promise<void> {
    if (step.kind === 'open') {
      const { pool } = step;
      // The log may have it again that a pool is opened, when that was lost, and it was closed since.
      if (!this.#closed.has(pool.incarnation)) this.#told.set(pool.incarnation, pool);
      await this.#openPool(output, pool);
      return;
    }
    const { incarnation } = step;
    const pool = this.#told.get(incarnation) ?? this.#closed.get(incarnation)!.pool;
    this.#told.delete(incarnation);
    this.#closed.set(incarnation, { pool, body: step.body.slice(), step: step.step });
    await this.#closePool(output, incarnation);
  }

  async #openPool(output: LiveOutput, pool: PoolImage): Promise<void> {
    if (this.#opened.has(pool.incarnation)) return;
    this.#opened.add(pool.incarnation);
    await onAll(output, (writer) => writer.tmemPool(poolRecord(pool)));
  }

  async #closePool(output: LiveOutput, incarnation: number): Promise<void> {
    if (this.#ended.has(incarnation)) return;
    this.#ended.add(incarnation);
    const { body } = this.#closed.get(incarnation)!;
    await onAll(output, (writer) => writer.tmemInvalidation(BigInt(incarnation), body));
  }
}

/** A record at which the channels meet (stream 14.1). */
async function onAll(output: LiveOutput, write: (writer: StreamWriter) => Promise<void>): Promise<void> {
  const { channels } = output;
  if (channels.length > 1) await output.meet();
  for (const { writer } of channels) await write(writer);
}
