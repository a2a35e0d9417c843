/** Saving and restoring an emulator that this program made with npm's v86, in each version (M1, M4, M5, M6). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import {
  MemorySink,
  memorySource,
  restore,
  save,
  TransmigrateError,
  v86StateToImage,
  verifyImage,
  type ErrorCode,
} from '../../../src/index.ts';
import { guestMemory, type V86Emulator } from '../../../src/machine/v86/emulator.ts';
import { loadV86, V86_VERSIONS, type V86Version } from '../../../src/machine/v86/versions.ts';
import { guest, mailbox, type Mailbox, type Mode } from '../../support/guest/guest.ts';
import { MEMORY, sleep, until } from '../../support/guest/machines.ts';

const made: V86Emulator[] = [];
after(() => {
  for (const { v86 } of made) v86.running = false;
});

/** An emulator as a program makes it that knows nothing of us. */
async function emulator(
  entry: V86Version,
  mode: Mode | null,
  parameters: readonly number[] = [],
  options: object = {},
): Promise<V86Emulator> {
  const { V86, wasmPath } = await loadV86(entry);
  const each = new V86({
    wasm_path: wasmPath,
    memory_size: MEMORY,
    autostart: false,
    ...(mode !== null && { multiboot: { buffer: guest(mode, ...parameters).buffer } }),
    ...options,
  });
  await new Promise<void>((resolve) => each.add_listener('emulator-loaded', () => resolve()));
  made.push(each);
  return each;
}

function memoryOf(each: V86Emulator): Buffer {
  return guestMemory(each.v86.cpu);
}

function look(each: V86Emulator): Mailbox {
  return mailbox(memoryOf(each));
}

async function rounds(each: V86Emulator, count: number): Promise<void> {
  const goal = look(each).rounds + count;
  await until(`the guest did ${count} rounds`, () => look(each).rounds >= goal);
}

function stop({ v86 }: V86Emulator): void {
  v86.running = false;
  v86.tick_counter++;
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code;
}

async function imageOf(each: V86Emulator): Promise<Uint8Array> {
  const sink = new MemorySink();
  await save(each, sink, { threads: 0 });
  return sink.bytes();
}

const WORK = [16, 128, 1000, 1] as const;
const [NEWEST] = V86_VERSIONS;

for (const entry of V86_VERSIONS) {
  describe(`an emulator of v86 ${entry.version} that a program made`, () => {
    it('is saved while it runs, and runs on; another goes on from there, although it ran something else', async () => {
      const source = await emulator(entry, 'work', WORK);
      await source.run();
      await rounds(source, 10);
      const pipe = new PassThrough({ highWaterMark: 2 ** 30 });
      const saved = await save(source, pipe, { name: 'mine' });
      assert.equal(saved.pages, MEMORY / 4096);
      assert.ok(pipe.writableFinished, 'the stream was ended');
      assert.equal(source.v86.running, true);
      await rounds(source, 10);
      const image = pipe.read() as Buffer;
      assert.equal(image.byteLength, saved.bytes);
      assert.equal((await verifyImage([memorySource(image)])).verdict, 'sound');

      // The same addresses hold other code here, which v86 has compiled.
      const target = await emulator(entry, 'echo');
      await target.run();
      await rounds(target, 3);
      const restored = await restore(Readable.from([image.subarray(0, 1000), image.subarray(1000)]), target);
      assert.deepEqual(restored, { name: 'mine', uuid: saved.uuid, pages: saved.pages });
      assert.equal(target.v86.running, true);
      await rounds(target, 20);
      assert.equal(look(target).bad, 0);
      stop(source);
      stop(target);
    });

    it('that is paused stays so, and a paused one gets the same memory', async () => {
      const source = await emulator(entry, 'work', WORK);
      await source.run();
      await rounds(source, 5);
      stop(source);
      const before = digest(memoryOf(source));
      const image = await imageOf(source);
      assert.equal(source.v86.running, false);
      const target = await emulator(entry, null);
      await restore([image], target, { version: entry.version });
      assert.equal(target.v86.running, false);
      assert.equal(digest(memoryOf(target)), before);
      assert.equal(digest(memoryOf(source)), before);
      const { rtc } = target.v86.cpu.devices;
      assert.ok(Math.abs(rtc.rtc_time - Date.now()) < 60_000, 'M6: its clock chip has the time of day');
    });
  });
}

describe('an emulator of a program', () => {
  const [, older] = V86_VERSIONS;

  it('is as it was when an image is refused', async () => {
    const source = await emulator(NEWEST, 'work', WORK);
    await source.run();
    await rounds(source, 5);
    stop(source);
    const image = await imageOf(source);
    const flipped = image.slice();
    flipped[image.byteLength >> 1] ^= 1;
    const sink = new MemorySink();
    await save(await emulator(older, 'echo'), sink);
    const target = await emulator(NEWEST, 'echo');
    await target.run();
    await rounds(target, 3);
    stop(target);
    const before = digest(memoryOf(target));
    const larger = await emulator(NEWEST, null, [], { memory_size: 2 * MEMORY });
    const otherwise = await emulator(NEWEST, null, [], { uart1: true });
    const cases: [name: string, bytes: Uint8Array, into: V86Emulator, code: ErrorCode][] = [
      ['cut', image.subarray(0, -9), target, 'TRUNCATED'],
      ['no image', new Uint8Array(512), target, 'NOT_AN_IMAGE'],
      ['of another version', sink.bytes(), target, 'DRIVER_VERSION'],
      ['of less memory', image, larger, 'MEMORY_MISMATCH'],
      ['of another configuration', image, otherwise, 'DEVICE_FINGERPRINT'],
    ];
    // Where the bit is depends on how well the guest's memory packs.
    await assert.rejects(
      restore([flipped], target),
      (error) => error instanceof TransmigrateError && error.code.endsWith('_CHECKSUM'),
    );
    for (const [name, bytes, into, code] of cases) {
      await assert.rejects(restore([bytes], into), refused(code), name);
    }
    assert.equal(digest(memoryOf(target)), before);
    await target.run();
    await rounds(target, 3);
    await assert.rejects(restore([image.subarray(0, -9)], target), refused('TRUNCATED'));
    assert.equal(target.v86.running, true);
    await rounds(target, 3);
    stop(target);
    await restore([image], target);
    assert.equal(digest(memoryOf(target)), digest(memoryOf(source)));
  });

  it('is compared by the shape of its devices where the image has no fingerprint', async () => {
    const file = new URL('../../fixtures/v86/v86-0.5.462-tiny16.v86state.zst', import.meta.url);
    const state = new Uint8Array(zstdDecompressSync(readFileSync(file)));
    const sink = new MemorySink();
    await v86StateToImage(memorySource(state).random!, sink, { streamId: new Uint8Array(16) });
    const options = { memory_size: 2 ** 24, vga_memory_size: 2 ** 20, acpi: false, net_device: { type: 'none' } };
    const without = await emulator(NEWEST, null, [], options);
    await assert.rejects(restore([sink.bytes()], without), refused('DEVICE_SHAPE'));
    const fitting = await emulator(NEWEST, null, [], { ...options, net_device: { type: 'ne2k' } });
    let output = '';
    fitting.add_listener('serial0-output-byte', (byte) => (output += String.fromCharCode(byte as number)));
    await restore([sink.bytes()], fitting);
    await fitting.run();
    await until('the guest reports', () => /r=.*\n/.test(output));
    stop(fitting);
    assert.match(output, /^r=[0-9a-f]+ t=[0-9a-f]+ bad=00000000\n/);
  });

  it('is worked with by one at a time, and must be one', async () => {
    const source = await emulator(NEWEST, 'work', WORK);
    const first = imageOf(source);
    await assert.rejects(imageOf(source), refused('GUEST_BUSY'));
    await assert.rejects(restore([], source), refused('GUEST_BUSY'));
    await first;
    await assert.rejects(restore([], source), refused('TRUNCATED'));
    for (const each of [{}, { v86: {} }]) await assert.rejects(save(each, new MemorySink()), refused('MACHINE_STATE'));
    await assert.rejects(save(source, new MemorySink(), { version: '0.5.1' }), refused('DRIVER_VERSION'));
  });

  it('runs on when the image can not be written, or is not wanted any more', async () => {
    const source = await emulator(NEWEST, 'work', WORK);
    await source.run();
    await rounds(source, 2);
    let taken = 0;
    const full = new Writable({
      write: (chunk: Buffer, _encoding, done) =>
        (taken += chunk.byteLength) > 100 ? done(new Error('no space')) : done(),
    });
    await assert.rejects(save(source, full), refused('WRITE_FAILED'));
    assert.ok(full.destroyed);
    const gone = new PassThrough();
    gone.destroy();
    await assert.rejects(save(source, gone), refused('WRITE_FAILED'));
    const stuck = new Writable({ write: () => setTimeout(() => stuck.destroy(), 50) });
    await assert.rejects(save(source, stuck), refused('WRITE_FAILED'));
    const cancelled = new PassThrough();
    await assert.rejects(save(source, cancelled, { signal: AbortSignal.abort() }), refused('CANCELLED'));
    assert.ok(cancelled.destroyed && !cancelled.writableFinished);
    await rounds(source, 3);
    assert.equal(look(source).bad, 0);
    stop(source);
    await sleep(0);
  });

  it('gives back what it was given: listeners and all', async () => {
    const source = await emulator(NEWEST, 'work', WORK);
    const bus = source.v86.bus as unknown as { listeners: Record<string, unknown[]> };
    const count = (): number => Object.values(bus.listeners).reduce((sum, list) => sum + (list?.length ?? 0), 0);
    const before = count();
    for (let i = 0; i < 3; i++) await imageOf(source);
    assert.equal(count(), before);
  });
});

it('the example does what it says, in at most 15 lines', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tmig-example-'));
  try {
    const example = fileURLToPath(new URL('../../../examples/in-process.ts', import.meta.url));
    assert.ok(readFileSync(example, 'utf8').trimEnd().split('\n').length <= 15);
    const { status, stdout, stderr } = spawnSync(process.execPath, [example, join(folder, 'x.tmig')], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^\d+ bytes, paused for [\d.]+ ms; 4096 pages restored\n$/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
