/**
 * How long one tmem request takes from a guest to the daemon and back, with a service that answers at once: the cost of
 * crossing between two processes, apart from the engine's work.
 *
 *   node bench/tmem-crossing.ts [--requests 20000] [--runs 7] [--json]
 *
 * The guest rings the doorbell in a loop; the parent takes the time between requests, of puts (a page goes out) and of
 * gets (a page comes back). Beside it the same loop with the service in the guest's own process.
 *
 * Then what a reader of the guest's pages costs the guest (T4): flushes of pages that all were sent, one after the
 * other, carried out by the engine, with a log that notes each and without one. The ratio is the median of pairs.
 */
import { parseArgs } from 'node:util';
import { createEmulator } from '../src/machine/v86/create.ts';
import { V86Process } from '../src/machine/v86/process.ts';
import { TmemEngine, TmemHypercall, TmemLog } from '../src/index.ts';
import type { TmemService } from '../src/machine/machine.ts';
import { DESCRIPTOR, OPERATION as REQUEST } from '../src/tmem/descriptor.ts';
import { DESCRIPTOR_ADDRESS, guestPlan, mailbox, MAILBOX_PFN, post } from '../test/support/guest/guest.ts';
import { median } from './support/measure.ts';

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '20000' },
    runs: { type: 'string', default: '7' },
    json: { type: 'boolean', default: false },
  },
});
const requests = Number(values.requests);
const runs = Number(values.runs);
const PAGE = 4096;
const OPERATION = { put: 3, get: 4 } as const;

interface Timed {
  readonly service: TmemService;
  /** Microseconds between one request and the next. */
  readonly gapsUs: () => number[];
}

/** A service that does nothing, and notes when it was asked. */
function timed(): Timed {
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

async function across(operation: number, { service, gapsUs }: Timed): Promise<number[]> {
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

async function within(operation: number, { service, gapsUs }: Timed): Promise<number[]> {
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

const CLIENT = 1;
const PERSISTENT = 0x0100_0001;
const PAGES_OF_OBJECT = 256;

/** Carries out each request as a flush of the next page, of as many as there are requests. */
function flushing(log: boolean): Timed {
  const engine = new TmemEngine({ limitBytes: 2 ** 40 });
  engine.newPool(CLIENT, PERSISTENT, new Uint8Array(16));
  const handle = new Uint32Array(7);
  const page = new Uint8Array(PAGE);
  // In an order that no cache foresees.
  const place = (number: number): [number, number] => {
    const at = (number * 7919) % requests;
    return [Math.floor(at / PAGES_OF_OBJECT), at % PAGES_OF_OBJECT];
  };
  for (let number = 0; number < requests; number++) {
    [handle[0], handle[6]] = place(number);
    page.fill(number + 1);
    engine.put(CLIENT, 0, handle, page);
  }
  const reader = log ? new TmemLog(engine, CLIENT) : null;
  while (reader?.next(0) !== undefined);
  const hypercall = new TmemHypercall(engine);
  const { service, gapsUs } = timed();
  let number = 0;
  return {
    service: (descriptor, room) => {
      const view = new DataView(descriptor.buffer, descriptor.byteOffset);
      const [object, index] = place(number++);
      view.setUint32(DESCRIPTOR.operation, REQUEST.flushPage, true);
      view.setUint32(DESCRIPTOR.object, object, true);
      view.setUint32(DESCRIPTOR.index, index, true);
      hypercall.execute(CLIENT, descriptor, undefined);
      return service(descriptor, room);
    },
    gapsUs,
  };
}

const PLACES = [
  ['two processes', across],
  ['one process', within],
] as const;

const rows = [];
for (const [name, operation] of Object.entries(OPERATION)) {
  for (const [where, measure] of PLACES) {
    const medians: number[] = [];
    const all: number[] = [];
    for (let run = 0; run < runs; run++) {
      const gaps = (await measure(operation, timed())).sort((a, b) => a - b);
      medians.push(quantile(gaps, 0.5));
      all.push(...gaps);
    }
    all.sort((a, b) => a - b);
    rows.push({
      operation: name,
      where,
      medianUs: Number(median(medians).toFixed(1)),
      p95Us: Number(quantile(all, 0.95).toFixed(1)),
      p99Us: Number(quantile(all, 0.99).toFixed(1)),
    });
  }
}
const followed = [];
for (const [where, measure] of PLACES) {
  const pairs: [number, number][] = [];
  for (let run = 0; run < runs; run++) {
    const of = async (log: boolean): Promise<number> =>
      quantile(
        (await measure(REQUEST.flushPage, flushing(log))).sort((a, b) => a - b),
        0.5,
      );
    // In turn first and second, so that a machine that gets slower does not tell for one of them.
    const logFirst = run % 2 === 1;
    const first = await of(logFirst);
    const second = await of(!logFirst);
    pairs.push(logFirst ? [second, first] : [first, second]);
  }
  const column = (at: 0 | 1): number => Number(median(pairs.map((pair) => pair[at])).toFixed(2));
  const ratio = Number(median(pairs.map(([without, with_]) => with_ / without)).toFixed(3));
  followed.push({ operation: 'flush', where, medianUs: column(0), withALogUs: column(1), ratio, atMost: 1.1 });
}
if (values.json) process.stdout.write(`${JSON.stringify({ requests, runs, rows, followed })}\n`);
else {
  console.table(rows);
  console.table(followed);
}
