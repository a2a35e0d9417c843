/** Reasons for which a host takes no machine (N1): each before any page moved, and the guest is left as it was. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DISK_POLICY, type MachineDisk } from '../../../../src/machine/machine.ts';
import { choiceOf, FakeTmem, scratch } from '../../../support/host/fake-host.ts';
import { journaledHost, to, type JournaledChoice, type JournaledHost } from '../../../support/host/two-hosts.ts';

const directory = scratch(after);
let hosts = 0;

const DISK: MachineDisk = {
  name: 'hda',
  policy: DISK_POLICY.external,
  readOnly: false,
  bytes: 4096,
  digest: null,
  location: '/nowhere',
};

interface Case {
  readonly reasons: readonly string[];
  readonly destination?: JournaledChoice;
  /** Before the guest is made. */
  readonly prepare?: (source: JournaledHost, destination: JournaledHost) => void | Promise<void>;
  /** When it is there. */
  readonly inside?: (source: JournaledHost) => void;
}

const kinds = (destination: JournaledHost, change: object): void =>
  void Object.assign(destination.driver, { kinds: [{ ...destination.driver.kinds[0], ...change }] });

const CASES: Readonly<Record<string, Case>> = {
  'another guest has the name': {
    reasons: ['NAME'],
    prepare: async (_source, { host }) => void (await host.create(choiceOf({ name: 'one' }))),
  },
  'no such driver': { reasons: ['DRIVER'], prepare: (_source, other) => kinds(other, { name: 'other' }) },
  'not this version of the driver': {
    reasons: ['DRIVER_VERSION'],
    prepare: (_source, other) => kinds(other, { versions: ['9.9'] }),
  },
  'pages of another size': { reasons: ['PAGE_SIZE'], prepare: (_source, other) => kinds(other, { pageBytes: 8192 }) },
  'other devices': { reasons: ['FINGERPRINT'], prepare: (_source, { driver }) => void (driver.version = '1.0+other') },
  'tmem is off': { reasons: ['TMEM_DISABLED'], destination: { tmemBytes: 0 } },
  'too little tmem': {
    reasons: ['TMEM_BYTES'],
    destination: { tmemBytes: 2 ** 20 },
    inside: ({ driver }) => void new FakeTmem(driver.last).fill('persistent', 300),
  },
  'a disk that it would write to': { reasons: ['DISK'], prepare: ({ driver }) => void (driver.disks = [DISK]) },
  'several of them': {
    reasons: ['NAME', 'TMEM_DISABLED', 'DRIVER_VERSION'],
    destination: { tmemBytes: 0 },
    prepare: async (_source, other) => {
      await other.host.create(choiceOf({ name: 'one', tmem: false }));
      kinds(other, { versions: ['9.9'] });
    },
  },
};

describe('a host takes no machine', () => {
  for (const [why, { reasons, destination: choice = {}, prepare, inside }] of Object.entries(CASES)) {
    it(`because: ${why}`, async () => {
      const source = await journaledHost(join(directory.path, `${++hosts}`));
      const destination = await journaledHost(join(directory.path, `${++hosts}`), choice);
      try {
        await prepare?.(source, destination);
        await source.host.create(choiceOf({ name: 'one' }));
        inside?.(source);
        const before = destination.host.list().length;
        const made = destination.driver.made.length;
        const error = await source.host.migrations.migrate('one', to(destination)).catch((thrown: unknown) => thrown);
        const { code, data } = error as { code: string; data: { reasons: { code: string }[] } };
        assert.equal(code, 'MIGRATION_REFUSED');
        assert.deepEqual(data.reasons.map((reason) => reason.code).toSorted(), reasons.toSorted());
        const machine = source.driver.last;
        assert.deepEqual([machine.status, machine.share, machine.scanned], ['running', 1, false]);
        assert.ok(!machine.asked.includes('startScan') && !machine.asked.includes('pause'));
        assert.equal(destination.host.list().length, before);
        // What was made to be looked at is closed again.
        for (const looked of destination.driver.made.slice(made)) assert.equal(looked.status, 'closed');
      } finally {
        await source.end();
        await destination.end();
      }
    });
  }

  it('because it is the one that it comes from', async () => {
    const source = await journaledHost(join(directory.path, `${++hosts}`));
    try {
      await source.host.create(choiceOf({ name: 'one' }));
      const error = await source.host.migrations.migrate('one', to(source)).catch((thrown: unknown) => thrown);
      const { data } = error as { data: { reasons: { code: string }[] } };
      assert.ok(data.reasons.some((reason) => reason.code === 'IDENTITY'));
      assert.equal(source.driver.last.status, 'running');
    } finally {
      await source.end();
    }
  });
});
