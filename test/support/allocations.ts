/** What a piece of work asks of memory by number, counted: the same on every machine and in every run. */

export interface Allocations {
  /** Bytes of all typed arrays and buffers that were made with a length. */
  readonly total: number;
  /** Bytes of the largest of them. */
  readonly largest: number;
}

const COUNTED = ['Uint8Array', 'Uint32Array', 'Float64Array', 'ArrayBuffer'] as const;

/**
 * Runs `work` and counts what it allocates by a length. Copies and views of what is there already are not counted: they
 * can't be larger than their source.
 */
export function allocationsOf(work: () => void): Allocations {
  let total = 0;
  let largest = 0;
  const globals = globalThis as unknown as Record<string, new (...args: unknown[]) => object>;
  const kept = COUNTED.map((name) => globals[name]);
  for (const [i, name] of COUNTED.entries()) {
    const width = (kept[i] as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
    globals[name] = new Proxy(kept[i], {
      construct(target, args: unknown[], newTarget: new (...args: unknown[]) => object) {
        if (typeof args[0] === 'number') {
          total += args[0] * width;
          largest = Math.max(largest, args[0] * width);
        }
        return Reflect.construct(target, args, newTarget);
      },
    });
  }
  try {
    work();
  } finally {
    for (const [i, name] of COUNTED.entries()) globals[name] = kept[i];
  }
  return { total, largest };
}
