/**
 * Linux in v86 without a BIOS: built from Debian's packages, started by the 32-bit boot protocol, with a disk whose
 * content is ours. Skipped where the packages are not to be had.
 */

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import { SWAP } from '../../../guests/linux/disk.ts';
import { builtLinux } from '../../support/built-linux.ts';
import { DiskBuffer, MemoryPages, type PageStore } from '../../support/v86/disk-buffer.ts';
import { makeEmulator } from '../../support/v86/emulator.ts';
import { linuxShell, startLinux, type LinuxShell } from '../../support/v86/linux.ts';
import { MENDS } from '../../support/v86/mends.ts';

const { guest, unavailable } = builtLinux();

/** Memory that answers later, as another process does, and counts. */
class LaterPages implements PageStore {
  readonly #pages: MemoryPages;
  reads = 0;
  swapWrites = 0;

  constructor(content: Uint8Array) {
    this.#pages = new MemoryPages(content);
  }

  async read(page: number, into: Uint8Array): Promise<void> {
    await new Promise(setImmediate);
    this.reads++;
    this.#pages.read(page, into);
  }

  async write(page: number, content: Uint8Array): Promise<void> {
    await new Promise(setImmediate);
    const at = page * 4096;
    if (at > SWAP.at && at < SWAP.at + SWAP.byteLength) this.swapWrites++;
    this.#pages.write(page, content);
  }
}

describe('Linux', { skip: unavailable }, () => {
  const shells: LinuxShell[] = [];
  const memoryBytes = 48 * 1024 * 1024;
  let failure: unknown;
  const newDisk = (store: PageStore): DiskBuffer =>
    new DiskBuffer({
      byteLength: guest!.disk.length,
      store,
      onFailure: (error) => {
        failure = error;
      },
    });

  after(async () => {
    for (const { emulator } of shells) await emulator.destroy();
  });

  test('starts, runs a command, keeps files on its disk, swaps, and goes on after a restore', async () => {
    const store = new LaterPages(guest!.disk);
    const disk = newDisk(store);
    const shell = await startLinux({ guest: guest!, disk, memoryBytes });
    shells.push(shell);
    assert.equal((await shell.run('uname -r')).at(-1), guest!.release);

    await shell.run('mount -t minix /dev/sda2 /mnt && dd if=/dev/urandom of=/mnt/file bs=4096 count=256 2>/dev/null');
    const [sum] = await shell.run('md5sum </mnt/file');
    await shell.run('sync; umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount -t minix /dev/sda2 /mnt');
    const before = store.reads;
    assert.deepEqual(await shell.run('md5sum </mnt/file'), [sum], 'the file comes back from the disk');
    assert.ok(store.reads - before >= 256);

    // More than there is of memory: the copies have to go to the swap area, and come back right.
    await shell.run('swapon /dev/sda1 && mount -t tmpfs -o size=80m none /tmp');
    await shell.run('for i in 1 2 3 4 5 6; do cat /mnt/file /mnt/file /mnt/file /mnt/file /mnt/file >/tmp/$i; done');
    await shell.run('for i in 1 2 3 4 5 6; do cat /tmp/$i; done | md5sum >/dev/null');
    assert.ok(store.swapWrites > 100, `${store.swapWrites} pages were swapped out`);
    const all = 'for i in 1 2 3 4 5 6; do dd if=/tmp/$i bs=4096 skip=$((256*4)) 2>/dev/null | md5sum; done';
    assert.deepEqual(
      await shell.run(all),
      Array.from({ length: 6 }, () => sum),
    );

    await shell.run('VARIABLE=kept');
    await disk.drained();
    await shell.emulator.stop();
    await disk.drained();
    const clock = { microtickMs: performance.now(), hostMs: Date.now() };
    const state = await shell.emulator.save_state();
    assert.ok(state.byteLength < memoryBytes + 8 * 1024 * 1024, 'the disk is not in the state');
    await shells.pop()!.emulator.destroy();

    const other = linuxShell(await makeEmulator({ memoryBytes, options: { hda: newDisk(store) } }));
    shells.push(other);
    const mended = Object.values(MENDS).map((mend) => mend(other.emulator, clock, () => performance.now()));
    await other.emulator.restore_state(state);
    for (const mend of mended) mend();
    await other.emulator.run();
    assert.deepEqual(await other.run('echo $VARIABLE'), ['kept']);
    assert.deepEqual(
      await other.run(all),
      Array.from({ length: 6 }, () => sum),
    );
    assert.deepEqual(await other.run('md5sum </mnt/file'), [sum]);
    assert.equal(failure, undefined);
    await shells.pop()!.emulator.destroy();
  });

  test('starts from the bzImage, which unpacks itself, in an older v86', async () => {
    const shell = await startLinux({ guest: guest!, kernel: guest!.bzImage, version: 'v86-0.5.278' });
    shells.push(shell);
    assert.equal((await shell.run('uname -r')).at(-1), guest!.release);
    await shells.pop()!.emulator.destroy();
  });

  test('starts in the oldest v86 that is carried', async () => {
    const shell = await startLinux({
      guest: guest!,
      version: 'v86-0.5.66',
      disk: newDisk(new MemoryPages(guest!.disk)),
    });
    shells.push(shell);
    assert.equal((await shell.run('uname -r; test -b /dev/sda2')).at(-1), guest!.release);
    await shells.pop()!.emulator.destroy();
  });
});
