import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { toHex } from '../../bytes/hex.ts';
import { CODEC } from '../../codec/codec.ts';
import { TransmigrateError } from '../../errors.ts';
import { DOMAIN_TYPE, type CaptureReport, type MachineSource } from '../../machine/machine.ts';
import { StreamWriter } from '../../stream/writer.ts';
import { DevicesWriter } from '../section/devices.ts';
import { MemoryWriter } from '../section/memory.ts';
import type { Named, PinnedState } from '../section/own.ts';
import type { StateWriter } from '../section/section.ts';
import { takeTurns } from '../section/turns.ts';

/** ELF e_machine of a 32-bit x86 guest (stream 2). */
const EM_386 = 3;

/** What a save needs to know beside the machine. Clock and random bytes are handed in. */
export interface SaveRequest {
  readonly machine: MachineSource;
  /** Whether the guest runs now, and so is to run on while the image is written. */
  readonly running: boolean;
  /** Leave it paused at the point that was saved. */
  readonly leavePaused: boolean;
  /** Identity, configuration and tool, for ABOUT (stream 6.1). */
  readonly about: JsonObject;
  /** 16 random bytes. */
  readonly streamId: Uint8Array;
  readonly codec: 'raw' | 'zstd';
  /** Threads that compress. */
  readonly threads: number;
  /**
   * Pins the guest's tmem while it stands still (T2); the versions at the pause are what is written.
   * @returns null when it has none.
   */
  readonly pinTmem: () => TmemPin | null;
  /** Does the same with state of one's own (M3); absent: there is none. */
  readonly pinOwn?: () => readonly Named<PinnedState>[];
  /** The guest's time of day, in nanoseconds since 1970 UTC. */
  readonly guestTimeNs: () => bigint;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A guest's tmem as it was at the pause. */
export interface TmemPin {
  readonly section: StateWriter;
  readonly pages: number;
  /** The guest's pages are no longer held for the save. */
  release(): void;
}

/** What was saved. */
export interface Saved {
  readonly bytes: number;
  readonly pages: number;
  readonly tmemPages: number;
  /** How long the guest stood still, by its own process's clock; when it was paused before, since then. */
  readonly pauseMs: number;
  /** Of that, for the copy of memory and for device state. */
  readonly copyMs: number;
  readonly deviceMs: number;
}

/**
 * Saves a machine into a sink (M1, S13, T2): the guest stands still while its memory and devices are copied, and runs
 * on while they are written. Nothing of it is frozen. When this rejects, the guest is as it was before.
 *
 * The sink is not committed: whoever made it does that, and only then is there an image.
 * @throws what the machine and the sink throw; CANCELLED.
 */
export async function saveMachine(request: SaveRequest, sink: ByteSink): Promise<Saved> {
  const { machine, running, leavePaused, signal } = request;
  checkSignal(signal);
  // What was stopped for the save goes on, unless it crashed meanwhile: then that is told by the error that comes.
  const goOn = async (): Promise<void> => machine.resume().catch(() => undefined);
  let pin: TmemPin | null = null;
  let own: readonly Named<PinnedState>[] = [];
  try {
    await machine.prepareCapture();
    let captured: CaptureReport;
    let guestTimeNs: bigint;
    try {
      if (running) await machine.pause();
      if (machine.status === 'crashed') throw new TransmigrateError('GUEST_CRASHED', 'The guest crashed');
      checkSignal(signal);
      // Requests in flight are done: memory, devices and tmem are of one moment.
      pin = request.pinTmem();
      own = request.pinOwn?.() ?? [];
      guestTimeNs = request.guestTimeNs();
      // The guest goes on before what was captured is on its way, and no word more has to go to it and back.
      captured = await machine.capture({ resume: running && !leavePaused });
    } catch (error) {
      if (running) await goOn();
      throw error;
    }
    try {
      const pages = await write(request, captured, { pin, own, guestTimeNs }, sink);
      const { copyMs, deviceMs, stoppedMs: pauseMs } = captured;
      return { ...pages, tmemPages: pin?.pages ?? 0, pauseMs, copyMs, deviceMs };
    } catch (error) {
      // What was to be left paused is only left so when it was saved.
      if (running && leavePaused) await goOn();
      throw error;
    }
  } finally {
    pin?.release();
    for (const { state } of own) state.release();
    // Of a guest that is no more there is nothing to give back.
    await machine.releaseCapture().catch(() => undefined);
  }
}

/** What was held or looked at beside the machine, while the guest stood still. */
interface AtThePause {
  readonly pin: TmemPin | null;
  readonly own: readonly Named<PinnedState>[];
  readonly guestTimeNs: bigint;
}

async function write(
  request: SaveRequest,
  captured: CaptureReport,
  { pin, own, guestTimeNs }: AtThePause,
  sink: ByteSink,
): Promise<{ bytes: number; pages: number }> {
  const { machine, onProgress, signal } = request;
  const { pages } = machine.capabilities;
  const writer = await openImage(request, sink);
  const sections: StateWriter[] = [new DevicesWriter(machine, captured), new MemoryWriter(machine)];
  if (pin !== null) sections.push(pin.section);
  for (const { entry, state } of own) {
    await writer.dictionary(entry);
    sections.push(state);
  }
  const total = sections.reduce((sum, section) => sum + section.bytes, 0);
  let done = 0;
  const takers = sections.map((section) => {
    const { name, records } = section;
    return { name, steps: section.write(writer), sent: records && (() => writer.bytesOf(records)) };
  });
  for await (const bytes of takeTurns(takers)) {
    checkSignal(signal);
    done += bytes;
    onProgress?.(done, total);
  }
  await writer.checkpoint(guestTimeNs);
  await writer.end();
  return { bytes: writer.offset, pages };
}

/** Begins the image of a machine: preamble, and what ABOUT says of it. */
export function openImage(
  request: Pick<SaveRequest, 'about' | 'streamId' | 'codec' | 'threads'> & {
    readonly machine: Pick<MachineSource, 'capabilities'>;
  },
  sink: ByteSink,
): Promise<StreamWriter> {
  const { machine, streamId, codec, threads } = request;
  const { domainType, pageBytes, pages, driver, version, fingerprint, vcpus } = machine.capabilities;
  return StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 32,
      domainType: domainType === DOMAIN_TYPE.emulatedWithTmem ? 'emulated-tmem' : 'emulated',
      machine: EM_386,
      pageSize: pageBytes,
      streamId,
      indexed: true,
    },
    {
      ...request.about,
      driver: { name: driver, version, fingerprint: toHex(fingerprint) },
      memory: { bytes: pages * pageBytes, pages },
      vcpus,
    },
    { codec: codec === 'zstd' ? CODEC.zstd : CODEC.raw, threads },
  );
}

/** @throws CANCELLED */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'The save was cancelled');
}
