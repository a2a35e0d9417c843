/** Saving and restoring an emulator that a program of its own holds (M1, M5, M6): no host, no other process. */
import { randomBytes, randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { Writable } from 'node:stream';
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { iterableSource } from '../../io/iterable-source.ts';
import type { Work } from '../../io/work.ts';
import { WritableSink } from '../../io/writable-sink.ts';
import { adoptSource, adoptTarget } from '../../machine/v86/adopt.ts';
import type { ImageClaims } from '../restore/image-claims.ts';
import { restoreMachine } from '../restore/restore.ts';
import { saveMachine } from '../save/save.ts';

/** What a program may say about its emulator. */
export interface EmulatorOptions extends Work {
  /**
   * The exact version of npm's v86 that made the emulator, which does not know it itself. When absent it is told by
   * what the emulator saves; that can't tell releases in between from those that this package carries.
   */
  readonly version?: string | undefined;
}

export interface SaveOptions extends EmulatorOptions {
  /** The machine's name and identity in the image; a new uuid when absent. */
  readonly name?: string | undefined;
  readonly uuid?: string | undefined;
  /** How memory and devices are stored; zstd when absent. */
  readonly codec?: 'raw' | 'zstd' | undefined;
  /** Threads that compress; all but one of what there is when absent, 0: in this thread. */
  readonly threads?: number | undefined;
  /** What else the image shall say of the machine's configuration. */
  readonly configuration?: JsonObject | undefined;
}

/** What {@link save} wrote. */
export interface SavedEmulator {
  readonly uuid: string;
  readonly bytes: number;
  /** Pages of guest memory. */
  readonly pages: number;
  /** How long the guest stood still, in milliseconds. */
  readonly pauseMs: number;
}

/** What {@link restore} put in place. */
export interface RestoredEmulator {
  /** What the image says of the machine that was saved. */
  readonly name: string | null;
  readonly uuid: string | null;
  readonly pages: number;
}

/**
 * Saves a v86 emulator that the program made: npm's `v86` in one of the versions that this package carries, loaded. A
 * guest that runs stands still for a copy of its memory and its devices, and runs on while they are written; one that
 * is paused stays so. What a disk of the emulator has in memory goes along, as in v86's own states.
 *
 * @param writable a stream of Node's, which is ended, or a {@link ByteSink}, which is not.
 * @throws MACHINE_STATE for what is no loaded emulator, DRIVER_VERSION, GUEST_BUSY while it is being saved or restored,
 * WRITE_FAILED, CANCELLED. Then the stream is destroyed, what it got does not look like a whole image, and the guest is
 * as it was.
 */
export async function save(
  emulator: object,
  writable: Writable | ByteSink,
  options: SaveOptions = {},
): Promise<SavedEmulator> {
  const { codec = 'zstd', threads = Math.max(1, availableParallelism() - 1), signal, onProgress } = options;
  const { uuid = randomUUID(), name } = options;
  const sink = 'pipe' in writable ? new WritableSink(writable) : writable;
  try {
    const { machine, running, configuration, release } = adoptSource(emulator, options.version);
    try {
      const { driver, version } = machine.capabilities;
      const saved = await saveMachine(
        {
          machine,
          running,
          leavePaused: false,
          about: {
            ...(name !== undefined && { name }),
            uuid,
            source: { hypervisor: driver, versions: { [driver]: version, node: process.versions.node } },
            configuration: { ...configuration, ...options.configuration },
            time: new Date().toISOString(),
            tool: { name: 'transmigrate' },
          },
          streamId: randomBytes(16),
          codec,
          threads,
          pinTmem: () => null,
          guestTimeNs: () => BigInt(Date.now()) * 1_000_000n,
          onProgress,
          signal,
        },
        sink,
      );
      if (sink instanceof WritableSink) await sink.end();
      const { bytes, pages, pauseMs } = saved;
      return { uuid, bytes, pages, pauseMs };
    } finally {
      release();
    }
  } catch (error) {
    if (sink instanceof WritableSink) sink.abort();
    throw error;
  }
}

/**
 * Restores an image into a v86 emulator that the program made with the same version and options as the one that was
 * saved. All of the image is read and checked first, and kept in memory: until then, and if that fails, the emulator
 * goes on with what it has. Then its guest is the one of the image; it runs if the emulator ran. Its clock chip shows
 * the time of day of now (M6).
 *
 * @param readable a stream of Node's or of the web's, or anything else that gives bytes in order; all of it is read.
 * @throws the errors of the image; IMAGE_UNFIT, MEMORY_MISMATCH, DRIVER_VERSION, DEVICE_FINGERPRINT, DEVICE_SHAPE when
 * it is of another machine; TMEM_DISABLED when its guest has tmem, which needs a host; MACHINE_STATE, GUEST_BUSY,
 * READ_FAILED, CANCELLED. Then the emulator is as it was. Only after DRIVER_FAILED it stands still and is of no use.
 */
export async function restore(
  readable: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  emulator: object,
  options: EmulatorOptions = {},
): Promise<RestoredEmulator> {
  const { machine, mostDeviceBytes, release } = adoptTarget(emulator, options.version);
  try {
    const { claims, pages } = await restoreMachine(iterableSource(readable, 'the image'), {
      make: (image) => {
        const { capabilities } = machine;
        checkClaims(image, capabilities.driver, capabilities.pages * capabilities.pageBytes);
        return Promise.resolve({ machine, tmem: null, mostDeviceBytes });
      },
      discard: () => Promise.resolve(),
      wallClockMs: () => Date.now(),
      signal: options.signal,
      onProgress: options.onProgress,
    });
    return { name: claims.name, uuid: claims.uuid, pages };
  } finally {
    release();
  }
}

/** Refuses before any of the image is kept what would not fit in the end. */
function checkClaims(image: ImageClaims, driver: string, memoryBytes: number): void {
  if (image.driver !== driver) {
    throw new TransmigrateError('DRIVER_VERSION', `The machine needs the driver ${image.driver}`, {
      data: { driver: image.driver, version: image.driverVersion, carried: [driver] },
    });
  }
  if (image.memoryBytes !== memoryBytes) {
    const what = `The machine has ${image.memoryBytes} bytes of memory, and the emulator ${memoryBytes}`;
    throw new TransmigrateError('MEMORY_MISMATCH', what, { data: { found: image.memoryBytes, needed: memoryBytes } });
  }
  if (image.tmem) {
    throw new TransmigrateError('TMEM_DISABLED', 'The guest of the image has tmem, and this emulator has none', {
      next: 'Restore it on a host: `transmigrate restore`.',
    });
  }
}
