/**
 * Open addressing over numbers of records, in typed arrays. What a record is found by stays in the record; here is one
 * 32-bit word for each: its number, and six bits of its hash, so that hardly any other record is looked at in vain.
 *
 * The table is 64 tables, chosen by the hash, that grow by themselves: to grow is never a long pause, and never
 * doubles the whole.
 */

const TABLES = 64;
const ID_BITS = 26;
const ID_MASK = (1 << ID_BITS) - 1;
const EMPTY = 0;
/** No record has this number (TMEM_LIMITS.pages). */
const DELETED = ID_MASK;
const SMALLEST = 8;

/** Mixes a word into a hash: the body of MurmurHash3's 32-bit variant, which is in the public domain. */
export function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

/** Makes every bit of a hash depend on every bit mixed in. */
export function finish(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

export abstract class IdTable {
  readonly #tables: Int32Array[] = Array.from({ length: TABLES }, () => new Int32Array(SMALLEST));
  /** Slots of each table that are not empty, and those among them that hold a record. */
  readonly #filled = new Int32Array(TABLES);
  readonly #live = new Int32Array(TABLES);

  /** The hash that a record was added with. */
  protected abstract hashOf(id: number): number;

  get bytes(): number {
    let bytes = 0;
    for (const table of this.#tables) bytes += table.byteLength;
    return bytes;
  }

  /** The table that a hash belongs to; its length is a power of two. */
  protected tableOf(hash: number): Int32Array {
    return this.#tables[hash >>> 26];
  }

  add(hash: number, id: number): void {
    const which = hash >>> 26;
    let table = this.#tables[which];
    if ((this.#filled[which] + 1) * 5 > table.length * 4) table = this.#rebuild(which);
    if (place(table, hash, id) === EMPTY) this.#filled[which]++;
    this.#live[which]++;
  }

  remove(hash: number, id: number): void {
    const which = hash >>> 26;
    const table = this.#tables[which];
    const mask = table.length - 1;
    let slot = hash & mask;
    while ((table[slot] & ID_MASK) !== id) slot = (slot + 1) & mask;
    this.#live[which]--;
    if (table[(slot + 1) & mask] !== EMPTY) {
      table[slot] = DELETED;
    } else {
      // Nothing can lie behind this one: it is empty, and so are the deleted ones before it.
      do {
        table[slot] = EMPTY;
        this.#filled[which]--;
        slot = (slot - 1) & mask;
      } while (table[slot] === DELETED);
    }
    // Shrinks late, so that a table does not go to and fro.
    if (table.length > SMALLEST && this.#live[which] * 8 < table.length) this.#rebuild(which);
  }

  #rebuild(which: number): Int32Array {
    const old = this.#tables[which];
    let length = SMALLEST;
    // At most 60 % full, so that it does not grow again at once; at least 30 %.
    while ((this.#live[which] + 1) * 5 > length * 3) length *= 2;
    const table = new Int32Array(length);
    for (const slot of old) {
      const id = slot & ID_MASK;
      if (slot !== EMPTY && id !== DELETED) place(table, this.hashOf(id), id);
    }
    this.#tables[which] = table;
    this.#filled[which] = this.#live[which];
    return table;
  }
}

/** Puts a record into the first slot that is free, and answers what that held. */
function place(table: Int32Array, hash: number, id: number): number {
  const mask = table.length - 1;
  let slot = hash & mask;
  while (table[slot] !== EMPTY && table[slot] !== DELETED) slot = (slot + 1) & mask;
  const before = table[slot];
  table[slot] = slotOf(hash, id);
  return before;
}

/** What stands in a slot for a record: for the subclasses' search. */
export function slotOf(hash: number, id: number): number {
  return (((hash >>> 20) & 63) << ID_BITS) | id;
}

/** The record in a slot whose tag is that of the hash; 0 when it is another's, deleted or empty. */
export function candidate(slot: number, hash: number): number {
  if (slot >>> ID_BITS !== ((hash >>> 20) & 63)) return 0;
  const id = slot & ID_MASK;
  return id === DELETED ? 0 : id;
}
