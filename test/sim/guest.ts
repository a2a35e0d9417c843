/** A guest, and the model of what it must hold: memory page by page, and its persistent tmem. */
import { TmemEngine } from '../../src/tmem/engine.ts';
import type { Scenario } from './scenario.ts';

export const CLIENT = 1;
const OBJECTS = 5;
const INDEXES = 6;
/** Flags of a pool: version 1, persistent or not. */
const FLAGS = [0x0100_0001, 0x0100_0000] as const;
const NO_UUID = new Uint8Array(16).fill(0xff);

const page = new Uint8Array(4096);
const words = new Uint32Array(page.buffer);
const handle = new Uint32Array(7);

/** What the guest itself knows: it does not depend on where it runs. */
export interface GuestModel {
  /** A page's content is one number. */
  readonly memory: Uint32Array;
  /** Slots of pools that are open, with whether they are persistent. */
  readonly pools: Map<number, boolean>;
  /** Persistent pages by slot, object and index. */
  readonly tmem: Map<string, number>;
  counter: number;
}

export function newModel(pages: number): GuestModel {
  return { memory: new Uint32Array(pages), pools: new Map(), tmem: new Map(), counter: 0 };
}

export function copyModel(model: GuestModel): GuestModel {
  const { memory, pools, tmem, counter } = model;
  return { memory: memory.slice(), pools: new Map(pools), tmem: new Map(tmem), counter };
}

/** A guest's process on a host: it has memory, and does something while it runs. */
export class SimGuest {
  readonly memory: Uint32Array;
  readonly engine: TmemEngine;
  readonly model: GuestModel;
  /** The epoch that it runs under, or 0. */
  runs = 0;
  throttle = 0;
  readonly pid: number;

  constructor(pid: number, memory: Uint32Array, engine: TmemEngine, model: GuestModel) {
    this.pid = pid;
    this.memory = memory;
    this.engine = engine;
    this.model = model;
  }

  /** One thing that a guest does. @param hosted false when its host is no more: tmem does not answer. */
  act({ random, tmemPart, pages, hotPages }: Scenario, hosted: boolean): void {
    const { model } = this;
    if (!hosted || random.below(100) >= tmemPart) {
      const at = random.below(20) === 0 ? random.below(pages) : random.below(hotPages);
      this.memory[at] = ++model.counter;
      model.memory[at] = model.counter;
      return;
    }
    const slots = [...model.pools.keys()];
    if (slots.length === 0 || (slots.length < 4 && random.below(40) === 0)) {
      const kind = random.below(4) === 0 ? 1 : 0;
      const slot = this.engine.newPool(CLIENT, FLAGS[kind], NO_UUID);
      if (slot >= 0) model.pools.set(slot, kind === 0);
      return;
    }
    const slot = random.pick(slots);
    const persistent = model.pools.get(slot) === true;
    const object = random.below(OBJECTS);
    const index = random.below(INDEXES);
    const key = `${slot}/${object}/${index}`;
    setHandle(object, index);
    const what = random.below(100);
    if (what < 55) {
      words.fill(++model.counter);
      const result = this.engine.put(CLIENT, slot, handle, page);
      if (persistent && result === 1) model.tmem.set(key, model.counter);
      else if (persistent) model.tmem.delete(key);
    } else if (what < 75) {
      this.engine.get(CLIENT, slot, handle, page);
    } else if (what < 92) {
      this.engine.flushPage(CLIENT, slot, handle);
      model.tmem.delete(key);
    } else if (what < 98) {
      this.engine.flushObject(CLIENT, slot, handle);
      for (let each = 0; each < INDEXES; each++) model.tmem.delete(`${slot}/${object}/${each}`);
    } else {
      this.engine.destroyPool(CLIENT, slot);
      model.pools.delete(slot);
      for (const each of model.tmem.keys()) if (each.startsWith(`${slot}/`)) model.tmem.delete(each);
    }
  }

  /** What differs from a model, or null: every page of memory, and every handle of every persistent pool. */
  differs(model: GuestModel): string | null {
    for (const [at, content] of model.memory.entries()) {
      if (this.memory[at] !== content) return `page ${at} holds ${this.memory[at]} and should hold ${content}`;
    }
    for (const [slot, persistent] of model.pools) {
      if (!persistent) continue;
      for (let object = 0; object < OBJECTS; object++) {
        for (let index = 0; index < INDEXES; index++) {
          const wanted = model.tmem.get(`${slot}/${object}/${index}`);
          setHandle(object, index);
          const found = this.engine.get(CLIENT, slot, handle, page) === 1 ? words[words.length - 1] : undefined;
          if (found !== wanted) return `tmem ${slot}/${object}/${index} holds ${String(found)}, not ${String(wanted)}`;
        }
      }
    }
    return null;
  }
}

function setHandle(object: number, index: number): void {
  handle.fill(0);
  handle[0] = object;
  handle[6] = index;
}

export function newEngine(): TmemEngine {
  return new TmemEngine({ limitBytes: 16 * 2 ** 20 });
}
