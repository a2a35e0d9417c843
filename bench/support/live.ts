/** What following a running guest costs it: rounds over its memory, and the pause at their end. */
import type { ByteSink } from '../../src/bytes/endpoints.ts';
import type { V86Process } from '../../src/machine/v86/process.ts';
import { LiveDevices } from '../../src/migrate/section/live-devices.ts';
import { LiveMemory } from '../../src/migrate/section/live-memory.ts';
import { singleOutput } from '../../src/migrate/section/live.ts';
import { StreamWriter } from '../../src/stream/writer.ts';

/** How long rounds follow each other before the pause. */
const FOLLOW_MS = 1000;

const nowhere: ByteSink = { write: () => Promise.resolve() };

async function all(steps: AsyncGenerator<number, void>): Promise<void> {
  while ((await steps.next()).done !== true);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export interface Mark {
  readonly at: number;
  readonly cpuMs: number;
  readonly rounds: number;
}

/** How fast a guest gets on between two marks: by the clock, and by the time that its process had a processor. */
function speeds(from: Mark, to: Mark): { wall: number; processor: number } {
  const done = to.rounds - from.rounds;
  return { wall: done / (to.at - from.at), processor: done / (to.cpuMs - from.cpuMs) };
}

/**
 * Follows a guest for a second, in rounds that are written to nowhere, and pauses it; then it goes on.
 * @param mark where the guest is; null for one that does not say.
 */
export async function followed(
  machine: V86Process,
  mark: (() => Promise<Mark>) | null,
): Promise<Record<string, number>> {
  const { pageBytes } = machine.capabilities;
  const writer = await StreamWriter.open(
    nowhere,
    {
      kind: 'migration',
      byteOrder: 'little',
      wordBits: 32,
      domainType: 'emulated',
      machine: 3,
      pageSize: pageBytes,
      streamId: new Uint8Array(16),
      indexed: false,
    },
    {},
  );
  const output = singleOutput(writer);
  const memory = new LiveMemory(machine, () => performance.now());
  const devices = new LiveDevices(machine, 0);
  const row: Record<string, number> = {};
  await memory.begin();
  try {
    const begun = await mark?.();
    await all(memory.round(output));
    row['firstRoundMs'] = memory.last!.ms;
    row['firstRoundStoppedMs'] = memory.last!.stoppedMs;
    row['firstRoundMib'] = memory.last!.bytes / 2 ** 20;
    const afterFirst = await mark?.();
    const start = performance.now();
    let pages = 0;
    let rounds = 0;
    while (performance.now() - start < FOLLOW_MS) {
      await writer.round();
      await all(memory.round(output));
      pages += memory.last!.pages;
      rounds++;
    }
    row['roundMs'] = (performance.now() - start) / rounds;
    row['roundPages'] = pages / rounds;
    const afterRounds = await mark?.();

    const paused = performance.now();
    await machine.pause();
    const still = performance.now();
    await all(memory.final(output));
    const scanned = performance.now();
    await all(devices.final(output));
    row['pauseMs'] = performance.now() - paused;
    row['stopMs'] = still - paused;
    row['finalScanMs'] = scanned - still;
    row['finalPages'] = memory.last!.pages;
    row['finalDeviceMs'] = performance.now() - scanned;
    const again = performance.now();
    await all(memory.final(output));
    // Nothing changed: what looking costs, with the words to the guest's process and back.
    row['emptyScanMs'] = performance.now() - again;
    row['emptyScanStoppedMs'] = memory.last!.stoppedMs;
    await memory.end();
    await machine.resume();
    if (mark !== null) {
      const alone = await mark();
      await sleep(FOLLOW_MS);
      const usual = speeds(alone, await mark());
      const first = speeds(begun!, afterFirst!);
      const later = speeds(afterFirst!, afterRounds!);
      row['speedInFirstRound'] = first.wall / usual.wall;
      row['speedInRounds'] = later.wall / usual.wall;
      row['speedInFirstRoundByProcessor'] = first.processor / usual.processor;
      row['speedInRoundsByProcessor'] = later.processor / usual.processor;
    }
  } finally {
    await memory.end();
  }
  return row;
}
