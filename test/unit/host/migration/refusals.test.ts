/** Reasons for which a host takes no machine (N1): each before any page moved, and the guest is left as it was. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { DISK_POLICY, type MachineDisk } from '../../../../src/machine/machine.ts';
import { TransmigrateError } from '../../../../src/errors.ts';
import { parse, restoreSchema } from '../../../../src/host/api.ts';
import { REASONS, type Reason } from '../../../../src/migrate/negotiate/reasons.ts';
import { PROTOCOL_LIMITS } from '../../../../src/migrate/protocol/limits.ts';
import { TMEM_LIMITS } from '../../../../src/tmem/constants.ts';
import { assertEmpty, choiceOf, code, fakeHost, FakeTmem, saveOf, scratch } from '../../../support/host/fake-host.ts';
import { waitingSource } from '../../../support/host/waiting-source.ts';
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
  readonly codec?: 'zstd';
  /** Before the guest is made. */
  readonly prepare?: (source: JournaledHost, destination: JournaledHost) => void | Promise<void>;
  /** When it is there. */
  readonly inside?: (source: JournaledHost, destination: JournaledHost) => void | Promise<void>;
}

const kinds = (destination: JournaledHost, change: object): void =>
  void Object.assign(destination.driver, { kinds: [{ ...destination.driver.kinds[0], ...change }] });

const UUID = '00000000-0000-4000-8000-00000000000';

/** The guest that was made last uses a shared pool. */
function share({ driver, host }: JournaledHost, name: string, uuid: string): void {
  host.authoriseTmem({ guest: name, uuid, authorised: true });
  new FakeTmem(driver.last).share(uuid);
}

const CASES: Readonly<Record<string, Case>> = {
  'its operator closed it': {
    reasons: ['POLICY'],
    prepare: (_source, { host }) => void host.closeTo('maintenance until noon'),
  },
  'no version in common, since it is newer': {
    reasons: ['PROTOCOL'],
    destination: { speaks: { protocol: { least: 2, most: 3 } } },
  },
  'as many reservations as it may have': {
    reasons: ['BUSY'],
    prepare: async (_source, { port }) => {
      for (let at = 0; at < PROTOCOL_LIMITS.reservations; at++) {
        assert.equal((await waitingSource(port, String(at))).answer, 'ACCEPT');
      }
    },
  },
  'another guest has the name': {
    reasons: ['NAME'],
    prepare: async (_source, { host }) => void (await host.create(choiceOf({ name: 'one' }))),
  },
  'its uuid is there': {
    reasons: ['IDENTITY'],
    inside: async ({ host }, other) => {
      const path = join(directory.path, `same-${++hosts}.tmig`);
      await host.save('one', saveOf({ path }), {});
      await other.host.restore(parse(restoreSchema, { path, name: 'two', sameIdentity: true }), {});
    },
  },
  'no such driver': { reasons: ['DRIVER'], prepare: (_source, other) => kinds(other, { name: 'other' }) },
  'not this version of the driver': {
    reasons: ['DRIVER_VERSION'],
    prepare: (_source, other) => kinds(other, { versions: ['9.9'] }),
  },
  'more memory than there is': {
    reasons: ['MEMORY'],
    // What its devices take counts with its memory.
    prepare: (source) => kinds(source, { deviceBytes: 2 ** 50 }),
  },
  'pages of another size': { reasons: ['PAGE_SIZE'], prepare: (_source, other) => kinds(other, { pageBytes: 8192 }) },
  'other devices': { reasons: ['FINGERPRINT'], prepare: (_source, { driver }) => void (driver.version = '1.0+other') },
  'a codec that it does not know': {
    reasons: ['CODEC'],
    destination: { speaks: { codecs: ['raw', 'lz4'] } },
    codec: 'zstd',
  },
  'a driver without tmem': { reasons: ['NO_TMEM'], prepare: (_source, other) => kinds(other, { tmem: false }) },
  'tmem is off': { reasons: ['TMEM_DISABLED'], destination: { tmemBytes: 0 } },
  'too little tmem': {
    reasons: ['TMEM_BYTES'],
    destination: { tmemBytes: 2 ** 20 },
    inside: ({ driver }) => void new FakeTmem(driver.last).fill('persistent', 300),
  },
  'a shared pool whose uuid is there': {
    reasons: ['SHARED_POOL'],
    inside: async (source, other) => {
      share(source, 'one', `${UUID}1`);
      await other.host.create(choiceOf({ name: 'two' }));
      share(other, 'two', `${UUID}1`);
    },
  },
  'a shared pool that another guest of the source uses': {
    reasons: ['SHARED_POOL'],
    prepare: async (source) => {
      await source.host.create(choiceOf({ name: 'two' }));
      share(source, 'two', `${UUID}1`);
    },
    inside: (source) => share(source, 'one', `${UUID}1`),
  },
  'no slot for a shared pool': {
    reasons: ['POOL_SLOTS'],
    inside: async (source, other) => {
      share(source, 'one', '00000000-0000-4000-8000-0000000000ff');
      await other.host.create(choiceOf({ name: 'two' }));
      await other.host.create(choiceOf({ name: 'three' }));
      for (let at = 0; at < TMEM_LIMITS.sharedPools; at++) share(other, 'three', `${UUID}${at.toString(16)}`);
    },
  },
  'a disk that it would write to': { reasons: ['DISK'], prepare: ({ driver }) => void (driver.disks = [DISK]) },
  'a disk that is another there': {
    reasons: ['DISK'],
    prepare: (source, { driver }) => {
      source.driver.disks = [{ ...DISK, policy: DISK_POLICY.readOnly, readOnly: true, digest: new Uint8Array(32) }];
      driver.prepare = async (machine) => {
        await machine.close();
        throw new TransmigrateError('DISK_MISMATCH', 'Another disk');
      };
    },
  },
  'many reasons': {
    reasons: ['POLICY', 'NAME', 'CODEC', 'DRIVER_VERSION', 'MEMORY', 'DISK', 'SHARED_POOL', 'TMEM_DISABLED'],
    destination: { tmemBytes: 0, speaks: { codecs: ['raw'] } },
    codec: 'zstd',
    prepare: async (source, other) => {
      await other.host.create(choiceOf({ name: 'one', tmem: false }));
      other.host.closeTo('full');
      kinds(other, { versions: ['9.9'] });
      kinds(source, { deviceBytes: 2 ** 50 });
      await source.host.create(choiceOf({ name: 'two' }));
      share(source, 'two', `${UUID}1`);
      source.driver.disks = [DISK];
    },
    inside: (source) => share(source, 'one', `${UUID}1`),
  },
};

/** All that a guest is, as its host sees it. */
function stateOf({ host, driver, tmem }: JournaledHost): unknown {
  const machine = driver.last;
  const digest = createHash('sha256').update(machine.memory).update(machine.device).digest('hex');
  const { status, share: speed, scanned, granted } = machine;
  return { digest, status, speed, scanned, granted, guest: host.guest('one').info(), tmem: tmem.statistics() };
}

/** How much memory is free changes while a test runs. */
function essence({ code: why, text, needed }: Reason): object {
  return { code: why, text, needed };
}

describe('a host takes no machine', () => {
  for (const [why, { reasons, destination: choice = {}, codec = 'raw', prepare, inside }] of Object.entries(CASES)) {
    it(`because: ${why}`, async () => {
      const source = await journaledHost(join(directory.path, `${++hosts}`));
      const destination = await journaledHost(join(directory.path, `${++hosts}`), choice);
      try {
        await prepare?.(source, destination);
        await source.host.create(choiceOf({ name: 'one' }));
        await inside?.(source, destination);
        const { migrations } = source.host;
        const machine = source.driver.last;
        const tmem = new FakeTmem(machine);
        const slot = reasons.includes('TMEM_BYTES') ? null : tmem.fill('persistent', 10);
        const target = to(destination, { codec });
        const before = [stateOf(source), destination.host.list(), destination.tmem.statistics()];
        const made = destination.driver.made.length;
        machine.asked.length = 0;
        const asked = await migrations.check('one', target);
        const error = await migrations.migrate('one', target).catch((thrown: unknown) => thrown);
        const { code: refused, data } = error as { code: string; data: { reasons: Reason[] } };
        assert.equal(refused, 'MIGRATION_REFUSED');
        // All of them in one answer, and `check` says the same.
        assert.deepEqual(data.reasons.map((reason) => reason.code).toSorted(), reasons.toSorted());
        assert.deepEqual(asked.reasons.map(essence), data.reasons.map(essence));
        for (const reason of data.reasons) assert.equal(reason.text, REASONS[reason.code]);
        // Nobody touched the guest, and nothing is left of the attempt on either side.
        assert.ok(
          machine.asked.every((operation) => operation === 'grant'),
          machine.asked.join(),
        );
        assert.deepEqual([stateOf(source), destination.host.list(), destination.tmem.statistics()], before);
        for (const looked of destination.driver.made.slice(made)) assert.equal(looked.status, 'closed');
        if (slot !== null) tmem.check('persistent', slot, 10);
        const [{ id }] = migrations.jobs();
        assert.ok(destination.host.migrations.jobs().every((job) => job.id !== id));
      } finally {
        await source.end();
        await destination.end();
      }
    });
  }

  it('for every reason of the table but one', () => {
    const tried = new Set(Object.values(CASES).flatMap(({ reasons }) => reasons));
    // These hosts have no state of their own: test/hosts/own-state.test.ts tries that one.
    assert.deepEqual(
      Object.keys(REASONS).filter((reason) => !tried.has(reason)),
      ['RECORD'],
    );
  });

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

describe('an image of a guest with tmem', () => {
  it('is refused by a host whose tmem is off, and nothing is left of it', async () => {
    const path = join(directory.path, 'with-tmem.tmig');
    const on = fakeHost();
    await on.host.create(choiceOf({ name: 'one' }));
    new FakeTmem(on.driver.last).fill('persistent', 20);
    await on.host.save('one', saveOf({ path, after: 'stop' }), {});
    const off = fakeHost(0);
    await assert.rejects(off.host.restore(parse(restoreSchema, { path }), {}), code('TMEM_DISABLED'));
    assertEmpty(off);
    // The image is whole: its guest comes back where there is tmem.
    await on.host.restore(parse(restoreSchema, { path }), {});
    assert.equal(on.tmem.info()!.pages, 20);
    await on.host.close();
  });
});
