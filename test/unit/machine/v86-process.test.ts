/** A guest in a process of its own (M1): what it is asked, what becomes of it, and what it does not do to others. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TransmigrateError, type ErrorCode } from '../../../src/errors.ts';
import { scanRoomBytes, type PageBatch, type TmemService } from '../../../src/machine/machine.ts';
import { PAGE_BYTES } from '../../../src/machine/v86/pages.ts';
import { V86Process } from '../../../src/machine/v86/process.ts';
import { V86_VERSIONS } from '../../../src/machine/v86/versions.ts';
import type { V86Config } from '../../../src/machine/v86/config.ts';
import { guestPlan, MAILBOX_PFN, type Mode } from '../../support/guest/guest.ts';
import { lookInto, MEMORY, simpleTmem, sleep, until } from '../../support/guest/machines.ts';

const open: V86Process[] = [];
afterEach(async () => {
  for (const machine of open.splice(0)) await machine.close();
});

async function started(
  mode: Mode | null,
  parameters: readonly number[] = [],
  config: Partial<V86Config> = {},
  tmem?: TmemService,
): Promise<V86Process> {
  const machine = await V86Process.create({
    config: { memoryBytes: MEMORY, ...config },
    ...(mode !== null && { boot: guestPlan(mode, ...parameters) }),
    ...(tmem !== undefined && { tmem }),
  });
  open.push(machine);
  await machine.grant(1);
  return machine;
}

function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code;
}

/** All of a machine's memory, read in batches by `read`. */
async function memoryOf(
  machine: V86Process,
  read: (first: number, count: number) => Promise<PageBatch>,
): Promise<Buffer> {
  const memory = Buffer.alloc(machine.capabilities.pages * PAGE_BYTES);
  for (let first = 0; first < machine.capabilities.pages; first += 256) place(memory, await read(first, 256));
  return memory;
}

function place(memory: Buffer, { pfns, bytes }: PageBatch): void {
  pfns.forEach((pfn, i) => memory.set(bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), pfn * PAGE_BYTES));
}

async function rounds(machine: V86Process, count: number): Promise<void> {
  const goal = (await lookInto(machine)).rounds + count;
  await until(`the guest did ${count} rounds`, async () => (await lookInto(machine)).rounds >= goal);
}

/** Whether a process still does anything. One that ended and that nobody has waited for does not. */
function lives(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

describe('a guest in its own process', () => {
  it('runs while it is granted, and stands still when it is paused', async () => {
    const machine = await V86Process.create({
      config: { memoryBytes: MEMORY },
      boot: guestPlan('work', 8, 64, 5, 1),
    });
    open.push(machine);
    let output = '';
    machine.on('console', (bytes, port) => {
      output += port === 0 ? Buffer.from(bytes).toString('latin1') : '';
    });
    assert.equal(machine.status, 'paused');
    await assert.rejects(machine.resume(), refused('NOT_GRANTED'));
    await machine.grant(7);
    await machine.resume();
    await rounds(machine, 12);
    await machine.pause();
    const at = (await lookInto(machine)).rounds;
    await sleep(100);
    assert.equal((await lookInto(machine)).rounds, at);
    assert.match(output, /^r=00000001 bad=00000000\nr=00000006 /);

    await machine.revoke();
    await assert.rejects(machine.resume(), refused('NOT_GRANTED'));
    await assert.rejects(machine.grant(6), refused('NOT_GRANTED'));
    await assert.rejects(machine.grant(NaN), refused('NOT_GRANTED'));
    await machine.grant(7);
    await machine.resume();
    await machine.revoke();
    assert.equal(machine.status, 'paused');
  });

  for (const { version } of V86_VERSIONS) {
    it(`is saved and goes on in another process, with v86 ${version}`, async () => {
      const source = await started('work', [16, 256, 1000, 1], { version });
      await source.resume();
      await rounds(source, 20);
      await source.pause();
      const device = await source.deviceState();
      const memory = await memoryOf(source, (first, count) => source.readPages(first, count));
      const [vcpu] = await source.vcpus();
      assert.equal(vcpu.halted, true);
      assert.equal(vcpu.registers['cr0'], 1n);
      assert.equal(vcpu.fxsave?.byteLength, 512);
      await source.close();
      assert.equal(source.status, 'closed');

      const target = await started(null, [], { version });
      assert.deepEqual(target.capabilities.fingerprint, device.fingerprint);
      for (let first = 0; first < target.capabilities.pages; first += 64) {
        const pfns = Uint32Array.from({ length: 64 }, (_, i) => first + i);
        await target.loadPages({ pfns, bytes: memory.subarray(first * PAGE_BYTES, (first + 64) * PAGE_BYTES) });
      }
      await target.loadDeviceState(device, Date.now());
      assert.deepEqual((await target.vcpus())[0].registers['rip'], vcpu.registers['rip']);
      const { rounds: at } = await lookInto(target);
      await target.resume();
      await rounds(target, 20);
      const { rounds: then, bad } = await lookInto(target);
      assert.ok(then >= at + 20);
      assert.equal(bad, 0);
    });
  }

  it('is copied at a pause, and what it does later does not touch the copy', async () => {
    const machine = await started('work', [64, 512, 1000, 0]);
    await machine.resume();
    await rounds(machine, 20);
    await machine.prepareCapture();
    await assert.rejects(machine.capture(), refused('MACHINE_STATE'));
    await machine.pause();
    const { device, vcpus } = await machine.capture();
    const then = await memoryOf(machine, (first, count) => machine.readPages(first, count));
    await machine.resume();
    await rounds(machine, 100);
    const copy = await memoryOf(machine, (first, count) => machine.readCapture(first, count));
    assert.ok(copy.equals(then));
    assert.ok(!(await memoryOf(machine, (first, count) => machine.readPages(first, count))).equals(then));
    assert.equal(vcpus.length, 1);

    // The buffer is used again.
    await machine.pause();
    await machine.capture();
    assert.ok(!(await memoryOf(machine, (first, count) => machine.readCapture(first, count))).equals(then));
    await machine.releaseCapture();
    await assert.rejects(machine.readCapture(0, 1), refused('MACHINE_STATE'));

    const target = await started(null);
    for (let first = 0; first < 1024; first += 256) {
      const pfns = Uint32Array.from({ length: 256 }, (_, i) => first + i);
      await target.loadPages({ pfns, bytes: copy.subarray(first * PAGE_BYTES, (first + 256) * PAGE_BYTES) });
    }
    await target.loadDeviceState(device, Date.now());
    await target.resume();
    await rounds(target, 30);
    assert.equal((await lookInto(target)).bad, 0);
  });

  it('is followed in rounds while it runs, until a last one while it is paused', async () => {
    const machine = await started('work', [8, 512, 1000, 1]);
    await machine.resume();
    await rounds(machine, 5);
    await machine.startScan();
    const copy = Buffer.alloc(MEMORY);
    const round = async (): Promise<number> => {
      let count = 0;
      for (let at = 0; at < machine.capabilities.pages;) {
        const { dirty, zero, next } = await machine.scan(at, { pages: 300, dirty: 50 });
        place(copy, dirty);
        for (const pfn of zero) copy.fill(0, pfn * PAGE_BYTES, (pfn + 1) * PAGE_BYTES);
        count += dirty.pfns.length + zero.length;
        at = next;
      }
      return count;
    };
    for (let i = 0; i < 4; i++) {
      await round();
      await sleep(30);
    }
    await machine.pause();
    await round();
    assert.ok(copy.equals(await memoryOf(machine, (first, count) => machine.readPages(first, count))));
    assert.equal(await round(), 0);
    await machine.markDirty(Uint32Array.of(1, 700));
    assert.equal(await round(), 2);
    await assert.rejects(machine.markDirty(Uint32Array.of(1024)), refused('MACHINE_STATE'));
    // A page that the guest cleared does not cross.
    await machine.loadPages({ pfns: Uint32Array.of(700), bytes: new Uint8Array(PAGE_BYTES).fill(1) });
    assert.equal(await round(), 1);
    await machine.loadPages({ pfns: Uint32Array.of(700), bytes: new Uint8Array(PAGE_BYTES) });
    const { dirty, zero } = await machine.scan(600, { pages: 200 });
    assert.deepEqual([...dirty.pfns], []);
    assert.deepEqual([...zero], [700]);
    const { device, vcpus, deviceMs } = await machine.captureDevices();
    // Its clocks are told by the host's, so no two are the same.
    assert.deepEqual({ ...device, bytes: null }, { ...(await machine.deviceState()), bytes: null });
    assert.equal(vcpus[0].registers['rip'], (await machine.vcpus())[0].registers['rip']);
    assert.ok(deviceMs > 0);
    await machine.loadDeviceState(device, Date.now());
    await machine.endScan();
    await assert.rejects(machine.scan(0), refused('MACHINE_STATE'));
    await assert.rejects(machine.markDirty(Uint32Array.of(1)), refused('MACHINE_STATE'));
  });

  it('puts what it hands out where its parent wants it, as far as it fits', async () => {
    const machine = await started('work', [64, 128, 100, 1]);
    await machine.resume();
    await rounds(machine, 3);
    await machine.pause();
    await machine.startScan();
    const room = new Uint8Array(scanRoomBytes(32, PAGE_BYTES));
    let taken = 0;
    for (let first = 0; first < machine.capabilities.pages;) {
      const slice = await machine.scan(first, { dirty: 32, into: room });
      first = slice.next;
      taken += slice.dirty.pfns.length;
      if (slice.dirty.pfns.length === 0) continue;
      assert.equal(slice.dirty.bytes.buffer, room.buffer);
      const [pfn] = slice.dirty.pfns;
      assert.deepEqual(slice.dirty.bytes.slice(0, PAGE_BYTES), (await machine.readPages(pfn, 1)).bytes);
    }
    assert.ok(taken > 64);
    for (const dirty of [0, -1, 0.5, 5000, 2 ** 40]) {
      await assert.rejects(machine.scan(0, { dirty, into: room }), refused('MACHINE_STATE'), String(dirty));
    }
    await machine.endScan();
    const devices = await machine.captureDevices(new Uint8Array(8 * 2 ** 20));
    assert.equal(devices.device.bytes.buffer.byteLength, 8 * 2 ** 20);
    const elsewhere = await machine.captureDevices(new Uint8Array(1000));
    assert.equal(elsewhere.device.bytes.byteLength, devices.device.bytes.byteLength);
    // Its own process takes it from there.
    await machine.loadDeviceState(devices.device, Date.now());
    await machine.resume();
    await rounds(machine, 3);
    assert.equal((await lookInto(machine)).bad, 0);
  });

  it('is slowed down, stands still and goes on as it is, and has its full speed back at once', async () => {
    const machine = await started('work', [8, 64, 1_000_000, 0]);
    for (const share of [0, 0.009, 1.01, NaN]) {
      await assert.rejects(machine.throttle(share), refused('MACHINE_STATE'), String(share));
    }
    await machine.resume();
    const done = async (ms: number): Promise<number> => {
      const before = (await lookInto(machine)).rounds;
      const start = performance.now();
      await sleep(ms);
      const { rounds: then, bad } = await lookInto(machine);
      assert.equal(bad, 0);
      return (then - before) / (performance.now() - start);
    };
    await rounds(machine, 20);
    await machine.throttle(0.01);
    const slow = await done(500);
    await machine.pause();
    await machine.resume();
    await rounds(machine, 1);
    await machine.throttle(1);
    const full = await done(500);
    // A hundredth; others may take processors away for a while.
    assert.ok(slow < full / 4, `${slow} rounds a millisecond, and ${full}`);
  });

  it('uses tmem of its parent, through the hypercall and as a disk', async () => {
    const tmem = simpleTmem();
    const one = await started('tmem', [1], {}, tmem.service);
    const disks = { hda: { policy: 'tmem', bytes: 32_768 } } as const;
    const other = await started('disk', [64], { disks }, tmem.service);
    await one.resume();
    await other.resume();
    await rounds(one, 70);
    await rounds(other, 70);
    assert.equal((await lookInto(one)).bad, 0);
    assert.equal((await lookInto(other)).bad, 0);
    assert.equal(tmem.pages.size, 64 + 8);
  });

  it('waits when its parent does not take what it writes, and loses nothing', async () => {
    const machine = await started('work', [1, 4, 1, 0]);
    let bytes = 0;
    let text = '';
    machine.on('console', (written) => {
      bytes += written.byteLength;
      text = (text + Buffer.from(written).toString('latin1')).slice(-64);
      // Longer than the guest takes to fill what is between.
      if (bytes < 100_000) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    });
    await machine.resume();
    await until('it wrote much', () => bytes > 300_000);
    await machine.pause();
    // Each line has 24 bytes and the number of its round: none is missing.
    const end = text.lastIndexOf('\n');
    const round = Number.parseInt(text.slice(end - 21, end - 13), 16);
    assert.equal(round, Math.floor(bytes / 24));
  });

  it('echoes what is typed', async () => {
    const machine = await started('echo', [], { serialPorts: 2 });
    let output = '';
    machine.on('console', (bytes) => {
      output += Buffer.from(bytes).toString('latin1');
    });
    await machine.resume();
    await machine.writeConsole(Buffer.from('hello'));
    await until('the guest echoes', () => output === 'hello');
    await assert.rejects(machine.writeConsole(Buffer.from('x'), 3), refused('MACHINE_STATE'));
    await machine.pause();
    await machine.writeConsole(Buffer.alloc(60_000));
    await assert.rejects(machine.writeConsole(Buffer.alloc(60_000)), refused('MACHINE_STATE'));
  });

  it('with a disk in its blob is restored with its content', async () => {
    const content = Uint8Array.from({ length: 8192 }, (_, i) => i);
    const disks = { hda: { policy: 'in-blob', bytes: 65_536, content } } as const;
    const machine = await started('disk', [4], { disks });
    await machine.resume();
    await rounds(machine, 6);
    assert.deepEqual((await lookInto(machine)).bad, 0);
    assert.equal(machine.disks[0].bytes, 65_536);
  });
});

describe('a guest that ends', () => {
  it('in a triple fault is reported as crashed, can be read, and harms no other', async () => {
    const bystander = await started('work', [8, 64, 1000, 1]);
    await bystander.resume();
    const machine = await started('triple');
    const crash = new Promise<string>((resolve) => machine.on('crashed', resolve));
    await machine.resume();
    await rounds(bystander, 3);
    await machine.pause();
    const { bytes } = await machine.readPages(MAILBOX_PFN, 1);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(16, 1, true);
    await machine.loadPages({ pfns: Uint32Array.of(MAILBOX_PFN), bytes });
    await machine.resume();
    assert.notEqual(await crash, '');
    assert.equal(machine.status, 'crashed');
    await assert.rejects(machine.resume(), refused('GUEST_CRASHED'));
    await machine.pause();
    assert.equal((await lookInto(machine)).value1, 1);
    assert.equal((await machine.vcpus()).length, 1);
    await machine.close();
    await rounds(bystander, 3);
  });

  it('halted for ever is reported, and can be saved and restored', async () => {
    const machine = await started('halt');
    const halt = new Promise<void>((resolve) => machine.on('halted', resolve));
    await machine.resume();
    await halt;
    assert.equal(machine.status, 'halted');
    await machine.pause();
    const device = await machine.deviceState();
    await machine.resume();
    assert.equal(machine.status, 'halted');
    const target = await started(null);
    await target.loadDeviceState(device, Date.now());
    await target.resume();
    assert.equal(target.status, 'halted');
  });

  it('killed from outside is reported, and leaves no request unanswered', async () => {
    const machine = await started('work', [8, 64, 1000, 1]);
    const end = new Promise<boolean>((resolve) => machine.on('closed', (_reason, expected) => resolve(expected)));
    await machine.resume();
    const pending = machine.readPages(0, 256);
    process.kill(machine.pid, 'SIGKILL');
    assert.equal(await end, false);
    await pending.catch((error: unknown) => assert.ok(refused('GUEST_GONE')(error)));
    await assert.rejects(machine.pause(), refused('GUEST_GONE'));
    await machine.close();
  });

  it('because tmem fails takes nothing else down', async () => {
    const machine = await started('tmem', [0], {}, () => {
      throw new Error('no engine');
    });
    const crash = new Promise<string>((resolve) => machine.on('crashed', resolve));
    const end = new Promise<void>((resolve) => machine.on('closed', () => resolve()));
    await machine.resume().catch(() => {});
    assert.match(await crash, /no engine/);
    await end;
  });

  it('never was, when it cannot be made', async () => {
    const config = { memoryBytes: MEMORY, disks: { hda: { policy: 'external', path: '/nowhere' } } } as const;
    await assert.rejects(V86Process.create({ config }), refused('READ_FAILED'));
    await assert.rejects(V86Process.create({ config: { memoryBytes: 1 } }), refused('MACHINE_CONFIG'));
    await assert.rejects(
      V86Process.create({ config: { memoryBytes: MEMORY, version: '1.0' } }),
      refused('DRIVER_VERSION'),
    );
  });

  it('closed while it asks for tmem is gone', async () => {
    const machine = await started('tmem', [0], {}, simpleTmem().service);
    await machine.resume();
    await rounds(machine, 50);
    await machine.close();
    assert.equal(lives(machine.pid), false);
  });

  for (const how of ['working', 'stuck']) {
    it(`with its parent, killed while the guest is ${how}`, { skip: process.platform !== 'linux' }, async () => {
      const entry = fileURLToPath(new URL('../../support/guest/parent.ts', import.meta.url));
      const parent = spawn(process.execPath, [entry, how], { stdio: ['ignore', 'pipe', 'inherit'] });
      const pid = Number(await new Promise<Buffer>((resolve) => parent.stdout.once('data', resolve)));
      assert.ok(pid > 1 && lives(pid));
      const exited = new Promise((resolve) => parent.on('exit', resolve));
      parent.kill('SIGKILL');
      await exited;
      await until('the guest is gone too', () => !lives(pid));
    });
  }
});

describe('what is refused', () => {
  it('while the guest runs', async () => {
    const machine = await started('work', [8, 64, 1000, 1]);
    const state = await machine.deviceState();
    await machine.resume();
    await assert.rejects(machine.deviceState(), refused('MACHINE_STATE'));
    await assert.rejects(machine.vcpus(), refused('MACHINE_STATE'));
    await assert.rejects(machine.loadDeviceState(state, 0), refused('MACHINE_STATE'));
    await assert.rejects(
      machine.loadPages({ pfns: Uint32Array.of(0), bytes: new Uint8Array(4096) }),
      refused('MACHINE_STATE'),
    );
  });

  it('because there is no such page', async () => {
    const machine = await started(null);
    await assert.rejects(machine.readPages(1000, 25), refused('MACHINE_STATE'));
    await assert.rejects(machine.readPages(-1, 1), refused('MACHINE_STATE'));
    await assert.rejects(
      machine.loadPages({ pfns: Uint32Array.of(1024), bytes: new Uint8Array(4096) }),
      refused('MACHINE_STATE'),
    );
    await assert.rejects(
      machine.loadPages({ pfns: Uint32Array.of(1), bytes: new Uint8Array(100) }),
      refused('MACHINE_STATE'),
    );
    const state = await machine.deviceState();
    const cut = { ...state, bytes: state.bytes.subarray(0, 5000) };
    await assert.rejects(machine.loadDeviceState(cut, 0), refused('TRUNCATED'));
    await machine.loadDeviceState(state, 0);
  });
});
