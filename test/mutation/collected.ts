/**
 * Stands in for `node:test` while mutants are tried: tests are collected when their file is imported, and then run one
 * by one, only as many as are needed. It has what the tests of the stream use of `node:test`.
 */
type Run = () => Promise<void> | void;

const found = new Map<string, Run>();
let prefix = '';

/** Takes the tests that were collected since the last call, by name. */
export function takeCollected(): Map<string, Run> {
  const taken = new Map(found);
  found.clear();
  return taken;
}

export function test(name: string, options: unknown, run?: Run): Promise<void> {
  const whole = prefix + name;
  if (found.has(whole)) throw new Error(`two tests are called ${whole}`);
  found.set(whole, run ?? (options as Run));
  return Promise.resolve();
}

export function describe(name: string, define: () => void): Promise<void> {
  const outer = prefix;
  prefix = `${outer}${name} > `;
  define();
  prefix = outer;
  return Promise.resolve();
}

export const it = test;
export const suite = describe;
