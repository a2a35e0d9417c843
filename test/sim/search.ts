/**
 * Exhaustive search of the handover alone (H1 to H6): every order of messages, losses, copies, crashes, failing writes,
 * cancellations and operators' decisions up to a bound. A message that was sent once may come at any time later, any
 * number of times, or never: the network is the set of all that was ever sent.
 */
import {
  destinationMayRun,
  ownerByDestination,
  type DestinationState,
} from '../../src/migrate/handover/destination.ts';
import type { HandoverEffect, HandoverMessage, OwnershipRecord } from '../../src/migrate/handover/ownership.ts';
import { ownerBySource, sourceMayRun, type SourceEvent, type SourceState } from '../../src/migrate/handover/source.ts';
import { TransmigrateError } from '../../src/errors.ts';
import type { HandoverLogic } from './handover-logic.ts';

export interface SearchBound {
  /** Migrations of the one machine, one after the other. */
  readonly attempts: number;
  readonly crashes: number;
  /** Journal writes that fail, with or without doubt. */
  readonly writeFailures: number;
  /** Decisions of an operator, made only while the other host is down with nothing left that could run. */
  readonly settles: number;
}

export interface SearchResult {
  readonly states: number;
  readonly transitions: number;
  /** How often each end was seen, closing fairly from every state. */
  readonly ends: ReadonlyMap<string, number>;
}

export class SearchFault extends Error {
  override readonly name = 'SearchFault';
  /** What led to it. */
  readonly trail: readonly string[];

  constructor(what: string, trail: readonly string[]) {
    super(`${what}\n  ${trail.join('\n  ')}`);
    this.trail = trail;
  }
}

interface Side<S> {
  /** By migration, in the order of attempts. */
  readonly states: readonly (S | null)[];
  /** Records on the disk. */
  readonly disk: readonly OwnershipRecord[];
  /** The epoch under which the guest of this side runs, or 0. */
  readonly runs: number;
  /** Of which attempt it is. */
  readonly of: number;
}

interface World {
  readonly source: Side<SourceState>;
  readonly destination: Side<DestinationState>;
  /** Everything that was ever said, in both directions. */
  readonly said: readonly string[];
  readonly crashes: number;
  readonly writeFailures: number;
  readonly settles: number;
  /** Whether the machine ever ran on the destination, and an operator has overridden something since. */
  readonly moved: boolean;
  readonly overridden: boolean;
  /** Attempts after whose pause the source's guest ran on: what the destination has of them is old. */
  readonly stale: readonly number[];
  /** Whether the host of the source was ever started again: then its guest is no more. */
  readonly sourceLost: boolean;
}

const MACHINE = '00000000-0000-4000-8000-000000000001';
const SOURCE = 'a'.repeat(32);
const DESTINATION = 'b'.repeat(32);
const CONFIRMATION = { chains: ['c'], agreement: 'd' };
const OWN_EPOCH = 1;

function idOf(attempt: number): string {
  return String(attempt).padStart(32, '0');
}

class Search {
  readonly #logic: HandoverLogic;
  readonly #bound: SearchBound;
  readonly #seen = new Map<string, { readonly before: string | null; readonly action: string }>();
  readonly #queue: string[] = [];
  transitions = 0;
  readonly ends = new Map<string, number>();

  constructor(logic: HandoverLogic, bound: SearchBound) {
    this.#logic = logic;
    this.#bound = bound;
  }

  run(mostStates: number): SearchResult {
    const nothing: World = {
      source: {
        states: [],
        disk: [],
        runs: OWN_EPOCH,
        of: 0,
      },
      destination: {
        states: [],
        disk: [],
        runs: 0,
        of: 0,
      },
      said: [],
      crashes: 0,
      writeFailures: 0,
      settles: 0,
      moved: false,
      overridden: false,
      stale: [],
      sourceLost: false,
    };
    this.#visit(this.#attempt(nothing), null, 'begin');
    for (let key = this.#queue.shift(); key !== undefined; key = this.#queue.shift()) {
      const world = JSON.parse(key) as World;
      for (const [action, next] of this.#moves(world, key)) {
        this.transitions++;
        this.#visit(next, key, action);
      }
      this.#close(world, key);
      if (this.#seen.size > mostStates) throw new Error(`more than ${mostStates} states`);
    }
    return { states: this.#seen.size, transitions: this.transitions, ends: this.ends };
  }

  #visit(world: World, before: string | null, action: string): void {
    const key = JSON.stringify(world);
    if (this.#seen.has(key)) return;
    this.#seen.set(key, { before, action });
    this.#check(world, key);
    this.#queue.push(key);
  }

  #trail(key: string): string[] {
    const trail: string[] = [];
    for (let at: string | null = key; at !== null;) {
      const { before, action }: { before: string | null; action: string } = this.#seen.get(at)!;
      trail.unshift(action);
      at = before;
    }
    return trail;
  }

  #check(world: World, key: string): void {
    const { source, destination } = world;
    if (source.runs > 0 && destination.runs > 0) throw new SearchFault('two run', this.#trail(key));
    const last = source.states.at(-1) ?? null;
    if (source.runs > 0 && last !== null && sourceMayRun(last) === undefined) {
      throw new SearchFault('the source runs and may not', this.#trail(key));
    }
    const granted = destination.states.some((state) => state !== null && destinationMayRun(state) !== undefined);
    if (destination.runs > 0 && !granted) throw new SearchFault('the destination runs and may not', this.#trail(key));
  }

  /** Write, sync, then act (H4): what a host says of itself is on its disk. */
  #checkSaid(world: World, side: 'source' | 'destination', { kind, id }: HandoverMessage, key: string): void {
    const needs = kind === 'CONFIRM' || kind === 'KEPT' ? null : kind;
    if (needs === null || world[side].disk.some((record) => record.id === id && record.kind === needs)) return;
    throw new SearchFault(`the ${side} says ${kind}, which is not on its disk`, this.#trail(key));
  }

  /** Performs effects. What the disk does is a move of its own. */
  #perform(
    world: World,
    side: 'source' | 'destination',
    at: number,
    effects: readonly HandoverEffect[],
    key: string,
  ): World {
    let now = world;
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send': {
          this.#checkSaid(now, side, effect.message, key);
          const text = `${side === 'source' ? '>' : '<'}${JSON.stringify(effect.message)}`;
          if (!now.said.includes(text)) now = { ...now, said: [...now.said, text].toSorted() };
          break;
        }
        case 'resume':
          if (now.moved && !now.overridden) throw new SearchFault('an old copy goes on', this.#trail(key));
          if (now.sourceLost || now.source.runs > 0) break;
          now = { ...now, source: { ...now.source, runs: effect.epoch }, stale: [...now.stale, at] };
          break;
        case 'run':
          if (now.stale.includes(at) && !now.overridden) throw new SearchFault('an old copy runs', this.#trail(key));
          now = { ...now, moved: true, destination: { ...now.destination, runs: effect.epoch, of: at } };
          break;
        case 'stop':
          if (side === 'source' || now.destination.of === at) now = { ...now, [side]: { ...now[side], runs: 0 } };
          break;
        case 'free': {
          const runs = now.destination.disk.some(({ kind, id }) => kind === 'RUNNING' && id === idOf(at));
          if (!runs && !now.overridden) throw new SearchFault('freed before anybody ran it', this.#trail(key));
          now = { ...now, source: { ...now.source, runs: 0 } };
          break;
        }
        case 'discard':
          if (now.destination.runs > 0 && now.destination.of === at)
            throw new SearchFault('what runs was discarded', this.#trail(key));
          break;
        case 'journal':
        case 'later':
        case 'report':
          break;
      }
    }
    return now;
  }

  #source(world: World, at: number, event: SourceEvent, key: string): World {
    const { state, effects } = this.#logic.stepSource(world.source.states[at]!, event);
    // The guest is paused before everything is sent.
    const runs = event.kind === 'sent' && state.phase === 'final' ? 0 : world.source.runs;
    const states = world.source.states.with(at, state);
    return this.#perform({ ...world, source: { ...world.source, states, runs } }, 'source', at, effects, key);
  }

  #destination(world: World, at: number, event: Parameters<HandoverLogic['stepDestination']>[1], key: string): World {
    const { state, effects } = this.#logic.stepDestination(world.destination.states[at]!, event);
    const states = world.destination.states.with(at, state);
    return this.#perform({ ...world, destination: { ...world.destination, states } }, 'destination', at, effects, key);
  }

  #attempt(world: World): World {
    const attempt = world.source.states.length;
    const epochs = [...world.source.disk, ...world.source.states.map((state) => ({ epoch: state!.epoch }))];
    const epoch = Math.max(OWN_EPOCH, ...epochs.map((record) => record.epoch)) + 1;
    const begin = { id: idOf(attempt), machine: MACHINE, epoch };
    const { state } = this.#logic.beginSource({ ...begin, peer: DESTINATION, ownEpoch: world.source.runs });
    return {
      ...world,
      source: { ...world.source, states: [...world.source.states, state] },
      destination: { ...world.destination, states: [...world.destination.states, null] },
    };
  }

  *#moves(world: World, key: string): Generator<[string, World]> {
    const { source, destination } = world;
    for (const [at, state] of source.states.entries()) {
      if (state === null) continue;
      yield* this.#writes(world, 'source', at, state.stuck ? null : state.writing, key);
      if (state.phase === 'live' && destination.states[at] === null) {
        const { id, machine, epoch } = state;
        const begun = this.#logic.beginDestination({ id, machine, epoch, peer: SOURCE });
        const states = destination.states.with(at, begun);
        yield [`accept ${at}`, { ...world, destination: { ...destination, states } }];
      }
      if (state.phase === 'live' && destination.states[at]?.phase === 'receiving') {
        yield [`sent ${at}`, this.#source(world, at, { kind: 'sent', ...CONFIRMATION }, key)];
      }
      yield [`source ${at} fails`, this.#source(world, at, { kind: 'failed' }, key)];
      yield [`source ${at} again`, this.#source(world, at, { kind: 'again' }, key)];
    }
    const last = source.states.at(-1)!;
    if (last.phase === 'kept' && source.runs > 0 && source.states.length < this.#bound.attempts) {
      yield ['another attempt', this.#attempt(world)];
    }
    for (const [at, state] of destination.states.entries()) {
      if (state === null) continue;
      yield* this.#writes(world, 'destination', at, state.stuck ? null : state.writing, key);
      const from = source.states[at]!;
      // What is on the way when the source fails still comes.
      if (state.phase === 'receiving' && (from.expected !== null || from.phase === 'kept')) {
        yield [`complete ${at}`, this.#destination(world, at, { kind: 'complete', ...CONFIRMATION }, key)];
      }
      // The source went on over another connection, and what said so may come late.
      if (from.expected !== null || from.phase === 'kept') {
        yield [`reopen ${at}`, this.#destination(world, at, { kind: 'reopened' }, key)];
      }
      yield [`destination ${at} fails`, this.#destination(world, at, { kind: 'failed' }, key)];
      yield [`destination ${at} again`, this.#destination(world, at, { kind: 'again' }, key)];
    }
    for (const text of world.said) yield [`deliver ${text}`, this.#deliver(world, text, key)];
    if (world.crashes < this.#bound.crashes) {
      yield* this.#crashes(world, key);
    }
    if (world.settles < this.#bound.settles) yield* this.#settles(world, key);
  }

  #deliver(world: World, text: string, key: string): World {
    const message = JSON.parse(text.slice(1)) as HandoverMessage;
    const at = world.source.states.findIndex((state) => state?.id === message.id);
    if (text.startsWith('<')) {
      return this.#source(world, at, { kind: 'message', from: DESTINATION, message }, key);
    }
    let now = world;
    if (now.destination.states[at] === null) {
      // It never heard of it: it answers as one that holds nothing.
      const { id, machine } = now.source.states[at]!;
      const begin = { id, machine, peer: SOURCE, epoch: message.epoch };
      const states = now.destination.states.with(at, this.#logic.recoverDestination(begin, null));
      now = { ...now, destination: { ...now.destination, states } };
    }
    return this.#destination(now, at, { kind: 'message', from: SOURCE, message }, key);
  }

  *#writes(
    world: World,
    side: 'source' | 'destination',
    at: number,
    record: OwnershipRecord | null,
    key: string,
  ): Generator<[string, World]> {
    if (record === null) return;
    const step = (from: World, end: 'durable' | 'notWritten' | 'doubtful'): World =>
      side === 'source'
        ? this.#source(from, at, { kind: 'written', end }, key)
        : this.#destination(from, at, { kind: 'written', end }, key);
    const there: World = { ...world, [side]: { ...world[side], disk: [...world[side].disk, record] } };
    yield [`${side} wrote ${record.kind} ${at}`, step(there, 'durable')];
    if (world.writeFailures >= this.#bound.writeFailures) return;
    const writeFailures = world.writeFailures + 1;
    yield [`${side} could not write ${record.kind} ${at}`, step({ ...world, writeFailures }, 'notWritten')];
    yield [`${side} does not know of ${record.kind} ${at}`, step({ ...world, writeFailures }, 'doubtful')];
    const doubt = { ...there, writeFailures };
    yield [`${side} does not know of ${record.kind} ${at}, which is there`, step(doubt, 'doubtful')];
  }

  /** A host ends at any moment, with what it was writing on the disk or not, and is started again. */
  *#crashes(world: World, key: string): Generator<[string, World]> {
    const crashes = world.crashes + 1;
    for (const side of ['source', 'destination'] as const) {
      const states: readonly (SourceState | DestinationState | null)[] = world[side].states;
      const pending = states.flatMap((state) => (state?.writing === null || state === null ? [] : [state.writing]));
      for (const written of pending.length === 0 ? [[]] : [[], pending]) {
        const disk = [...world[side].disk, ...written];
        const what = `${side} crashes${written.length > 0 ? `, ${written[0].kind} is on the disk` : ''}`;
        if (side === 'source') {
          const after = states.map((state): SourceState => {
            const last = disk.findLast(({ id }) => id === state!.id);
            // Without a record nobody has heard of it.
            return this.#logic.recoverSource(last ?? { ...recordOf(state as SourceState), kind: 'BEGUN' });
          });
          const now = { ...world, crashes, sourceLost: true, source: { states: after, disk, runs: 0, of: 0 } };
          yield [what, after.reduce((from, _, at) => this.#source(from, at, { kind: 'again' }, key), now as World)];
        } else {
          const after = states.map((state, at): DestinationState => {
            const { id, machine } = world.source.states[at]!;
            const last = disk.findLast((record) => record.id === id) ?? null;
            const epoch = state?.epoch ?? world.source.states[at]!.epoch;
            return this.#logic.recoverDestination({ id, machine, peer: SOURCE, epoch }, last);
          });
          yield [what, { ...world, crashes, destination: { states: after, disk, runs: 0, of: 0 } }];
        }
      }
    }
  }

  *#settles(world: World, key: string): Generator<[string, World]> {
    const settles = world.settles + 1;
    const now = { ...world, settles, overridden: true };
    for (const [at, state] of world.source.states.entries()) {
      // An operator looks before he decides: nothing of the other side runs or can run by itself.
      const other = world.destination.states[at];
      if (state?.phase !== 'given') continue;
      const dead = other === null || other === undefined || (!other.copy && other.phase === 'running');
      if (!dead) continue;
      for (const choice of ['take', 'abandon'] as const) {
        yield [`operator: source ${choice} ${at}`, this.#source(now, at, { kind: 'settle', choice }, key)];
      }
    }
    for (const [at, state] of world.destination.states.entries()) {
      if (state?.phase !== 'running' || state.copy) continue;
      const event = { kind: 'settle', choice: 'abandon' } as const;
      yield [`operator: destination abandon ${at}`, this.#destination(now, at, event, key)];
    }
  }

  /** From every state: when nothing goes wrong any more, there is one owner in the end, or a declared unknown. */
  #close(world: World, key: string): void {
    let now = world;
    for (let round = 0; round < 20; round++) {
      const before = JSON.stringify(now);
      for (const side of ['source', 'destination'] as const) {
        for (let at = 0; at < now[side].states.length; at++) {
          for (let writes = 0; writes < 4; writes++) {
            const state = now[side].states[at];
            if (state === null || state.writing === null) break;
            const disk = [...now[side].disk, state.writing];
            now = { ...now, [side]: { ...now[side], disk } };
            const event = { kind: 'written', end: 'durable' } as const;
            now = side === 'source' ? this.#source(now, at, event, key) : this.#destination(now, at, event, key);
          }
          const event = { kind: 'again' } as const;
          if (side === 'source') now = this.#source(now, at, event, key);
          else if (now.destination.states[at] !== null) now = this.#destination(now, at, event, key);
        }
      }
      for (const text of now.said) now = this.#deliver(now, text, key);
      if (JSON.stringify(now) === before) break;
    }
    this.#judge(now, key);
  }

  #judge(world: World, key: string): void {
    this.#check(world, key);
    const last = world.source.states.at(-1)!;
    const destination = world.destination.states.at(-1) ?? null;
    const bySource = ownerBySource(last);
    const byDestination = destination === null ? null : ownerByDestination(destination);
    const claims = [
      ...(bySource.owner === 'source' ? ['source'] : []),
      ...world.destination.states.flatMap((state) =>
        state !== null && ownerByDestination(state).owner === 'destination' ? ['destination'] : [],
      ),
    ];
    const wrong = (what: string): never => {
      const states = JSON.stringify([last.phase, destination?.phase, bySource, byDestination]);
      throw new SearchFault(`${what}: ${states}`, this.#trail(key));
    };
    if (claims.length > 1 && !world.overridden) wrong('two own it');
    if (claims.length === 0 && bySource.owner === 'unknown' && !bySource.gone) wrong('unknown, and nobody said why');
    if (bySource.owner === 'source' && !bySource.gone && sourceMayRun(last) === undefined) wrong('owned, not allowed');
    if (bySource.owner === 'source' && last.copy && world.sourceLost) wrong('a copy that is not there');
    if (bySource.owner === 'source' && bySource.gone && !world.sourceLost && !world.overridden) wrong('lost');
    const end = `${bySource.owner}${bySource.gone ? ', gone' : ''}${world.overridden ? ', by an operator' : ''}`;
    this.ends.set(end, (this.ends.get(end) ?? 0) + 1);
  }
}

function recordOf({ id, machine, epoch, peer }: SourceState): Omit<OwnershipRecord, 'kind'> {
  return { side: 'source', id, machine, epoch, peer, by: 'protocol' };
}

/**
 * Searches everything within the bound.
 * @throws SearchFault with what led to it, for the first thing that is wrong.
 */
export function searchHandover(logic: HandoverLogic, bound: SearchBound, mostStates = 5_000_000): SearchResult {
  try {
    return new Search(logic, bound).run(mostStates);
  } catch (error) {
    // An operator who is told that there is nothing to settle changes nothing.
    if (error instanceof TransmigrateError) throw new Error(`refused: ${error.message}`, { cause: error });
    throw error;
  }
}
