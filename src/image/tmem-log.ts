import type { TmemInvalidate, TmemPages, TmemPool } from '../stream/records/tmem.ts';

/** A tmem page that is there at the end: the record that `tag` names holds it as its entry `entry`. */
export interface TmemSurvivor {
  readonly pool: TmemPool;
  readonly tag: number;
  readonly entry: number;
}

/** Columns of a log row: incarnation number, object halves from the highest word down, index, tag, entry. */
const WIDTH = 10;
const INDEX = 7;
const TAG = 8;
const ENTRY = 9;
/** In the tag column: the page was invalidated. */
const GONE = 0xffff_ffff;

/**
 * Remembers every handle that a stream names, in order, and says at the end which pages are there (stream 10.3.3,
 * 10.4). 40 bytes a page, in one typed array.
 */
export class TmemLog {
  #rows = new Uint32Array(WIDTH * 256);
  #length = 0;
  /** Incarnations by the number of their column. */
  readonly #incarnations = new Map<bigint, number>();
  /** Row count at the time that an object was invalidated, by incarnation number and object. */
  readonly #objectsGone = new Map<string, number>();

  addPages(record: TmemPages, tag: number): void {
    const incarnation = this.#number(record.pool.incarnation);
    for (let i = 0; i < record.count; i++) this.#add(record, i, incarnation, record.index(i), tag);
  }

  /** Scope pool is the caller's: it knows which incarnations live. */
  addInvalidate(record: TmemInvalidate): void {
    const incarnation = this.#number(record.pool.incarnation);
    for (let i = 0; i < record.count; i++) {
      if (record.scope === 'pages') this.#add(record, i, incarnation, record.index(i), GONE);
      else
        this.#objectsGone.set(
          objectKey(incarnation, (half) => record.objectHalf(i, half)),
          this.#length,
        );
    }
  }

  /**
   * The pages of the pools that live, in ascending pool id, object words, index (stream 19.2).
   * @param pools the persistent pools that live at the end, by incarnation.
   */
  *survivors(pools: ReadonlyMap<bigint, TmemPool>): Generator<TmemSurvivor> {
    const poolOf = new Map<number, TmemPool>();
    for (const [incarnation, number] of this.#incarnations) {
      const pool = pools.get(incarnation);
      if (pool !== undefined) poolOf.set(number, pool);
    }
    const slot = Uint32Array.from({ length: this.#incarnations.size }, (_, number) => poolOf.get(number)?.pool ?? 0);
    const rows = this.#rows;
    const order = new Uint32Array(this.#length);
    let living = 0;
    for (let row = 0; row < this.#length; row++) if (poolOf.has(rows[row * WIDTH])) order[living++] = row;
    const sorted = order.subarray(0, living);
    const compare = (a: number, b: number): number =>
      slot[rows[a * WIDTH]] - slot[rows[b * WIDTH]] || this.#compare(a, b);
    sorted.sort((a, b) => compare(a, b) || a - b);
    for (let i = 0; i < living; i++) {
      const row = sorted[i];
      // Of rows with one handle the last came last.
      if (i + 1 < living && compare(row, sorted[i + 1]) === 0) continue;
      const at = row * WIDTH;
      if (rows[at + TAG] === GONE || this.#objectGone(row)) continue;
      yield { pool: poolOf.get(rows[at])!, tag: rows[at + TAG], entry: rows[at + ENTRY] };
    }
  }

  #compare(a: number, b: number): number {
    for (let column = 1; column <= INDEX; column++) {
      const difference = this.#rows[a * WIDTH + column] - this.#rows[b * WIDTH + column];
      if (difference !== 0) return difference;
    }
    return 0;
  }

  #objectGone(row: number): boolean {
    if (this.#objectsGone.size === 0) return false;
    const at = row * WIDTH;
    const key = objectKey(this.#rows[at], (half) => this.#rows[at + columnOf(half)]);
    return row < (this.#objectsGone.get(key) ?? 0);
  }

  #number(incarnation: bigint): number {
    const known = this.#incarnations.get(incarnation);
    if (known !== undefined) return known;
    this.#incarnations.set(incarnation, this.#incarnations.size);
    return this.#incarnations.size - 1;
  }

  #add(record: TmemPages | TmemInvalidate, entry: number, incarnation: number, index: number, tag: number): void {
    const at = this.#length * WIDTH;
    if (at === this.#rows.length) {
      const larger = new Uint32Array(this.#rows.length * 2);
      larger.set(this.#rows);
      this.#rows = larger;
    }
    this.#rows[at] = incarnation;
    for (let half = 0; half < 6; half++) this.#rows[at + columnOf(half)] = record.objectHalf(entry, half);
    this.#rows[at + INDEX] = index;
    this.#rows[at + TAG] = tag;
    this.#rows[at + ENTRY] = entry;
    this.#length++;
  }
}

/** Word 0 is compared first, and of each word the upper half. */
function columnOf(half: number): number {
  return 1 + (half ^ 1);
}

function objectKey(incarnation: number, half: (half: number) => number): string {
  return `${incarnation}:${half(0)},${half(1)},${half(2)},${half(3)},${half(4)},${half(5)}`;
}
