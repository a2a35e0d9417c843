/** A machine in this process, over an emulator that somebody else made. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { V86 } from 'v86';
import { TransmigrateError, type ErrorCode } from '../../../src/errors.ts';
import { createEmulator } from '../../../src/machine/v86/create.ts';
import { LocalMachine } from '../../../src/machine/v86/local-machine.ts';
import { guest, guestPlan, MAILBOX_PFN, type Mode } from '../../support/guest/guest.ts';
import { lookInto, MEMORY, sleep, until } from '../../support/guest/machines.ts';

const VERSION = '0.5.462';

function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code;
}

/** As a program would make it that knows nothing of us. */
async function emulator(mode: Mode | null, ...parameters: number[]): Promise<V86> {
  const made = new V86({
    wasm_path: fileURLToPath(new URL('v86.wasm', import.meta.resolve('v86'))),
    memory_size: MEMORY,
    autostart: false,
    ...(mode !== null && { multiboot: { buffer: guest(mode, ...parameters).buffer as ArrayBuffer } }),
  });
  await new Promise<void>((resolve) => made.add_listener('emulator-loaded', () => resolve()));
  return made;
}

async function rounds(machine: LocalMachine, count: number): Promise<void> {
  const goal = (await lookInto(machine)).rounds + count;
  await until(`the guest did ${count} rounds`, async () => (await lookInto(machine)).rounds >= goal);
}

describe('an emulator that the program made', () => {
  it('is saved while it runs, and goes on in another', async () => {
    const running = await emulator('work', 16, 128, 1000, 1);
    await running.run();
    const source = LocalMachine.adopt(running, VERSION);
    assert.equal(source.status, 'running');
    await rounds(source, 10);
    await source.prepareCapture();
    await source.pause();
    const { device } = await source.capture({ resume: true });
    assert.equal(source.status, 'running');
    await rounds(source, 10);

    const target = LocalMachine.adopt(await emulator(null), VERSION);
    assert.deepEqual(target.capabilities, source.capabilities);
    for (let first = 0; first < source.capabilities.pages; first += 128) {
      await target.loadPages(await source.readCapture(first, 128));
    }
    await target.loadDeviceState(device, Date.now());
    await target.resume();
    await rounds(target, 20);
    assert.equal((await lookInto(target)).bad, 0);
    await source.close();
    await target.close();
    assert.equal(running.is_running(), false);
    await assert.rejects(target.readPages(0, 1), refused('MACHINE_STATE'));
  });

  it('of a version that is not carried is refused', async () => {
    const made = await emulator(null);
    assert.throws(() => LocalMachine.adopt(made, '0.5.1'), refused('DRIVER_VERSION'));
  });

  it('may crash without taking the program along', async () => {
    const made = await emulator('triple');
    const machine = LocalMachine.adopt(made, VERSION);
    const crash = new Promise<string>((resolve) => machine.on('crashed', resolve));
    await machine.resume();
    await sleep(50);
    await machine.pause();
    const page = await machine.readPages(MAILBOX_PFN, 1);
    new DataView(page.bytes.buffer).setUint32(16, 1, true);
    await machine.loadPages(page);
    await machine.resume();
    assert.notEqual(await crash, '');
    await assert.rejects(machine.resume(), refused('GUEST_CRASHED'));
    await machine.close();
  });
});

describe('a machine in this process', () => {
  it('stands still while it is held, and keeps what it has to say', async () => {
    const machine = await LocalMachine.create({
      config: { memoryBytes: MEMORY },
      boot: guestPlan('work', 1, 4, 1, 0),
    });
    let bytes = 0;
    machine.on('console', (written) => {
      bytes += written.byteLength;
    });
    await machine.grant(1);
    machine.hold(true);
    await machine.resume();
    await sleep(50);
    assert.deepEqual([machine.status, bytes], ['running', 0]);
    machine.hold(false);
    await until('it writes', () => bytes > 0);
    machine.hold(true);
    await sleep(20);
    const at = bytes;
    await sleep(50);
    assert.equal(bytes, at);
    machine.hold(false);
    await until('it goes on', () => bytes > at);
    await machine.pause();
    await machine.close();
  });

  it('waits at a pause for a disk that answers later', async () => {
    const { machine } = await createEmulator({
      config: { memoryBytes: MEMORY, disks: { hda: { policy: 'in-blob', bytes: 65_536 } } },
    });
    const { master } = machine.emulator.v86.cpu.devices.ide!.primary!;
    const drive = master as unknown as { in_progress_io_ids: Map<number, object> };
    drive.in_progress_io_ids.set(7, {});
    let drained = false;
    const waiting = machine.drained().then(() => (drained = true));
    await sleep(30);
    assert.equal(drained, false);
    drive.in_progress_io_ids.delete(7);
    await waiting;
  });

  it('looks at steps of a scan that make sense', async () => {
    const machine = await LocalMachine.create({ config: { memoryBytes: MEMORY } });
    await machine.startScan();
    for (const [first, budget] of [
      [-1, {}],
      [0.5, {}],
      [0, { pages: 0 }],
      [0, { dirty: 0 }],
      [0, { dirty: 5000 }],
      [NaN, {}],
    ] as const) {
      await assert.rejects(machine.scan(first, budget), refused('MACHINE_STATE'));
    }
    assert.equal((await machine.scan(0, { pages: 5000 })).next, 1024);
    await machine.close();
  });
});
