/** Random operations on tmem, and how they are carried out on an engine and on the model. */
import * as fc from 'fast-check';
import { RESULT, type TmemEngine } from '../../src/index.ts';
import type { TmemModel } from './tmem-model.ts';

export type Operation =
  | { readonly op: 'newPool'; readonly client: number; readonly flags: number; readonly uuid: number }
  | { readonly op: 'destroyPool' | 'freeze' | 'thaw' | 'destroyClient'; readonly client: number; readonly slot: number }
  | { readonly op: 'put'; readonly client: number; readonly slot: number; readonly at: Place; readonly page: Page }
  | {
      readonly op: 'get' | 'flushPage' | 'flushObject';
      readonly client: number;
      readonly slot: number;
      readonly at: Place;
    };

/** An object of a few, and a page of it. */
export interface Place {
  readonly object: number;
  readonly index: number;
}

/** What a page holds: a kind and a seed. */
export interface Page {
  readonly kind: 'zero' | 'random' | 'repeating' | 'half' | 'tail' | 'head';
  readonly seed: number;
  /** Of the guest's own data, in a PRECOMPRESSED pool. */
  readonly length: number;
}

const place = fc.record({ object: fc.nat(7), index: fc.nat(11) });
const page = fc.record({
  kind: fc.constantFrom('zero', 'random', 'repeating', 'half', 'tail', 'head'),
  seed: fc.nat(30),
  length: fc.constantFrom(1, 7, 100, 2048, 4095, 4096),
});
const slot = fc.nat(3);

/** Flags of pools that are right, and a few that are not. */
const flags = fc.constantFrom(
  ...[0, 1, 2, 3, 4, 5, 0, 1, 0, 1].map((f) => f | 0x0100_0000),
  0,
  0x0100_0010,
  0x0200_0001,
);

export function operations(clients: readonly number[], maxLength: number): fc.Arbitrary<Operation[]> {
  const client = fc.constantFrom(...clients);
  const each = fc.oneof(
    { weight: 3, arbitrary: fc.record({ op: fc.constant('newPool' as const), client, flags, uuid: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant('destroyPool' as const), client, slot }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('freeze' as const, 'thaw' as const), client, slot }) },
    { weight: 40, arbitrary: fc.record({ op: fc.constant('put' as const), client, slot, at: place, page }) },
    { weight: 20, arbitrary: fc.record({ op: fc.constant('get' as const), client, slot, at: place }) },
    { weight: 10, arbitrary: fc.record({ op: fc.constant('flushPage' as const), client, slot, at: place }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant('flushObject' as const), client, slot, at: place }) },
  );
  return fc.array(each, { maxLength, size: 'max' });
}

/** Object ids that differ in one of their halves only, and some that are long. */
const OBJECTS: readonly (readonly number[])[] = [
  [0, 0, 0, 0, 0, 0],
  [1, 0, 0, 0, 0, 0],
  [0, 1, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 1],
  [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff],
  [0x8000_0000, 0, 5, 0, 0, 0],
  [7, 7, 7, 7, 7, 7],
  [2, 0, 0, 0, 0, 0],
];
const INDEXES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as const;

export function handleOf({ object, index }: Place, into = new Uint32Array(7)): Uint32Array {
  into.set(OBJECTS[object]);
  into[6] = INDEXES[index];
  return into;
}

/** A page by its kind and seed. */
export function pageOf({ kind, seed }: Page): Uint8Array {
  const bytes = new Uint8Array(4096);
  if (kind === 'zero') return bytes;
  let state = (seed + 1) * 0x9e37_79b1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
  const random = { random: 4096, repeating: 16, half: 2048, tail: 0, head: 16 }[kind];
  for (let at = 0; at < random; at++) bytes[at] = next();
  if (kind === 'repeating') for (let at = 16; at < 4096; at++) bytes[at] = bytes[at - 16];
  if (kind === 'half') for (let at = 2048; at < 4096; at++) bytes[at] = bytes[at % 8];
  if (kind === 'tail') bytes[4095] = seed + 1;
  return bytes;
}

export function uuidOf(number: number): Uint8Array {
  return new Uint8Array(16).fill(number === 2 ? 0xff : number + 1);
}

export function contentText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

const FILLER = 0x5a;
const buffer = new Uint8Array(4096);

/** Carries an operation out on an engine: its result, or for a get that found something the content as text. */
export function perform(engine: TmemEngine, operation: Operation): number | string {
  const { client } = operation;
  switch (operation.op) {
    case 'newPool':
      return engine.newPool(client, operation.flags, uuidOf(operation.uuid));
    case 'destroyPool':
      return engine.destroyPool(client, operation.slot);
    case 'freeze':
    case 'thaw':
      engine.addClient(client);
      engine.set(client, { frozen: operation.op === 'freeze' });
      return 0;
    case 'destroyClient':
      engine.destroyClient(client);
      return 0;
    case 'put':
      return engine.put(client, operation.slot, handleOf(operation.at), pageOf(operation.page), operation.page.length);
    case 'get': {
      buffer.fill(FILLER);
      const result = engine.get(client, operation.slot, handleOf(operation.at), buffer);
      return result === RESULT.done ? contentText(buffer.subarray(0, engine.gotBytes)) : result;
    }
    case 'flushPage':
      return engine.flushPage(client, operation.slot, handleOf(operation.at));
    case 'flushObject':
      return engine.flushObject(client, operation.slot, handleOf(operation.at));
    default:
      throw new Error('no such operation');
  }
}

/** The same on the model. */
export function performOnModel(model: TmemModel, operation: Operation): number | string {
  const { client } = operation;
  switch (operation.op) {
    case 'newPool':
      return model.newPool(client, operation.flags, Buffer.from(uuidOf(operation.uuid)).toString('hex'));
    case 'destroyPool':
      return model.destroyPool(client, operation.slot);
    case 'freeze':
    case 'thaw':
      model.client(client).frozen = operation.op === 'freeze';
      return 0;
    case 'destroyClient':
      model.destroyClient(client);
      return 0;
    case 'put': {
      const { slot: number, at } = operation;
      const precompressed = model.client(client).pools[number]?.precompressed === true;
      const bytes = pageOf(operation.page).subarray(0, precompressed ? operation.page.length : 4096);
      return model.put(client, number, String(at.object), at.index, contentText(bytes));
    }
    case 'get':
      return model.get(client, operation.slot, String(operation.at.object), operation.at.index);
    case 'flushPage':
      return model.flushPage(client, operation.slot, String(operation.at.object), operation.at.index);
    case 'flushObject':
      return model.flushObject(client, operation.slot, String(operation.at.object));
    default:
      throw new Error('no such operation');
  }
}
