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

function skips(options: unknown): boolean {
  const { skip } = options as { readonly skip?: boolean | string };
  return skip !== undefined && skip !== false;
}

export function test(name: string, options: unknown, run?: Run): Promise<void> {
  if (skips(options)) return Promise.resolve();
  const whole = prefix + name;
  if (found.has(whole)) throw new Error(`two tests are called ${whole}`);
  const work = run ?? (options as Run);
  // What wants the context of the runner (its snapshots) can't be run without it.
  if (work.length > 0) return Promise.resolve();
  found.set(whole, work);
  return Promise.resolve();
}

/** Groups whose file is missing are left out, as `node:test` does. */
export function describe(name: string, options: object | (() => void), define?: () => void): Promise<void> {
  if (skips(options)) return Promise.resolve();
  const outer = prefix;
  prefix = `${outer}${name} > `;
  if (typeof options === 'function') options();
  else define?.();
  prefix = outer;
  return Promise.resolve();
}

/** What a file cleans up at its end is done when the process ends: its tests may be run again until then. */
export function after(clean: () => void): void {
  process.setMaxListeners(0);
  process.once('exit', clean);
}

export const it = test;
export const suite = describe;
