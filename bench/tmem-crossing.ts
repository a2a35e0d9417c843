/**
 * How long one tmem request takes from a guest to the daemon and back, with a service that answers at once: the cost of
 * crossing between two processes, apart from the engine's work.
 *
 *   node bench/tmem-crossing.ts [--requests 20000] [--runs 5] [--json]
 *
 * The guest rings the doorbell in a loop; the parent takes the time between requests, of puts (a page goes out) and of
 * gets (a page comes back). Beside it the same loop with the service in the guest's own process.
 */
import { parseArgs } from 'node:util';
import { createEmulator } from '../src/machine/v86/create.ts';
import { V86Process } from '../src/machine/v86/process.ts';
import type { TmemService } from '../src/machine/machine.ts';
import { DESCRIPTOR_ADDRESS, guestPlan, mailbox, MAILBOX_PFN, post } from '../test/support/guest/guest.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '20000' },
    runs: { type: 'string', default: '5' },
    json: { type: 'boolean', default: false },
  },
});
const requests = Number(values.requests);
const runs = Number(values.runs);
const PAGE = 4096;
const OPERATION = { put: 3, get: 4 } as const;

/** A service that does nothing, and notes when it was asked. */
function timed(): { service: TmemService; gapsUs: () => number[] } {
  const times: number[] = [];
  return {
    service: () => {
      times.push(performance.now());
      return 1;
    },
    gapsUs: () => times.slice(1).map((time, i) => (time - times[i]) * 1000),
  };
}

/** The page of the mailbox, with a descriptor for the operation, and the guest told to begin. */
function prepared(page: Uint8Array, operation: number): Uint8Array {
  const memory = Buffer.alloc((MAILBOX_PFN + 1) * PAGE);
  memory.set(page, MAILBOX_PFN * PAGE);
  memory.writeUInt32LE(operation, DESCRIPTOR_ADDRESS);
  memory.writeUInt32LE(0x104000, DESCRIPTOR_ADDRESS + 48);
  post(memory, 'value1', 1);
  return Uint8Array.from(memory.subarray(MAILBOX_PFN * PAGE));
}

const config = { memoryBytes: 4 * 1024 * 1024 };
const boot = guestPlan('ring', requests);

async function across(operation: number): Promise<number[]> {
  const { service, gapsUs } = timed();
  const machine = await V86Process.create({ config, boot, tmem: service });
  await machine.grant(1);
  await machine.resume();
  await sleep(200);
  await machine.pause();
  const page = (await machine.readPages(MAILBOX_PFN, 1)).bytes;
  await machine.loadPages({ pfns: Uint32Array.of(MAILBOX_PFN), bytes: prepared(page, operation) });
  await machine.resume();
  for (let done = 0; done < requests;) {
    await sleep(100);
    done = mailbox((await machine.readPages(MAILBOX_PFN, 1)).bytes, 0).rounds;
  }
  await machine.close();
  return gapsUs();
}

async function within(operation: number): Promise<number[]> {
  const { service, gapsUs } = timed();
  const { machine } = await createEmulator({ config, boot, tmem: service });
  machine.resume();
  await sleep(200);
  machine.stop();
  const page = machine.memory().subarray(MAILBOX_PFN * PAGE, (MAILBOX_PFN + 1) * PAGE);
  machine.loadPages({ pfns: Uint32Array.of(MAILBOX_PFN), bytes: prepared(page, operation) });
  machine.resume();
  while (mailbox(machine.memory()).rounds < requests) await sleep(50);
  machine.stop();
  return gapsUs();
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

const rows = [];
for (const [name, operation] of Object.entries(OPERATION)) {
  for (const [where, measure] of [['two processes', across] as const, ['one process', within] as const]) {
    const medians: number[] = [];
    const all: number[] = [];
    for (let run = 0; run < runs; run++) {
      const gaps = (await measure(operation)).sort((a, b) => a - b);
      medians.push(quantile(gaps, 0.5));
      all.push(...gaps);
    }
    all.sort((a, b) => a - b);
    medians.sort((a, b) => a - b);
    rows.push({
      operation: name,
      where,
      medianUs: Number(quantile(medians, 0.5).toFixed(1)),
      p95Us: Number(quantile(all, 0.95).toFixed(1)),
      p99Us: Number(quantile(all, 0.99).toFixed(1)),
    });
  }
}
if (values.json) process.stdout.write(`${JSON.stringify({ requests, runs, rows })}\n`);
else console.table(rows);
