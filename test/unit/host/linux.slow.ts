/**
 * Linux end to end through the host (M1, T1, T2, M6): a disk inside the image, swap on tmem, saved while it works, and
 * restored by another host. Skipped, aloud, where Debian's packages are not to be had.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { CACHE } from '../../../guests/linux/build.ts';
import { linuxCommandLine } from '../../../guests/linux/guest.ts';
import type { GuestInfo, RestoreResult, SaveResult } from '../../../src/host/api.ts';
import type { Verification } from '../../../src/image/verify.ts';
import { GuestShell, RunningHost, transmigrate } from '../../support/host/running-host.ts';
import { builtLinux } from '../../support/built-linux.ts';

const { unavailable } = builtLinux();

const NAME = 'linux';
/** Files in memory, which has to be swapped for them: ten times five copies of the file on the disk, 50 MiB. */
const COPIES = Array.from({ length: 10 }, (_, i) => i + 1);
/** So long lies between save and restore at least, or a clock that stands still could pass for one that was set. */
const GAP_MS = 6000;

describe('Linux on a host', { skip: unavailable }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tmig-linux-'));
  const hosts: RunningHost[] = [];
  const shells: GuestShell[] = [];
  after(async () => {
    for (const shell of shells) shell.end();
    await Promise.all(hosts.map((host) => host.stop()));
    rmSync(directory, { recursive: true, force: true });
  });

  async function newHost(name: string): Promise<RunningHost> {
    const host = await RunningHost.start(join(directory, `${name}.sock`), '--tmem', '256M');
    hosts.push(host);
    return host;
  }

  function shellOn(host: RunningHost): GuestShell {
    const shell = new GuestShell(host.client, NAME);
    shells.push(shell);
    return shell;
  }

  async function verified(file: string): Promise<Verification> {
    return JSON.parse(await transmigrate('verify', '--digest', '--json', file)) as Verification;
  }

  async function only(host: RunningHost): Promise<GuestInfo> {
    const { guests } = (await host.command('list')) as { guests: GuestInfo[] };
    assert.equal(guests.length, 1);
    return guests[0];
  }

  test('is saved while it works, and goes on in another process with shell, files, swap and clock', async () => {
    const source = await newHost('source');
    const kernel = ['--kernel', join(CACHE, 'vmlinux'), '--initrd', join(CACHE, 'initrd.cpio')];
    const disks = ['--disk', `hda=${join(CACHE, 'disk.img')}`, '--disk', 'hdb=tmem,128M'];
    const commandLine = linuxCommandLine({ disk: true });
    await source.command('create', NAME, '--memory', '64M', ...kernel, '--append', commandLine, ...disks);
    const shell = shellOn(source);
    await shell.ready();
    // Messages of the kernel would come between the lines of the shell.
    await shell.run('dmesg -n 1');
    await shell.run('mount -t minix /dev/sda2 /mnt && dd if=/dev/urandom of=/mnt/file bs=4096 count=256 2>/dev/null');
    const fileSum = await shell.run('md5sum </mnt/file');
    await shell.run('mkswap /dev/sdb && swapon /dev/sdb && mount -t tmpfs -o size=80m none /tmp');
    await shell.run(
      `for i in ${COPIES.join(' ')}; do cat /mnt/file /mnt/file /mnt/file /mnt/file /mnt/file >/tmp/$i; done`,
    );
    // Reads what is swapped out, and puts other pages in its place.
    await shell.run(`for i in ${COPIES.join(' ')}; do md5sum </tmp/$i >>/tmp/sums; done`);
    const sums = await shell.run('cat /tmp/sums');
    assert.equal(new Set(sums).size, 1, 'copies of one file are equal');
    const variable = `kept-${process.pid}`;
    await shell.run(`VARIABLE=${variable}`);
    // Something that works all the time, and can be seen to go on.
    await shell.run(
      '(n=0; while :; do n=$((n+1)); echo $n >/tmp/count; md5sum </mnt/file >/dev/null; done) 2>/tmp/errors &',
    );

    const [swappedKib] = await shell.run("awk '/sdb/ {print $4}' /proc/swaps");
    const swapped = Number(swappedKib) / 4;
    const { tmem } = await only(source);
    assert.ok(swapped > 500, `${swappedKib} KiB are swapped out`);
    assert.equal(tmem!.pools, 1);
    assert.ok(tmem!.pages > 500, `${tmem!.pages} pages are in tmem`);

    const [[before], [uptime]] = [await shell.run('cat /tmp/count'), await shell.run("cut -d' ' -f1 /proc/uptime")];
    const file = join(directory, 'linux.tmig');
    const saved = (await source.command('save', NAME, file)) as SaveResult;
    const savedAt = performance.now();
    assert.equal(saved.state, 'running');
    assert.ok(saved.tmemPages > 500);
    assert.deepEqual(await shell.run('echo $VARIABLE'), [variable], 'the source goes on');
    const trouble = 'test -s /tmp/errors && { head /tmp/errors; ls -li /mnt; dmesg | tail; } || true';
    assert.deepEqual(await shell.run(trouble), [], 'what works in the source finds its file each time');
    // What it writes now is not in the image.
    await shell.run('VARIABLE=changed; for i in 1 2; do dd if=/dev/zero of=/tmp/$i bs=1M count=5 2>/dev/null; done');
    await shell.run('echo other >/mnt/file; sync');
    assert.equal(((await source.command('destroy', NAME)) as GuestInfo).name, NAME);
    assert.equal((await source.client.info()).tmem!.pages, 0, 'nothing of it is left in tmem');
    await source.stop();

    const image = await verified(file);
    assert.equal(image.verdict, 'sound');
    assert.equal(image.memory!.pages, 64 * 256);
    assert.ok(image.tmem!.pages > 500 && image.tmem!.pools === 1);

    const destination = await newHost('destination');
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, GAP_MS - (performance.now() - savedAt))));
    const restored = (await destination.command('restore', '--paused', file)) as RestoreResult;
    assert.equal(restored.guest.state, 'paused');
    assert.notEqual(restored.guest.uuid, saved.uuid, 'a clone');
    assert.equal(restored.tmemPages, saved.tmemPages);
    const again = join(directory, 'again.tmig');
    await destination.command('save', NAME, again);
    const copy = await verified(again);
    assert.deepEqual([copy.memory, copy.tmem], [image.memory, image.tmem], 'it holds the same before it runs');

    const other = shellOn(destination);
    await destination.command('unpause', NAME);
    assert.deepEqual(await other.run('echo $VARIABLE'), [variable]);
    const [[now], [later]] = [await other.run('cat /tmp/count'), await other.run("cut -d' ' -f1 /proc/uptime")];
    assert.ok(Number(now) >= Number(before), `it counted to ${before}, and then to ${now}`);
    assert.ok(Number(later) >= Number(uptime), 'its clock does not go back');
    const [chip] = await other.run('cat /sys/class/rtc/rtc0/since_epoch');
    // The chip has whole seconds, and the answer comes some time after the chip was read.
    const difference = Date.now() / 1000 - Number(chip);
    assert.ok(difference > -2 && difference < GAP_MS / 1000 - 1, `the clock chip is ${difference} s behind the host`);
    assert.deepEqual(
      await other.run(`for i in ${COPIES.join(' ')}; do md5sum </tmp/$i; done`),
      sums,
      'what was swapped out is intact',
    );
    assert.deepEqual(await other.run(trouble), [], 'and so does it in the restored one');
    await other.run('sync; echo 3 >/proc/sys/vm/drop_caches');
    assert.deepEqual(await other.run('md5sum </mnt/file'), fileSum, 'the file comes back from the disk');
    const [count] = await other.run('sleep 1; cat /tmp/count');
    assert.ok(Number(count) > Number(now), 'what it was doing goes on');
    await other.run('kill $! && swapoff /dev/sdb');
    assert.deepEqual((await only(destination)).state, 'running');
  });
});
