/** Saves a machine in rounds while it runs, as a migration sends it: it stands still for what is left (L1, L2). */
import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import type { LiveSource } from '../../machine/machine.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import { DEFAULT_LIMITS, FIRST_ROUND, roundEnded, type Limits } from '../precopy/convergence.ts';
import { UNMEASURED, type Costs } from '../precopy/predict.ts';
import { singleOutput, takerOf, type LiveOutput, type LiveState } from '../section/live.ts';
import type { LiveDevices } from '../section/live-devices.ts';
import type { LiveMemory } from '../section/live-memory.ts';
import type { LiveTmem } from '../section/live-tmem.ts';
import type { Named } from '../section/own.ts';
import { takeTurns } from '../section/turns.ts';
import { checkSignal, openImage, type Saved, type SaveRequest } from './save.ts';

export interface LiveSaveRequest extends Omit<SaveRequest, 'machine' | 'pinTmem' | 'pinOwn'> {
  readonly machine: LiveSource;
  readonly memory: LiveMemory;
  /** Null for a guest without. */
  readonly tmem: LiveTmem | null;
  readonly own: readonly Named<LiveState>[];
  readonly devices: LiveDevices;
  /** A clock that never goes back. */
  readonly nowMs: () => number;
}

/** A save has an end: when the guest changes faster than it is written, it is slowed down, and in the end it stands. */
const LIMITS: Limits = { ...DEFAULT_LIMITS, force: true };

/** Nothing crosses to anybody, and nobody loads or confirms anything. */
const COSTS: Costs = {
  ...UNMEASURED,
  deviceLoadMs: 0,
  sourceFsyncMs: 0,
  destinationFsyncMs: 0,
  roundTripMs: 0,
};

/**
 * Saves a running machine into a sink. Besides what was changed since it was written, the image holds what was written
 * before: a reader takes the newest. When this rejects, the guest is as it was before.
 * @throws what the machine and the sink throw; CANCELLED.
 */
export async function saveLive(request: LiveSaveRequest, sink: ByteSink): Promise<Saved & { readonly rounds: number }> {
  const { machine, memory, tmem, own, devices, signal, leavePaused } = request;
  const states: LiveState[] = tmem === null ? [memory] : [memory, tmem];
  states.push(...own.map(({ state }) => state));
  const goOn = async (): Promise<void> => {
    await machine.throttle(1).catch(() => undefined);
    if (machine.status === 'paused') await machine.resume().catch(() => undefined);
  };
  let left = false;
  try {
    const writer = await openImage(request, sink);
    const output = singleOutput(writer);
    for (const { entry } of own) await writer.dictionary(entry);
    for (const state of [...states, devices]) await state.begin();
    const rounds = await followed(request, states, writer, output);
    const start = request.nowMs();
    await machine.pause();
    if (machine.status === 'crashed') throw new TransmigrateError('GUEST_CRASHED', 'The guest crashed');
    await walk(states, output, request, true);
    const guestTimeNs = request.guestTimeNs();
    await drain(devices.final(output), () => checkSignal(signal));
    const pauseMs = request.nowMs() - start;
    if (!leavePaused) await goOn();
    await writer.checkpoint(guestTimeNs);
    await writer.end();
    left = leavePaused;
    const deviceMs = devices.captured?.deviceMs ?? 0;
    const { pages } = machine.capabilities;
    const tmemPages = tmem?.offered ?? 0;
    return { bytes: writer.offset, pages, tmemPages, pauseMs, copyMs: pauseMs - deviceMs, deviceMs, rounds };
  } finally {
    for (const state of [...states, devices]) await state.end();
    if (!left) await goOn();
  }
}

/** Rounds, until what is left is little enough. @returns how many */
async function followed(
  request: LiveSaveRequest,
  states: readonly LiveState[],
  writer: StreamWriter,
  output: LiveOutput,
): Promise<number> {
  const { machine, memory, tmem, own, devices, nowMs } = request;
  let convergence = FIRST_ROUND;
  let bytesPerSecond = 0;
  for (;;) {
    const start = { ms: nowMs(), bytes: writer.offset };
    await walk(states, output, request, false);
    await writer.round();
    const ms = Math.max(nowMs() - start.ms, 1);
    bytesPerSecond = Math.max(bytesPerSecond, ((writer.offset - start.bytes) * 1000) / ms);
    const waiting = tmem?.left();
    const now = {
      dirtyBytes: memory.left().bytes,
      tmemBytes: waiting?.bytes ?? 0,
      invalidations: waiting?.invalidations ?? 0,
      ownBytes: own.reduce((sum, { state }) => sum + state.left().bytes, 0),
      deviceBytes: devices.left().bytes,
    };
    const costs: Costs = { ...COSTS, bytesPerSecond, scanMs: memory.last?.stoppedMs ?? COSTS.scanMs };
    const { state, decision } = roundEnded(convergence, now, costs, LIMITS);
    convergence = state;
    if (decision === 'throttle') await machine.throttle(1 - state.throttle / 100);
    else if (decision !== 'continue') return state.rounds;
  }
}

/** One round of all of them, or the last. */
async function walk(
  states: readonly LiveState[],
  output: LiveOutput,
  { signal, onProgress, machine }: LiveSaveRequest,
  last: boolean,
): Promise<void> {
  const takers = states.map((state) => takerOf(state, output, last));
  const total = machine.capabilities.pages * machine.capabilities.pageBytes;
  await drain(takeTurns(takers), () => {
    checkSignal(signal);
    // Later rounds write some of it again: what is known of the whole is the first.
    onProgress?.(Math.min(output.channels[0].writer.offset, total), total);
  });
}

/** All steps of what writes; between them `between` may throw, and then it is left. */
async function drain(steps: AsyncGenerator<number, void>, between: () => void): Promise<void> {
  try {
    while ((await steps.next()).done !== true) between();
  } finally {
    await steps.return();
  }
}
