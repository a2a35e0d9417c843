/** What an image may claim of a v86 machine, and what a host believes (M4, M5). */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { JsonObject } from '../../../src/bytes/bounded-json.ts';
import { V86Driver } from '../../../src/host/v86-driver.ts';
import type { ImageClaims } from '../../../src/migrate/restore/image-claims.ts';
import { childrenOf } from '../../support/host/daemon.ts';
import { code, scratch } from '../../support/host/fake-host.ts';

const directory = scratch(after);
const driver = new V86Driver();

function claims(changes: Partial<ImageClaims> = {}, configuration: JsonObject = {}): ImageClaims {
  return {
    name: 'g',
    uuid: null,
    driver: 'v86',
    driverVersion: '0.5.462',
    memoryBytes: 4 * 2 ** 20,
    pageBytes: 4096,
    byteOrder: 'little',
    architecture: 3,
    tmem: false,
    configuration,
    ...changes,
  };
}

describe('claims that make no machine', () => {
  const wrong: readonly [what: string, claims: ImageClaims, wanted: Parameters<typeof code>[0]][] = [
    ['another driver', claims({ driver: 'qemu' }), 'DRIVER_VERSION'],
    ['a version that is not carried', claims({ driverVersion: '0.4.0' }), 'DRIVER_VERSION'],
    ['a version that is a path', claims({ driverVersion: '../../x' }), 'DRIVER_VERSION'],
    ['another processor', claims({ architecture: 62 }), 'IMAGE_UNFIT'],
    ['another byte order', claims({ byteOrder: 'big' }), 'IMAGE_UNFIT'],
    ['memory of an odd size', claims({ memoryBytes: 4096 }), 'IMAGE_UNFIT'],
    ['more memory than v86 has', claims({ memoryBytes: 2 ** 31 }), 'IMAGE_UNFIT'],
    ['too much video memory', claims({}, { videoMemoryBytes: 2 ** 40 }), 'IMAGE_UNFIT'],
    ['too many serial ports', claims({}, { serialPorts: 1000 }), 'IMAGE_UNFIT'],
    ['disks that are a text', claims({}, { disks: 'hda' }), 'IMAGE_UNFIT'],
    ['disks that are a list', claims({}, { disks: [1] }), 'IMAGE_UNFIT'],
    ['a disk that is nothing', claims({}, { disks: { hda: null } }), 'IMAGE_UNFIT'],
    ['a disk of no policy', claims({}, { disks: { hda: {} } }), 'IMAGE_UNFIT'],
    ['a disk without a size', claims({}, { disks: { hda: { policy: 'tmem' } } }), 'IMAGE_UNFIT'],
    [
      'a disk of a name that there is not',
      claims({}, { disks: { cdrom: { policy: 'tmem', bytes: 4096 } } }),
      'IMAGE_UNFIT',
    ],
    [
      'a disk inside that is too large',
      claims({}, { disks: { hda: { policy: 'in-blob', bytes: 2 ** 40 } } }),
      'IMAGE_UNFIT',
    ],
    [
      'a digest that is none',
      claims({}, { disks: { hda: { policy: 'read-only', path: '/x', digest: 'zz' } } }),
      'IMAGE_UNFIT',
    ],
    [
      'a disk that is missing',
      claims(
        {},
        { disks: { hda: { policy: 'read-only', path: join(directory.path, 'none'), digest: '00'.repeat(32) } } },
      ),
      'READ_FAILED',
    ],
    [
      'a shared disk that is missing',
      claims({}, { disks: { hda: { policy: 'external', path: join(directory.path, 'none') } } }),
      'READ_FAILED',
    ],
  ];
  for (const [what, claimed, wanted] of wrong) {
    it(what, async () => {
      await assert.rejects(driver.forImage(claimed, null), code(wanted));
      assert.deepEqual(childrenOf(process.pid), []);
    });
  }

  it('a disk whose content is another one', async () => {
    const path = join(directory.path, 'disk');
    writeFileSync(path, new Uint8Array(8192).fill(7));
    const disks = { hda: { policy: 'read-only', path, digest: '00'.repeat(32) } };
    await assert.rejects(driver.forImage(claims({}, { disks }), null), code('DISK_MISMATCH'));
    assert.deepEqual(childrenOf(process.pid), []);
    assert.deepEqual(readdirSync(directory.path), ['disk']);
  });
});

describe('claims of every version that is carried', () => {
  for (const driverVersion of ['0.5.462', '0.5.278', '0.5.66', '0.5.462+g5f9a90f']) {
    it(`make a machine of v86 ${driverVersion}`, async () => {
      const { machine } = await driver.forImage(claims({ driverVersion }), null);
      assert.equal(machine.capabilities.version.split('+')[0], driverVersion.split('+')[0]);
      assert.equal(machine.capabilities.pages, 1024);
      await machine.close();
      assert.deepEqual(childrenOf(process.pid), []);
    });
  }
});
