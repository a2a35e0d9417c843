import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import { ExtentLog } from '../extent-log.ts';
import { DEVICE_FORMAT } from '../model/event.ts';
import { LastRuns } from './last-runs.ts';
import type { OpenedDevice } from './opened-image.ts';

/** Bytes of a pair: pfn, frame (foreign/model 3). */
const PAIR_BYTES = 16;
/** The most frames that a machine has: 52 bits of them. */
const FRAME_END = LIMITS.pfnEnd;

/**
 * Numbers that stand for others: pfns for frames of the machine, or the other way round. Neighbours that are neighbours
 * in both cost nothing; 28 bytes for each run of them.
 */
export class FrameMap {
  readonly #log = new ExtentLog();
  /** What is to be added to a number, by tag. */
  readonly #deltas: number[] = [];
  #runs: LastRuns | undefined;

  /** Takes a pair in. Of two for the same number the later one counts. To be called before the first look. */
  add(from: number, to: number): void {
    const delta = to - from;
    if (this.#deltas.at(-1) !== delta) this.#deltas.push(delta);
    this.#log.add(from, 1, true, this.#deltas.length - 1);
  }

  /** What a number stands for, or -1. */
  readonly of = (from: number): number => {
    this.#runs ??= new LastRuns(this.#log);
    const run = this.#runs.find(from);
    return run < 0 ? -1 : from + this.#deltas[this.#runs.tag(run)];
  };
}

/**
 * The pfns of frames, or the frames of pfns, of an image that says which they are; undefined where none of its devices
 * does.
 * @throws the errors of the device
 */
export async function frameMapOf(
  devices: readonly OpenedDevice[],
  from: 'frame' | 'pfn' = 'frame',
): Promise<FrameMap | undefined> {
  const device = devices.find(({ format }) => format === DEVICE_FORMAT.xenP2m);
  if (device === undefined) return undefined;
  if (device.bytes % PAIR_BYTES !== 0) {
    throw new TransmigrateError('LENGTH_MISMATCH', `A table of frames of ${device.bytes} bytes`, {
      path: `device ${device.name}`,
      section: 'foreign/model 3',
    });
  }
  const map = new FrameMap();
  const pair = new Uint8Array(PAIR_BYTES);
  let used = 0;
  for await (const chunk of device.chunks()) {
    let at = 0;
    // A chunk may end within a pair.
    if (used > 0) {
      at = Math.min(PAIR_BYTES - used, chunk.byteLength);
      pair.set(chunk.subarray(0, at), used);
      used += at;
      if (used < PAIR_BYTES) continue;
      addPairs(map, pair, from);
    }
    const whole = at + Math.floor((chunk.byteLength - at) / PAIR_BYTES) * PAIR_BYTES;
    addPairs(map, chunk.subarray(at, whole), from);
    used = chunk.byteLength - whole;
    pair.set(chunk.subarray(whole));
  }
  return map;
}

/** Pairs of which one is no number stand for no page. */
function addPairs(map: FrameMap, bytes: Uint8Array, from: 'frame' | 'pfn'): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += PAIR_BYTES) {
    const pfn = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    const frame = view.getUint32(at + 8, true) + view.getUint32(at + 12, true) * 2 ** 32;
    if (pfn >= FRAME_END || frame >= FRAME_END) continue;
    if (from === 'frame') map.add(frame, pfn);
    else map.add(pfn, frame);
  }
}
