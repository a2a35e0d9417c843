import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { TransmigrateError, type ErrorCode } from '../../../src/errors.ts';
import { DISK_POLICY } from '../../../src/machine/machine.ts';
import { checkConfig, type V86Config } from '../../../src/machine/v86/config.ts';
import { V86_VERSIONS } from '../../../src/machine/v86/versions.ts';
import { emulator, look, rounds, simpleTmem, transplant } from '../../support/guest/machines.ts';

const SECTORS = 64;
const BYTES = SECTORS * 512;
const folder = mkdtempSync(join(tmpdir(), 'tmig-disks-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function refused(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof TransmigrateError && error.code === code;
}

/** The status of a drive that is ready and has no error, as the guest reads it. */
const READY = 0x50;
const FAILED = 0x41;
const ABORTED = 4;

for (const { version } of V86_VERSIONS) {
  describe(`disks of v86 ${version}`, () => {
    it('in the blob go along', async () => {
      const disks = { hda: { policy: 'in-blob', bytes: BYTES } } as const;
      const { machine: source } = await emulator('disk', [SECTORS], { version, disks });
      await rounds(source, 10);
      const { machine: target, disks: opened } = await emulator(null, [], { version, disks });
      transplant(source, target);
      assert.deepEqual(target.disks, [
        { name: 'hda', policy: DISK_POLICY.inBlob, readOnly: false, bytes: BYTES, digest: null, location: '' },
      ]);
      const sector = opened[0].get_from_cache(3 * 512, 512);
      assert.equal(new DataView(sector!.buffer).getUint32(0, true), 0x1111_1111 + 3);
      await rounds(target, 10);
      assert.deepEqual([look(target).bad, look(target).value1], [0, READY]);
    });

    it('on tmem have their pages there, and a number in the blob', async () => {
      const tmem = simpleTmem();
      const disks = { hda: { policy: 'tmem', bytes: BYTES } } as const;
      const { machine: source } = await emulator('disk', [SECTORS], { version, disks }, tmem.service);
      await rounds(source, SECTORS + 10);
      assert.deepEqual([look(source).bad, look(source).value1], [0, READY]);
      assert.equal(tmem.pages.size, BYTES / 4096);
      const { machine: target } = await emulator(null, [], { version, disks }, tmem.service);
      const blob = source.deviceState().bytes.byteLength;
      transplant(source, target);
      await rounds(target, 10);
      assert.equal(look(target).bad, 0);
      const { machine: larger } = await emulator(
        null,
        [],
        { version, disks: { hda: { ...disks.hda, bytes: 64 * BYTES } } },
        tmem.service,
      );
      assert.ok(Math.abs(larger.deviceState().bytes.byteLength - blob) < 4096);
      assert.equal(tmem.requests.filter((operation) => operation === 1).length, 1, 'one pool was made');
    });

    it('that are read-only refuse writes as a drive does', async () => {
      const path = join(folder, `ro-${version}`);
      const content = Buffer.alloc(BYTES, 0x5a);
      writeFileSync(path, content);
      const digest = new Uint8Array(createHash('sha256').update(content).digest());
      const disks = { hda: { policy: 'read-only', path, digest } } as const;
      const { machine, disks: opened } = await emulator('disk', [SECTORS], { version, disks });
      await rounds(machine, 5);
      assert.deepEqual([look(machine).value1, look(machine).value2], [FAILED, ABORTED]);
      assert.ok(look(machine).bad >= 5, 'what was read back is not what was written');
      assert.ok(readFileSync(path).equals(content));
      assert.equal(machine.disks[0].policy, DISK_POLICY.readOnly);
      opened[0].close();
      const wrong = { hda: { ...disks.hda, digest: new Uint8Array(32) } };
      await assert.rejects(emulator(null, [], { version, disks: wrong }), refused('DISK_MISMATCH'));
    });

    it('outside are written', async () => {
      const path = join(folder, `ext-${version}`);
      writeFileSync(path, Buffer.alloc(BYTES));
      const { machine, disks } = await emulator('disk', [SECTORS], {
        version,
        disks: { hda: { policy: 'external', path } },
      });
      await rounds(machine, 5);
      assert.equal(look(machine).bad, 0);
      assert.equal(readFileSync(path).readUInt32LE(2 * 512), 0x1111_1111 + 2);
      disks[0].close();
    });

    it('without room fail the write, and the guest goes on', async () => {
      const full = simpleTmem();
      const { machine } = await emulator(
        'disk',
        [SECTORS],
        { version, disks: { hda: { policy: 'tmem', bytes: BYTES } } },
        (descriptor, page) => (descriptor[0] === 3 ? -12 : full.service(descriptor, page)),
      );
      await rounds(machine, 5);
      assert.deepEqual([look(machine).value1, look(machine).value2], [FAILED, ABORTED]);
      await machine.drained();
    });
  });
}

describe('a configuration', () => {
  const sound: V86Config = { memoryBytes: 4 * 1024 * 1024 };
  const disk = { policy: 'in-blob', bytes: 4096 } as const;
  const wrong: [path: string, config: V86Config][] = [
    ['memoryBytes', { memoryBytes: 4096 }],
    ['memoryBytes', { memoryBytes: 2 ** 31 }],
    ['memoryBytes', { memoryBytes: NaN }],
    ['videoMemoryBytes', { ...sound, videoMemoryBytes: 3 * 1024 * 1024 }],
    ['network', { ...sound, network: 'virtio' as 'none' }],
    ['serialPorts', { ...sound, serialPorts: 5 }],
    ['disks/hdb', { ...sound, disks: { hdb: disk } }],
    ['disks/hdc', { ...sound, disks: { hda: disk, hdc: disk } as object }],
    ['disks/hda', { ...sound, disks: { hda: { ...disk, bytes: 512 } } }],
    ['disks/hda', { ...sound, disks: { hda: { ...disk, content: new Uint8Array(8192) } } }],
    ['disks/hda', { ...sound, disks: { hda: { policy: 'read-only', path: 'x', digest: new Uint8Array(20) } } }],
  ];
  for (const [path, config] of wrong) {
    it(`is refused for its ${path}: ${JSON.stringify(config).slice(0, 60)}`, () => {
      assert.throws(
        () => checkConfig(config),
        (error) => error instanceof TransmigrateError && error.code === 'MACHINE_CONFIG' && error.path === path,
      );
    });
  }
  it('has a disk on tmem only with tmem', async () => {
    await assert.rejects(
      emulator(null, [], { disks: { hda: { policy: 'tmem', bytes: 4096 } } }),
      refused('MACHINE_CONFIG'),
    );
  });
  it('names a version that is carried', async () => {
    await assert.rejects(emulator(null, [], { version: '0.4.1' }), refused('DRIVER_VERSION'));
  });
});
