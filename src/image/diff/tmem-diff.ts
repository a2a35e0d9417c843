import type { Json } from '../../bytes/bounded-json.ts';
import { hexNumber } from '../../bytes/hex.ts';
import { sameRange } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import { LIMITS } from '../../stream/limits.ts';
import { poolFlags, type TmemClient, type TmemPool } from '../../stream/records/tmem.ts';
import type { OpenedTmem, OpenedTmemPage } from '../open/opened-tmem.ts';
import { diffFacts } from './json-keys.ts';
import type { TmemDiff, TmemHandleJson, TmemPagesList } from './result.ts';

const CONTENT_BYTES = 2 ** LIMITS.pageShiftMax;

/**
 * Compares tmem: the client, pools by slot and kind, persistent pages by handle and content. Ephemeral pages may be
 * gone at any time and are not compared.
 * @param most pages that are named.
 * @throws the errors of damage, READ_FAILED, CANCELLED
 */
export async function diffTmem(
  a: OpenedTmem | null,
  b: OpenedTmem | null,
  most: number,
  { signal }: Work,
): Promise<TmemDiff> {
  const client = diffFacts(await clientFacts(a), await clientFacts(b));
  const pools = diffPools((await a?.pools()) ?? [], (await b?.pools()) ?? []);
  const different = new Handles(most);
  const onlyA = new Handles(most);
  const onlyB = new Handles(most);
  const [one, other] = [new PageCursor(a), new PageCursor(b)];
  let same = 0;
  await Promise.all([one.step(), other.step()]);
  while (one.page !== undefined || other.page !== undefined) {
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Comparing was cancelled');
    const order = comparePages(one.page, other.page);
    if (order < 0) {
      onlyA.add(one.page!);
      await one.step();
    } else if (order > 0) {
      onlyB.add(other.page!);
      await other.step();
    } else {
      const [length, otherLength] = [one.content(), other.content()];
      if (length === otherLength && sameRange(one.bytes, 0, other.bytes, 0, length)) same++;
      else different.add(one.page!);
      await one.step();
      await other.step();
    }
  }
  return { client, pools, same, different: different.list(), onlyA: onlyA.list(), onlyB: onlyB.list() };
}

async function clientFacts(tmem: OpenedTmem | null): Promise<Record<string, Json>> {
  const client = await tmem?.client();
  return client === null || client === undefined ? {} : factsOf(client);
}

function factsOf({ compress, frozen, weight, cap, allowancePages, authorised }: TmemClient): Record<string, Json> {
  return { compress, frozen, weight, cap, allowancePages: String(allowancePages), authorised: [...authorised] };
}

function diffPools(a: readonly TmemPool[], b: readonly TmemPool[]): TmemDiff['pools'] {
  const [inA, inB] = [new Map(a.map((pool) => [pool.pool, pool])), new Map(b.map((pool) => [pool.pool, pool]))];
  const slots = [...new Set([...inA.keys(), ...inB.keys()])].toSorted((one, other) => one - other);
  return slots.flatMap((slot) => {
    const facts = diffFacts(poolFacts(inA.get(slot)), poolFacts(inB.get(slot)));
    return facts.length === 0 ? [] : [{ pool: slot, facts }];
  });
}

/** What a pool is; its incarnation and its hint of pages are of the stream, and not of the machine. */
function poolFacts(pool: TmemPool | undefined): Record<string, Json> {
  if (pool === undefined) return {};
  return { flags: hexNumber(poolFlags(pool), 8), objectIdBits: pool.objectIdBits, uuid: pool.uuid };
}

/** The pages of one side, in order. */
class PageCursor {
  readonly #pages: AsyncGenerator<OpenedTmemPage> | undefined;
  readonly bytes = new Uint8Array(CONTENT_BYTES);
  page: OpenedTmemPage | undefined;

  constructor(tmem: OpenedTmem | null) {
    this.#pages = tmem?.pages();
  }

  async step(): Promise<void> {
    const next = await this.#pages?.next();
    this.page = next === undefined || next.done === true ? undefined : next.value;
  }

  content(): number {
    return this.page!.contentInto(this.bytes);
  }
}

/** By slot, object words, index (stream 19.2); a side without a page comes last. */
function comparePages(a: OpenedTmemPage | undefined, b: OpenedTmemPage | undefined): number {
  if (a === undefined || b === undefined) return a === undefined ? 1 : -1;
  if (a.pool.pool !== b.pool.pool) return a.pool.pool - b.pool.pool;
  const [one, other] = [a.object, b.object];
  for (let word = 0; word < 24; word += 8) {
    for (let at = word + 7; at >= word; at--) if (one[at] !== other[at]) return one[at] - other[at];
  }
  return a.index - b.index;
}

class Handles {
  readonly #most: number;
  readonly #first: TmemHandleJson[] = [];
  #pages = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add({ pool, object, index }: OpenedTmemPage): void {
    this.#pages++;
    if (this.#first.length === this.#most) return;
    const view = new DataView(object.buffer, object.byteOffset, 24);
    const word = (i: number): string => String(view.getBigUint64(8 * i, true));
    this.#first.push({ pool: pool.pool, object: [word(0), word(1), word(2)], index });
  }

  list(): TmemPagesList {
    return { pages: this.#pages, first: this.#first };
  }
}
