// tmem records (section 10).
import { cat, hex, hexOf, sha256, u32, u64, u8, uuidText, zeros } from './bytes.ts';
import { known } from './channel.ts';
import type { Rec } from './channel.ts';
import { codecNumber } from './content.ts';
import type { Packed } from './content.ts';
import { optionalBit } from './format.ts';
import type { TmemHandle } from './machine.ts';

export type ClientFields = {
  compress: boolean;
  frozen: boolean;
  weight: number;
  cap: number;
  allowance: bigint;
  authorised: Buffer[];
  count: number;
};

export function client(fields: Partial<ClientFields> = {}): Rec {
  const f = { compress: false, frozen: false, weight: 0, cap: 0, allowance: 0n, authorised: [], ...fields };
  return {
    ...known('TMEM_CLIENT'),
    body: cat(
      u32((f.compress ? 1 : 0) | (f.frozen ? 2 : 0)),
      u32(f.weight),
      u32(f.cap),
      u32(f.count ?? f.authorised.length),
      u64(f.allowance),
      ...f.authorised,
    ),
    fields: {
      compress: f.compress,
      frozen: f.frozen,
      weight: f.weight,
      cap: f.cap,
      allowancePages: String(f.allowance),
      authorised: f.authorised.map(uuidText),
    },
    apply: (machine) => {
      machine.tmemSeen = true;
    },
  };
}

export type PoolFields = {
  slot: number;
  persistent: boolean;
  shared: boolean;
  precompressed: boolean;
  pageShift: number;
  version: number;
  width: number;
  uuid: Buffer;
  pages: bigint;
  extraFlags: number;
  reserved: number;
  /** Types 0x41 and 0x80000041; by default as `persistent` says. */
  optional: boolean;
};

/** A pool that the other makers refer to. */
export type Pool = PoolFields & { incarnation: bigint };

export function poolOf(incarnation: bigint, fields: Partial<PoolFields> = {}): Pool {
  const persistent = fields.persistent ?? true;
  return {
    incarnation,
    slot: 0,
    persistent,
    shared: false,
    precompressed: false,
    pageShift: 12,
    version: 1,
    width: 64,
    uuid: zeros(16),
    pages: 0n,
    extraFlags: 0,
    reserved: 0,
    optional: !persistent,
    ...fields,
  };
}

function typed(name: 'TMEM_POOL' | 'TMEM_PAGES' | 'TMEM_INVALIDATE', optional: boolean): ReturnType<typeof known> {
  const base = known(name);
  return optional ? { ...base, type: base.type + optionalBit } : base;
}

export function pool(p: Pool): Rec {
  const flags =
    ((p.persistent ? 1 : 0) |
      (p.shared ? 2 : 0) |
      (p.precompressed ? 4 : 0) |
      ((p.pageShift - 12) << 4) |
      (p.version << 24) |
      p.extraFlags) >>>
    0;
  return {
    ...typed('TMEM_POOL', p.optional),
    body: cat(
      u64(p.incarnation),
      u32(p.slot),
      u32(flags),
      u8(p.width),
      Buffer.alloc(7, p.reserved),
      p.uuid,
      u64(p.pages),
    ),
    fields: {
      incarnation: String(p.incarnation),
      pool: p.slot,
      flags: hexOf(flags, 8),
      kind: p.persistent ? 'persistent' : 'ephemeral',
      shared: p.shared,
      precompressed: p.precompressed,
      pageSize: 2 ** p.pageShift,
      objectIdBits: p.width,
      uuid: uuidText(p.uuid),
      pages: String(p.pages),
    },
    listing: { incarnation: p.incarnation },
    apply: (machine) => machine.beginPool(p.incarnation, p.slot, p.persistent),
  };
}

export type Entry = TmemHandle & {
  page: Packed;
  wrong?: { original?: number; stored?: number; codec?: number };
  reserved?: number;
};

export const handle = (object: bigint | [bigint, bigint, bigint], index: number): TmemHandle => ({
  object: typeof object === 'bigint' ? [object, 0n, 0n] : object,
  index,
});

export const entry = (object: bigint | [bigint, bigint, bigint], index: number, page: Packed): Entry => ({
  ...handle(object, index),
  page,
});

const least = (values: bigint[]): bigint => values.reduce((low, value) => (value < low ? value : low));
const most = (values: bigint[]): bigint => values.reduce((high, value) => (value > high ? value : high));

const padded = (content: Buffer, size: number): Buffer => cat(content, zeros(Math.max(0, size - content.length)));

export type PagesPatch = { count?: number; reserved?: number; tail?: Buffer; optional?: boolean };

export function pages(p: Pool, entries: Entry[], patch: PagesPatch = {}): Rec {
  const contentOf = (item: Entry): Buffer =>
    p.precompressed ? item.page.stored : padded(item.page.content, 2 ** p.pageShift);
  const rows = entries.map((item) =>
    cat(
      ...item.object.map(u64),
      u32(item.index),
      u32(item.wrong?.original ?? item.page.content.length),
      u32(item.wrong?.stored ?? item.page.stored.length),
      u8(item.wrong?.codec ?? codecNumber[item.page.codec]),
      Buffer.alloc(3, item.reserved ?? 0),
    ),
  );
  const optional = patch.optional ?? p.optional;
  return {
    ...typed('TMEM_PAGES', optional),
    body: cat(
      u64(p.incarnation),
      u32(patch.count ?? entries.length),
      u32(patch.reserved ?? 0),
      ...rows,
      ...entries.map((item) => item.page.stored),
      patch.tail ?? zeros(0),
    ),
    fields: {
      incarnation: String(p.incarnation),
      pages: entries.map((item) => ({
        object: item.object.map(String),
        index: item.index,
        codec: item.page.codec,
        bytes: item.page.content.length,
        stored: item.page.stored.length,
        content: hex(sha256(contentOf(item))),
      })),
    },
    tally: { tmemPages: optional ? 0 : entries.length },
    listing: {
      pages: entries.length,
      incarnation: p.incarnation,
      low: least(entries.map((item) => item.object[0])),
      high: most(entries.map((item) => item.object[0])),
      lowIndex: Math.min(...entries.map((item) => item.index)),
      highIndex: Math.max(...entries.map((item) => item.index)),
    },
    apply: (machine) => {
      for (const item of entries) machine.put(p.incarnation, item, contentOf(item));
    },
  };
}

export type InvalidatePatch = { count?: number; scope?: number; reserved?: number; tail?: Buffer; optional?: boolean };

/** Scope 1: pages; 2: objects (the handles' index is 0); 3: the pool (no handles). */
export function invalidate(p: Pool, scope: 1 | 2 | 3, handles: TmemHandle[], patch: InvalidatePatch = {}): Rec {
  const words = handles.map((item) => item.object[0]);
  const optional = patch.optional ?? p.optional;
  return {
    ...typed('TMEM_INVALIDATE', optional),
    body: cat(
      u64(p.incarnation),
      u32(patch.scope ?? scope),
      u32(patch.count ?? handles.length),
      ...handles.map((item) => cat(...item.object.map(u64), u32(item.index), u32(patch.reserved ?? 0))),
      patch.tail ?? zeros(0),
    ),
    fields: {
      incarnation: String(p.incarnation),
      scope: ['pages', 'objects', 'pool'][scope - 1],
      handles: handles.map((item) => ({ object: item.object.map(String), index: item.index })),
    },
    tally: { tmemInvalidations: optional ? 0 : scope === 3 ? 1 : handles.length },
    listing: {
      pages: handles.length,
      incarnation: p.incarnation,
      low: words.length > 0 ? least(words) : 0n,
      high: scope === 3 ? 2n ** 64n - 1n : words.length > 0 ? most(words) : 0n,
      lowIndex: scope === 1 ? Math.min(...handles.map((item) => item.index)) : 0,
      highIndex: scope === 3 ? 0xffffffff : scope === 1 ? Math.max(...handles.map((item) => item.index)) : 0,
    },
    apply: (machine) => {
      for (const item of handles) {
        if (scope === 1) machine.invalidatePage(p.incarnation, item);
        else machine.invalidateObject(p.incarnation, item.object);
      }
      if (scope === 3) machine.endPool(p.incarnation);
    },
  };
}
