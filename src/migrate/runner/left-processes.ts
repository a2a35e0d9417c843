/** Processes of guests that outlived their daemon: found by number and start time, and ended (H6, protocol 7.5). */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { TransmigrateError } from '../../errors.ts';
import type { LeftProcess } from '../journal/recover.ts';

/** How long a process that was killed may take to be gone. */
const GONE_MS = 10_000;
const LOOK_MS = 5;
/** In the line of a process's state, behind its name: the start time is the 22nd field of all. */
const START_FIELD = 22 - 3;

/**
 * When a process began, as its system counts it; with its number this names one process, since numbers are used again.
 * @returns null when there is no such process, or it has ended and only waits for its parent.
 */
export async function startOf(pid: number): Promise<string | null> {
  let line: string;
  try {
    line = await readFile(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // A name may hold anything, also blanks and brackets: what counts stands behind the last one.
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[START_FIELD] ?? null);
}

/**
 * Ends those of the processes that are still the same ones, and waits until they are gone.
 * @returns how many it ended.
 * @throws GUEST_BUSY when one does not end: then nothing may be concluded about its guest.
 */
export async function endLeftProcesses(processes: readonly LeftProcess[]): Promise<number> {
  const ended = await Promise.all(processes.map(endOne));
  return ended.filter(Boolean).length;
}

async function endOne({ pid, started, machine }: LeftProcess): Promise<boolean> {
  if ((await startOf(pid)) !== started) return false;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (cause) {
    const gone = cause instanceof Error && 'code' in cause && cause.code === 'ESRCH';
    if (!gone) throw stays(pid, machine, cause);
  }
  for (let waited = 0; (await startOf(pid)) === started; waited += LOOK_MS) {
    if (waited >= GONE_MS) throw stays(pid, machine);
    await sleep(LOOK_MS);
  }
  return true;
}

function stays(pid: number, machine: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('GUEST_BUSY', `Process ${pid} of the guest ${machine} does not end`, {
    cause,
    data: { pid, machine },
    next: 'End it, and start the host again.',
  });
}
