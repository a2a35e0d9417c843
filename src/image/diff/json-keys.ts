import type { Json } from '../../bytes/bounded-json.ts';
import { escapePointer } from './pointer.ts';
import type { KeyDiff, KeyList } from './result.ts';

/** Collects what differs between two JSON values, key by key. */
class Keys {
  readonly #most: number;
  count = 0;
  readonly first: KeyDiff[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  add(difference: KeyDiff): void {
    this.count++;
    if (this.first.length < this.#most) this.first.push(difference);
  }
}

/**
 * What two JSON values say differently. Paths are those of RFC 6901 (JSON pointer).
 * @param most differences that are named. The values must be bounded in size and depth.
 */
export function diffJson(a: Json, b: Json, most: number): KeyList {
  const keys = new Keys(most);
  compare(a, b, '', keys);
  return { count: keys.count, first: keys.first };
}

/** The facts of two flat objects that differ, by their names. */
export function diffFacts(a: Readonly<Record<string, Json>>, b: Readonly<Record<string, Json>>): KeyDiff[] {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].flatMap((name) =>
    JSON.stringify(a[name]) === JSON.stringify(b[name]) ? [] : [keyDiff(name, a[name], b[name])],
  );
}

function compare(a: Json, b: Json, path: string, keys: Keys): void {
  if (Array.isArray(a) && Array.isArray(b)) {
    for (let i = 0; i < Math.max(a.length, b.length); i++) member(a[i], b[i], `${path}/${i}`, keys);
  } else if (isObject(a) && isObject(b)) {
    for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const of = (object: { [key: string]: Json }): Json | undefined =>
        Object.hasOwn(object, name) ? object[name] : undefined;
      member(of(a), of(b), `${path}/${escapePointer(name)}`, keys);
    }
  } else if (a !== b) {
    keys.add({ path, a, b });
  }
}

function member(a: Json | undefined, b: Json | undefined, path: string, keys: Keys): void {
  if (a === undefined || b === undefined) keys.add(keyDiff(path, a, b));
  else compare(a, b, path, keys);
}

function keyDiff(path: string, a: Json | undefined, b: Json | undefined): KeyDiff {
  return { path, ...(a !== undefined && { a }), ...(b !== undefined && { b }) };
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
