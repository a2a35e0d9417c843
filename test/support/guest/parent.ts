/**
 * A process that owns a guest, for a test that kills it: makes the machine, runs it, and writes the guest's process id.
 * With `stuck` as its argument it never answers the guest's first request to tmem.
 */
import { V86Process } from '../../../src/machine/v86/process.ts';
import { guestPlan } from './guest.ts';
import { lookInto, MEMORY, until } from './machines.ts';

const stuck = process.argv[2] === 'stuck';
const machine = await V86Process.create({
  config: { memoryBytes: MEMORY },
  boot: guestPlan(stuck ? 'tmem' : 'work', ...(stuck ? [1] : [16, 64, 10, 0])),
  tmem: () => {
    // The guest waits in its OUT instruction now, and goes on waiting.
    process.stdout.write(`${machine.pid}\n`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    return 0;
  },
});
await machine.grant(1);
await machine.resume();
if (!stuck) {
  await until('the guest works', async () => (await lookInto(machine)).rounds > 10);
  process.stdout.write(`${machine.pid}\n`);
}
