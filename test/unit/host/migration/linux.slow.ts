/**
 * Linux with swap on tmem, under load, moves to and fro between two host processes (L1, T3, H7): what it computes and
 * what it has swapped out stay right. Skipped, aloud, where Debian's packages are not to be had. TIMES says how often.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { CACHE } from '../../../../guests/linux/build.ts';
import { linuxCommandLine } from '../../../../guests/linux/guest.ts';
import type { GuestInfo } from '../../../../src/host/api.ts';
import { GuestShell, RunningHost } from '../../../support/host/running-host.ts';
import { builtLinux } from '../../../support/built-linux.ts';

const { unavailable } = builtLinux();

const NAME = 'linux';
const TIMES = Number(process.env['TIMES'] ?? 4);
/** One file may take long to come back from the swap on a busy machine. */
const COUNT_MS = 120_000;
/** Files in memory, which has to be swapped for them: ten times five copies of the file on the disk, 50 MiB. */
const COPIES = Array.from({ length: 10 }, (_, i) => i + 1).join(' ');
/**
 * Reads every file, which brings it back from the swap and puts others there, compares its sum, and counts. A sum that
 * is another one goes into a file, with when that was.
 */
const LOAD = `(n=0; while :; do for i in ${COPIES}; do s=$(md5sum </tmp/$i); n=$((n+1)); echo $n >/run/count; \
[ "$s" = "$(cat /run/sum)" ] || echo "file $i: $s, sum $n" >>/run/wrong; done; done) 2>>/run/wrong &`;

describe('Linux that moves', { skip: unavailable }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'tmig-linux-'));
  const hosts: RunningHost[] = [];
  after(async () => {
    await Promise.all(hosts.map((host) => host.stop()));
    rmSync(directory, { recursive: true, force: true });
  });

  async function newHost(name: string): Promise<{ host: RunningHost; port: number }> {
    const state = ['--state', join(directory, `${name}.state`)];
    const host = await RunningHost.start(join(directory, `${name}.sock`), '--tmem', '256M', ...state);
    hosts.push(host);
    const { port } = await host.client.listen({ host: '127.0.0.1', port: 0 });
    return { host, port };
  }

  test(`${TIMES} migrations, with swap on tmem, under load`, { timeout: 3_600_000 }, async (context) => {
    const places = [await newHost('a'), await newHost('b')];
    const kernel = ['--kernel', join(CACHE, 'vmlinux'), '--initrd', join(CACHE, 'initrd.cpio')];
    const disks = ['--disk', `hda=${join(CACHE, 'disk.img')}`, '--disk', 'hdb=tmem,128M'];
    const commandLine = linuxCommandLine({ disk: true });
    await places[0].host.command('create', NAME, '--memory', '64M', ...kernel, '--append', commandLine, ...disks);
    let shell = new GuestShell(places[0].host.client, NAME);
    await shell.ready();
    // Messages of the kernel would come between the lines of the shell.
    await shell.run('dmesg -n 1; mkdir -p /run; mount -t minix /dev/sda2 /mnt');
    await shell.run('dd if=/dev/urandom of=/mnt/file bs=4096 count=256 2>/dev/null');
    await shell.run('mkswap /dev/sdb && swapon /dev/sdb && mount -t tmpfs -o size=80m none /tmp');
    await shell.run(
      `for i in ${COPIES}; do cat /mnt/file /mnt/file /mnt/file /mnt/file /mnt/file >/tmp/$i; done; ` +
        'cat /mnt/file /mnt/file /mnt/file /mnt/file /mnt/file | md5sum >/run/sum',
    );
    await shell.run(LOAD);
    let counted = 0;
    const goesOn = async (): Promise<void> => {
      const before = counted;
      const end = performance.now() + COUNT_MS;
      while (counted <= before) {
        assert.ok(performance.now() < end, `it has counted to ${before}, and no further`);
        const [count] = await shell.run('sleep 1; cat /run/count 2>/dev/null || echo 0');
        counted = Number(count);
      }
      assert.deepEqual(await shell.run('cat /run/wrong'), [], 'every sum is right');
    };
    await goesOn();

    const downtimes: number[] = [];
    const sums = { rounds: 0, ramPages: 0, tmemPages: 0, invalidations: 0 };
    for (let times = 0; times < TIMES; times++) {
      const [from, to] = times % 2 === 0 ? places : places.toReversed();
      const { guests } = (await from.host.command('list')) as { guests: GuestInfo[] };
      assert.ok(guests[0].tmem!.pages > 500, `${guests[0].tmem!.pages} pages are in tmem before migration ${times}`);
      const result = await from.host.client.migrate(NAME, {
        host: '127.0.0.1',
        port: to.port,
        codec: times % 4 < 2 ? 'raw' : 'zstd',
        limits: { force: true },
      });
      downtimes.push(Math.round(result.downtimeMs));
      for (const key of ['rounds', 'ramPages', 'tmemPages', 'invalidations'] as const) sums[key] += result[key];
      assert.ok(result.tmemPages > 500, `${result.tmemPages} pages of tmem went along`);
      shell.end();
      shell = new GuestShell(to.host.client, NAME);
      await goesOn();
      assert.deepEqual(await from.host.client.list(), []);
      assert.equal((await from.host.client.info()).tmem!.pages, 0, 'nothing of it is left in tmem');
    }
    // What it has done is done: now everything that is swapped out is read by itself.
    await shell.run('kill $!');
    const [sum] = await shell.run('cat /run/sum');
    const files = await shell.run(`for i in ${COPIES}; do md5sum </tmp/$i; done`);
    assert.deepEqual(new Set(files), new Set([sum]));
    await shell.run('swapoff /dev/sdb || true');
    shell.end();
    context.diagnostic(JSON.stringify({ downtimes, ...sums, filesSummed: counted }));
  });
});
