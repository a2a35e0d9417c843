/** Child of the image benchmark: writes a libxc stream of so many GiB of guest memory to standard output. */
import { writeSync } from 'node:fs';
import { PAGE_TYPE } from '../src/foreign/xen-libxc/constants.ts';
import { libxcHeader } from '../src/foreign/xen-libxc/headers.ts';
import { encodeHvmContext } from '../src/foreign/xen-libxc/hvm-context.ts';
import { setEntry } from '../src/foreign/xen-libxc/pages.ts';
import { LibxcWriter } from '../src/foreign/xen-libxc/writer.ts';
import { PAGE, syntheticMemory } from './support/synthetic-memory.ts';

const gib = Number(process.argv[2]);
/** What repeats: memory of the guest, in windows. */
const memory = syntheticMemory(64 * 1024 * 1024);
const BATCH = 1024;
const batches = (gib * 1024 ** 3) / (BATCH * PAGE);
const inWindow = memory.byteLength / (BATCH * PAGE);

function emit(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength;) {
    try {
      done += writeSync(1, bytes, done, bytes.byteLength - done);
    } catch (error) {
      // A pipe that is full says so; it is asked again.
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

const nothing = new Uint8Array(0);
const header = new Uint8Array(24);
new DataView(header.buffer).setUint32(0, 0x54381286, true);
new DataView(header.buffer).setUint32(4, 1, true);
const writer = new LibxcWriter(emit);
writer.header(libxcHeader({ domainType: 2, xenMajor: 4, xenMinor: 17 }));
writer.record({ kind: 'STATIC_DATA_END', rest: nothing });
const words = new Uint32Array(2 * BATCH);
for (let batch = 0; batch < batches; batch++) {
  for (let entry = 0; entry < BATCH; entry++) setEntry(words, entry, batch * BATCH + entry, PAGE_TYPE.normal);
  writer.pageEntries(words, BATCH);
  const at = (batch % inWindow) * BATCH * PAGE;
  writer.pages(memory.subarray(at, at + BATCH * PAGE));
}
writer.record({
  kind: 'X86_TSC_INFO',
  mode: 0,
  khz: 1,
  nsec: 0n,
  incarnation: 0,
  reserved: 0,
});
writer.record({ kind: 'HVM_CONTEXT', content: encodeHvmContext([{ type: 1, instance: 0, content: header }]) });
writer.record({ kind: 'END', rest: nothing });
