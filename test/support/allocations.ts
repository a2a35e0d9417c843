/** What a piece of work asks of memory, counted by number: the same on every machine and in every run. */
import { Session } from 'node:inspector';

export interface Allocations {
  /** Bytes of all buffers and typed arrays that were made with a length, or copied. */
  readonly total: number;
  /** Bytes of the largest of them. */
  readonly largest: number;
}

const COUNTED = [
  'ArrayBuffer',
  'SharedArrayBuffer',
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'BigInt64Array',
  'BigUint64Array',
] as const;

type Maker = new (...args: unknown[]) => object;
type Copier = (this: ArrayBufferView, ...args: number[]) => ArrayBufferView;

const TYPED = Object.getPrototypeOf(Uint8Array.prototype) as { slice: Copier };

let total = 0;
let largest = 0;
let watching = false;

function count(bytes: number): void {
  total += bytes;
  largest = Math.max(largest, bytes);
}

/**
 * Puts counting makers in the place of the global ones. They stay there: to put them in and out for each piece of work
 * would have everything compiled anew each time.
 */
function watch(): void {
  const globals = globalThis as unknown as Record<string, Maker>;
  const buffers = [ArrayBuffer, SharedArrayBuffer];
  const { slice } = TYPED;
  for (const name of COUNTED) {
    globals[name] = new Proxy(globals[name], {
      construct(target, args: unknown[], newTarget: Maker) {
        const made = Reflect.construct(target, args, newTarget) as { byteLength: number };
        // A view of a buffer that is there already costs nothing.
        if (!buffers.some((buffer) => args[0] instanceof buffer)) count(made.byteLength);
        return made;
      },
    });
  }
  TYPED.slice = function (...args) {
    const made = slice.apply(this, args);
    count(made.byteLength);
    return made;
  };
}

/**
 * Runs `work` and counts the buffers that it makes: by a length, out of a list, or as a copy. What native code makes is
 * not seen: a codec's answer, whose length its caller has checked, and objects, which {@link heapBytesOf} counts.
 */
export function allocationsOf(work: () => void): Allocations {
  if (!watching) watch();
  watching = true;
  total = 0;
  largest = 0;
  work();
  return { total, largest };
}

/** The same of work that waits: nothing else must run meanwhile. */
export async function allocationsDuring(work: () => Promise<void>): Promise<Allocations> {
  if (!watching) watch();
  watching = true;
  total = 0;
  largest = 0;
  await work();
  return { total, largest };
}

/** Bytes between two samples, on the average: what is smaller than a few of these is not worth a bound. */
const SAMPLED_BYTES = 4096;

interface Sampled {
  readonly profile: { readonly samples: readonly { readonly size: number }[] };
}

/**
 * Runs `work` and estimates how many bytes of objects, lists, texts and numbers it makes, those that are no longer used
 * among them: V8 samples its own heap. Bytes in buffers are not in it.
 */
export function heapBytesOf(work: () => void): number {
  const session = new Session();
  session.connect();
  const ask = (method: string, params: object = {}): unknown => {
    let answer: unknown;
    // The session is of this thread, so the answer is there when the call returns.
    session.post(method, params, (error, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  };
  try {
    ask('HeapProfiler.startSampling', {
      samplingInterval: SAMPLED_BYTES,
      includeObjectsCollectedByMajorGC: true,
      includeObjectsCollectedByMinorGC: true,
    });
    work();
    const { profile } = ask('HeapProfiler.stopSampling') as Sampled;
    return profile.samples.reduce((sum, { size }) => sum + size, 0);
  } finally {
    session.disconnect();
  }
}
