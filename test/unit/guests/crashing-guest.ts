/** Started by small-guest-crash.test.ts: has the small guest end in a triple fault, and tells what came of it. */

import { SMALL_GUEST_COMMAND } from '../../../src/machine/v86/boot/small-guest.ts';
import { startSmallGuest } from '../../support/v86/small-guest.ts';
import type { V86Version } from '../../support/v86/emulator.ts';

process.on('uncaughtException', (error) => {
  console.log(`uncaught ${error instanceof Error ? error.name : typeof error}`);
  process.exit(9);
});
const guest = await startSmallGuest({ version: process.argv[2] as V86Version });
await guest.until(({ round }) => round > 2);
console.log('runs');
guest.send(SMALL_GUEST_COMMAND.crash);
const { length } = guest.serial.lines;
setTimeout(() => {
  console.log(guest.serial.lines.length > length + 1 ? 'goes on' : 'silent');
  process.exit(0);
}, 1500);
