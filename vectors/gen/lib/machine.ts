// What the generator meant the machine to hold: pages by pfn and tmem pages by handle, with the digests of section 19.
import { cat, hex, sha256Of, u32, u64 } from './bytes.ts';
import type { JsonObject } from './bytes.ts';

export type TmemHandle = { object: readonly [bigint, bigint, bigint]; index: number };
type TmemPage = TmemHandle & { content: Buffer };
type Pool = { slot: number; persistent: boolean; pages: Map<string, TmemPage> };

const keyOf = (handle: TmemHandle): string => `${handle.object.join('.')}/${handle.index}`;
const order = (left: bigint | number, right: bigint | number): number => (left < right ? -1 : left > right ? 1 : 0);

function byHandle(left: TmemPage, right: TmemPage): number {
  for (const word of [0, 1, 2] as const) {
    const sign = order(left.object[word], right.object[word]);
    if (sign !== 0) return sign;
  }
  return left.index - right.index;
}

export class Machine {
  readonly memory = new Map<number, Buffer>();
  readonly pools = new Map<bigint, Pool>();
  tmemSeen = false;

  setPage(pfn: number, content: Buffer): void {
    this.memory.set(pfn, content);
  }

  dropPage(pfn: number): void {
    this.memory.delete(pfn);
  }

  beginPool(incarnation: bigint, slot: number, persistent: boolean): void {
    this.tmemSeen = true;
    this.pools.set(incarnation, { slot, persistent, pages: new Map() });
  }

  put(incarnation: bigint, handle: TmemHandle, content: Buffer): void {
    this.pools.get(incarnation)?.pages.set(keyOf(handle), { ...handle, content });
  }

  invalidatePage(incarnation: bigint, handle: TmemHandle): void {
    this.pools.get(incarnation)?.pages.delete(keyOf(handle));
  }

  invalidateObject(incarnation: bigint, object: TmemHandle['object']): void {
    const pages = this.pools.get(incarnation)?.pages;
    for (const [key, page] of pages ?? []) if (page.object.join() === object.join()) pages?.delete(key);
  }

  endPool(incarnation: bigint): void {
    this.pools.delete(incarnation);
  }

  memoryDigest(): JsonObject {
    const parts: Buffer[] = [];
    let zeroPages = 0;
    for (const [pfn, content] of [...this.memory].sort((left, right) => left[0] - right[0])) {
      parts.push(u64(pfn), content);
      if (content.every((byte) => byte === 0)) zeroPages++;
    }
    return { pages: this.memory.size, zeroPages, sha256: hex(sha256Of(parts)) };
  }

  /** Persistent pools only; null when the stream never spoke of tmem. */
  tmemDigest(): JsonObject | null {
    if (!this.tmemSeen) return null;
    const pools = [...this.pools.values()].filter((pool) => pool.persistent).sort((a, b) => a.slot - b.slot);
    const parts: Buffer[] = [];
    let pages = 0;
    for (const pool of pools) {
      for (const page of [...pool.pages.values()].sort(byHandle)) {
        parts.push(cat(u32(pool.slot), ...page.object.map(u64), u32(page.index), page.content));
        pages++;
      }
    }
    return { pools: pools.length, pages, sha256: hex(sha256Of(parts)) };
  }
}
