/**
 * A tmem host for tests of guests: spec/hypercall.md over two maps, with faults that can be asked for. It is not the
 * engine: it has neither limits nor an order of eviction, and shows that a guest notices what an engine does wrong.
 */

import { guestMemory, type Emulator } from './emulator.ts';

const PORT = 0x7e0;
const VERSION_PORT = 0x7e4;
const HERE = 0x6d656d74;
const PAGE = 4096;

const OPERATION = { newPool: 1, destroyPool: 2, put: 3, get: 4, flushPage: 5, flushObject: 6 } as const;
const PERSISTENT = 1;
const PRECOMPRESSED = 4;
const POOLS_LIMIT = 16;

interface Pool {
  readonly flags: number;
  readonly pages: Map<string, Uint8Array>;
}

/** What the host does wrong, once for each time that it is asked to. */
export const TMEM_FAULTS = [
  'loses a persistent page',
  'gives an older version',
  'changes a byte',
  'gives a page that was flushed',
  'gives another page',
  'says done and writes nothing',
  'gives the pool id of another pool',
  'gives a wrong length',
  'gives an ephemeral page twice',
  'loses a pool',
] as const;
export type TmemFault = (typeof TMEM_FAULTS)[number];

export interface TmemHost {
  readonly pools: ReadonlyMap<number, Pool>;
  /** Requests so far, by operation. */
  readonly requests: Readonly<Record<keyof typeof OPERATION, number>>;
  /** Whatever was wrong with a request itself: the guest must follow the specification. */
  readonly complaints: readonly string[];
  /** The fault that is done at the next chance, and then cleared. */
  fault: TmemFault | undefined;
  /** Puts and new pools are refused with this number, while it is one. */
  refusal: number | undefined;
  /** Ephemeral pages are dropped before a get, while it is true. */
  evicting: boolean;
}

/**
 * Gives an emulator the interface. `answer` says when a request is done: at once, or it is handed the completion.
 */
export function offerTmem(emulator: Emulator, answer: (complete: () => void) => void = (done) => done()): TmemHost {
  const { cpu } = emulator.v86;
  const pools = new Map<number, Pool>();
  const requests = { newPool: 0, destroyPool: 0, put: 0, get: 0, flushPage: 0, flushObject: 0 };
  const complaints: string[] = [];
  /** Contents that a sound host does not have any more, for faults. */
  const older = new Map<string, Uint8Array>();
  let pending = false;
  const host: TmemHost = { pools, requests, complaints, fault: undefined, refusal: undefined, evicting: false };

  const faulty = (fault: TmemFault, possible: boolean): boolean => {
    if (host.fault !== fault || !possible) return false;
    host.fault = undefined;
    return true;
  };

  const perform = (address: number): void => {
    const memory = guestMemory(emulator);
    const view = new DataView(memory.buffer, memory.byteOffset + address, 64);
    const [operation, status] = [view.getUint32(0, true), view.getUint32(4, true)];
    const poolId = view.getUint32(12, true);
    const object = [...new Uint8Array(memory.buffer, memory.byteOffset + address + 16, 24)].join(',');
    const key = `${object}/${view.getUint32(40, true)}`;
    const length = view.getUint32(44, true);
    const pageAt = view.getUint32(48, true);
    if (status !== 0) complaints.push(`status ${status} in a request`);
    if (view.getUint32(52, true) !== 0 || view.getBigUint64(56, true) !== 0n)
      complaints.push('a reserved field is set');
    const pool = pools.get(poolId);
    const older_ = `${poolId}/${key}`;
    let result = -22;
    const finish = (): void => {
      view.setInt32(8, result, true);
      view.setUint32(4, 1, true);
    };

    if (operation === OPERATION.newPool) {
      requests.newPool++;
      let id = 0;
      while (pools.has(id)) id++;
      if (host.refusal !== undefined || id >= POOLS_LIMIT) {
        result = host.refusal ?? -1;
      } else if (faulty('gives the pool id of another pool', pools.size > 0)) {
        [result] = pools.keys();
      } else {
        if ((poolId & ~7) !== 0x01000000) complaints.push(`pool flags ${poolId.toString(16)}`);
        pools.set(id, { flags: poolId, pages: new Map() });
        result = id;
      }
      return finish();
    }
    if (operation === OPERATION.destroyPool) {
      requests.destroyPool++;
      result = pools.delete(poolId) ? 1 : 0;
      for (const name of older.keys()) if (name.startsWith(`${poolId}/`)) older.delete(name);
      return finish();
    }
    if (pool === undefined) {
      complaints.push(`operation ${operation} on pool ${poolId}, which there is not`);
      result = -19;
      return finish();
    }
    const persistent = (pool.flags & PERSISTENT) !== 0;
    const precompressed = (pool.flags & PRECOMPRESSED) !== 0;
    if (precompressed && operation === OPERATION.put ? length < 1 || length > PAGE : length !== 0) {
      complaints.push(`length ${length} in operation ${operation}`);
    }
    if (operation === OPERATION.put || operation === OPERATION.get) {
      if (pageAt === 0 || pageAt % PAGE !== 0) complaints.push(`page at ${pageAt}`);
    } else if (pageAt !== 0) complaints.push('an address where there is no page');
    const held = pool.pages.get(key);
    if (faulty('loses a pool', persistent)) pool.pages.clear();

    switch (operation) {
      case OPERATION.put: {
        requests.put++;
        if (host.refusal !== undefined) {
          pool.pages.delete(key);
          result = host.refusal;
          break;
        }
        if (held !== undefined) older.set(older_, held);
        pool.pages.set(key, memory.slice(pageAt, pageAt + (precompressed ? length : PAGE)));
        result = 1;
        break;
      }
      case OPERATION.get: {
        requests.get++;
        if (!persistent && host.evicting) pool.pages.delete(key);
        let content = pool.pages.get(key);
        if (content !== undefined && faulty('loses a persistent page', persistent)) content = undefined;
        if (content !== undefined && faulty('gives an older version', older.has(older_))) content = older.get(older_);
        const another = [...pool.pages].find(([name, bytes]) => name !== key && bytes.length === content?.length)?.[1];
        const differs = another !== undefined && content !== undefined && Buffer.compare(another, content) !== 0;
        if (differs && faulty('gives another page', true)) content = another;
        if (content === undefined && faulty('gives a page that was flushed', older.has(older_))) {
          content = older.get(older_);
        }
        if (content === undefined) {
          result = pool.pages.size === 0 ? -1001 : 0;
          break;
        }
        const twice = faulty('gives an ephemeral page twice', !persistent);
        if (!persistent && !twice) pool.pages.delete(key);
        result = 1;
        if (faulty('says done and writes nothing', true)) break;
        emulator.v86.cpu.write_blob(content, pageAt);
        if (faulty('changes a byte', true)) guestMemory(emulator)[pageAt + content.length - 1] ^= 0x10;
        if (precompressed) {
          view.setUint32(44, content.length - (faulty('gives a wrong length', content.length > 1) ? 1 : 0), true);
        }
        break;
      }
      case OPERATION.flushPage: {
        requests.flushPage++;
        if (held !== undefined) older.set(older_, held);
        pool.pages.delete(key);
        result = 1;
        break;
      }
      case OPERATION.flushObject: {
        requests.flushObject++;
        for (const name of pool.pages.keys()) if (name.startsWith(`${object}/`)) pool.pages.delete(name);
        result = 1;
        break;
      }
      default: {
        complaints.push(`operation ${operation}`);
      }
    }
    finish();
  };

  const device = { name: 'tmem' };
  const nothing = (): void => {};
  cpu.io.register_read(
    PORT,
    device,
    () => 0xff,
    () => 0xffff,
    () => HERE,
  );
  cpu.io.register_read(
    VERSION_PORT,
    device,
    () => 0xff,
    () => 0xffff,
    () => 1,
  );
  cpu.io.register_write(PORT, device, nothing, nothing, (value) => {
    const address = value >>> 0;
    if (pending) complaints.push('a doorbell while a request was pending');
    if (address % 64 !== 0) complaints.push(`a descriptor at ${address}`);
    pending = true;
    answer(() => {
      pending = false;
      perform(address);
    });
  });
  return host;
}
