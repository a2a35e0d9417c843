/**
 * The reference's statistics, as its `list` gives them, beside ours (spec/tmem.md 11). Only what follows from the
 * operations is compared: not times, not nodes of its trees, not sizes by its compressor.
 */
import type { Client, Pool } from './clients.ts';
import type { TmemEngine } from './engine.ts';

interface Pair {
  readonly expected: string;
  readonly found: string;
}

/** One record of the list: its letter, and its fields. */
interface Entry {
  readonly kind: string;
  readonly fields: ReadonlyMap<string, string>;
}

function parse(text: string): Entry[] {
  const lines = text.split('\n');
  // The reference cuts the text where its buffer ends: a last line that is not ended may be half a line.
  lines.pop();
  return lines.map((line) => {
    const [, kind = '', rest = ''] = /^(\w)=?(.*)$/.exec(line) ?? [];
    return { kind, fields: new Map(rest.split(',').map((field) => field.split(':') as [string, string])) };
  });
}

function clientFields(client: Client): Record<string, number> {
  return {
    ww: client.weight,
    ca: client.cap,
    co: client.compress ? 1 : 0,
    fr: client.frozen ? 1 : 0,
    Ge: client.counts.ephemeralGets,
    Pp: client.counts.persistentPuts,
    Gp: client.counts.persistentGets,
    Ec: client.ephemeral,
    Em: client.mostEphemeral,
  };
}

function poolFields(engine: TmemEngine, pool: Pool): Record<string, number> {
  const { counts } = pool;
  return {
    Pc: counts.pages,
    Oc: engine.holdings.table.objectsOf(pool.number),
    ps: counts.goodPuts,
    pt: counts.puts,
    pd: counts.removedByPuts,
    pr: counts.replacedPuts,
    gs: counts.goodGets,
    gt: counts.gets,
    fs: counts.goodFlushes,
    ft: counts.flushes,
    os: counts.goodObjectFlushes,
    ot: counts.objectFlushes,
    // The reference counts a page while it is being put: one that fails can be its highest count.
    ...(counts.refusedPuts === 0 && { Pm: counts.mostPages, Om: counts.mostObjects }),
  };
}

function* compareFields(where: string, entry: Entry, ours: Readonly<Record<string, number>>): Generator<Pair> {
  for (const [name, value] of Object.entries(ours)) {
    const recorded = entry.fields.get(name);
    // Numbers are 32 bits with a sign there.
    if (recorded !== undefined) {
      yield { expected: `${where} ${name} ${Number(recorded) | 0}`, found: `${where} ${name} ${value | 0}` };
    }
  }
}

/** Pairs of what the reference counted and what the engine did, equal or not. */
export function* listDifferences(engine: TmemEngine, text: string): Generator<Pair> {
  let client: Client | undefined;
  let slot = 0;
  for (const entry of parse(text)) {
    if (entry.kind === 'C') {
      client = engine.clients.get(Number(entry.fields.get('CI')));
      slot = 0;
      const where = `client ${entry.fields.get('CI') ?? ''}`;
      yield { expected: where, found: client === undefined ? 'none' : where };
      if (client !== undefined) yield* compareFields(where, entry, clientFields(client));
    } else if (entry.kind === 'P' && client !== undefined) {
      // Pools come by their slots, but with the number that their owner has for them.
      while (slot < client.pools.length && client.pools[slot] === undefined) slot++;
      const pool = client.pools[slot];
      const where = `client ${client.id} pool ${slot}`;
      const found = pool === undefined ? 'none' : `${where} ${kindOf(pool)}`;
      yield { expected: `${where} ${entry.fields.get('PT') ?? ''}`, found };
      if (pool !== undefined) {
        yield* compareFields(where, entry, poolFields(engine, pool));
      }
      slot++;
    }
  }
}

function kindOf(pool: Pool): string {
  return (pool.persistent ? 'P' : 'E') + (pool.shared ? 'S' : 'P');
}
