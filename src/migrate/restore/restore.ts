import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { watchedPieces, type Work } from '../../io/work.ts';
import type { Machine, MachineTarget } from '../../machine/machine.ts';
import { decodePieces } from '../../stream/decode-pieces.ts';
import { StreamDecoder } from '../../stream/decoder.ts';
import { DevicesLoader } from '../section/devices.ts';
import { MemoryLoader } from '../section/memory.ts';
import type { StateLoader } from '../section/section.ts';
import { readClaims, type ImageClaims } from './image-claims.ts';

/** A machine that was made for an image, which nobody sees yet. */
export interface Hidden<M extends MachineTarget = Machine> {
  readonly machine: M;
  /** Takes tmem records; null for a machine without. */
  readonly tmem: StateLoader | null;
  /** Take state of one's own; absent: there is none. */
  readonly own?: readonly StateLoader[];
  /** The largest device blob that makes sense. */
  readonly mostDeviceBytes: number;
}

export interface RestoreRequest<M extends MachineTarget = Machine> extends Work {
  /**
   * Makes the machine that the image claims to hold, paused and hidden; checks name, driver, version, memory, tmem and
   * disks before that. Whatever it throws refuses the image; whatever goes wrong later, {@link discard} ends it.
   */
  readonly make: (claims: ImageClaims) => Promise<Hidden<M>>;
  readonly discard: (hidden: Hidden<M>) => Promise<void>;
  /** Names of mandatory records of one's own that are known here (stream 12); absent: none. */
  readonly knows?: readonly string[];
  /** The time of day for the guest from now on, in milliseconds since 1970 UTC (M6). */
  readonly wallClockMs: () => number;
}

/** A machine that holds everything of its image, and is paused. */
export interface Restored<M extends MachineTarget = Machine> extends Hidden<M> {
  readonly claims: ImageClaims;
  readonly pages: number;
}

/**
 * Makes a machine of an image (M1, M5, M6). Bytes are checked as they come, and loaded into a machine that nobody sees;
 * it is handed on only when the image is whole, its device state was checked, and all of it is there. An image that is
 * cut, damaged or refused leaves nothing behind.
 * @throws the decoder's errors, what `make` throws, MEMORY_MISMATCH, DISK_MISMATCH, DEVICE_SHAPE ..., CANCELLED.
 */
export async function restoreMachine<M extends MachineTarget = Machine>(
  source: ByteSource,
  request: RestoreRequest<M>,
): Promise<Restored<M>> {
  const decoder = new StreamDecoder({ container: source.container, knows: new Set(request.knows) });
  let hidden: Hidden<M> | undefined;
  let claims: ImageClaims | undefined;
  let loaders: readonly StateLoader[] = [];
  try {
    for await (const decoded of decodePieces(watchedPieces(source, request), decoder)) {
      if (decoded.record.kind === 'ABOUT') {
        claims = readClaims(decoder.preamble!, decoded.record.about);
        continue;
      }
      if (hidden === undefined) {
        // By now the decoder has accepted version, features and all of the preamble.
        hidden = await request.make(claims!);
        checkPages(hidden.machine, claims!);
        loaders = loadersFor(hidden, decoder);
      }
      for (const loader of loaders) await loader.load(decoded);
    }
    if (hidden === undefined) throw new TransmigrateError('IMAGE_UNFIT', 'The image holds no machine');
    for (const loader of loaders) await loader.complete();
    const [memory, devices] = loaders as readonly [MemoryLoader, DevicesLoader];
    await hidden.machine.loadDeviceState(devices.state(), request.wallClockMs());
    return { ...hidden, claims: claims!, pages: memory.pages };
  } catch (error) {
    if (hidden !== undefined) await request.discard(hidden);
    throw error;
  }
}

function checkPages(machine: MachineTarget, { pageBytes }: ImageClaims): void {
  if (pageBytes === machine.capabilities.pageBytes) return;
  const what = `The image has pages of ${pageBytes} bytes, and the machine has ${machine.capabilities.pageBytes}`;
  throw new TransmigrateError('MEMORY_MISMATCH', what, { section: '2' });
}

function loadersFor(
  { machine, tmem, own = [], mostDeviceBytes }: Hidden<MachineTarget>,
  decoder: StreamDecoder,
): readonly StateLoader[] {
  const loaders = [new MemoryLoader(machine), new DevicesLoader(machine, mostDeviceBytes, decoder.scratch)];
  return [...loaders, ...(tmem === null ? [] : [tmem]), ...own];
}
