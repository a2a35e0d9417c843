import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { JsonObject } from '../bytes/bounded-json.ts';
import type { ByteSink } from '../bytes/endpoints.ts';
import { TransmigrateError } from '../errors.ts';
import type { Work } from '../io/work.ts';
import { DISK_POLICY, type Machine } from '../machine/machine.ts';
import type { SourceStates } from '../migrate/runner/source-plane.ts';
import { saveLive } from '../migrate/save/save-live.ts';
import { checkSignal, saveMachine, type Saved, type TmemPin } from '../migrate/save/save.ts';
import type { SaveChoice } from './api.ts';
import type { Guest } from './guest.ts';

/** Where an image goes: there is none before {@link commit}. */
export interface ImageSink extends ByteSink {
  /** Where it is safe from now on. @throws WRITE_FAILED, CANCELLED; then there is no image */
  commit(): Promise<void>;
  /** Nothing of it is left. */
  abort(): Promise<void>;
}

export interface SavingParts {
  readonly guest: Guest;
  readonly choice: SaveChoice;
  readonly sink: ImageSink;
  readonly tool: JsonObject;
  readonly pinTmem: () => TmemPin | null;
  /** Its state in rounds, for a live save. */
  readonly live: () => SourceStates;
  readonly work: Work;
}

/**
 * Saves a guest, commits the image, and leaves the guest running or paused as is asked. Whatever goes wrong, the guest
 * is as it was, and there is no image.
 */
export async function saveGuest({ guest, choice, sink, tool, pinTmem, live, work }: SavingParts): Promise<Saved> {
  const { machine } = guest;
  const running = guest.state === 'running';
  try {
    const request = {
      machine,
      running,
      leavePaused: choice.after !== 'run',
      about: aboutOf(guest, tool),
      streamId: randomBytes(16),
      codec: choice.codec,
      threads: Math.max(1, availableParallelism() - 1),
      guestTimeNs: () => BigInt(Date.now()) * 1_000_000n,
      onProgress: work.onProgress,
      signal: work.signal,
    };
    const waited = until(sink, work.signal);
    // A guest that stands still has nothing to be followed.
    const saved =
      choice.live && running
        ? await saveLive({ ...request, ...live(), nowMs: () => performance.now() }, waited)
        : await saveMachine({ ...request, pinTmem, pinOwn: () => guest.own.pin() }, waited);
    checkSignal(work.signal);
    await sink.commit();
    return saved;
  } catch (error) {
    await sink.abort();
    // There is no image, so nothing has changed for the guest. One that crashed meanwhile can't go on.
    if (running && machine.status === 'paused') await machine.resume().catch(() => undefined);
    throw error;
  }
}

/** A sink that no longer holds its writer up when `signal` is aborted: a pipe may have a reader who does not read. */
function until(sink: ByteSink, signal: AbortSignal | undefined): ByteSink {
  if (signal === undefined) return sink;
  const aborted = new Promise<never>((_resolve, reject) => {
    const cancel = (): void => reject(new TransmigrateError('CANCELLED', 'The save was cancelled'));
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
  });
  // When nobody waits for a write it is nobody's news.
  aborted.catch(() => undefined);
  return { write: (bytes) => Promise.race([sink.write(bytes), aborted]) };
}

/** What ABOUT says (stream 6.1), beside what the machine itself adds. */
function aboutOf(guest: Guest, tool: JsonObject): JsonObject {
  const { driver, version } = guest.machine.capabilities;
  const counts = guest.info().tmem;
  return {
    name: guest.name,
    uuid: guest.uuid,
    source: { hypervisor: driver, versions: { [driver]: version, node: process.versions.node } },
    configuration: guest.configuration,
    ...(counts !== null && { tmem: { ...counts } }),
    time: new Date().toISOString(),
    tool,
  };
}

/**
 * A disk that others may write to is not part of the image: the guest may not run on over it (M6).
 * @returns warnings
 * @throws SHARED_DISK
 */
export function checkSharedDisks(guest: Guest, after: SaveChoice['after']): string[] {
  const shared = sharedDisks(guest.machine);
  if (shared.length === 0) return [];
  const names = shared.map((disk) => disk.name).join(', ');
  if (guest.state === 'running' && after === 'run') {
    const what = `${guest.name} would run on and write to ${names}, which the image does not hold`;
    throw new TransmigrateError('SHARED_DISK', what, { data: { disks: shared.map((disk) => disk.location) } });
  }
  return [`the image does not hold ${names}: keep ${shared.map((disk) => disk.location).join(', ')} as it is now`];
}

/** Disks of a machine that are files outside, which it may write. */
export function sharedDisks(machine: Machine): Machine['disks'] {
  return machine.disks.filter((disk) => disk.policy === DISK_POLICY.external && !disk.readOnly);
}
