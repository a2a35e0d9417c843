/** State of one's own beside a guest (M3): live, over cuts, refused and left behind, and in images. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { Notes, type Book } from '../../examples/own-state/notes.ts';
import { inspectImage } from '../../src/image/inspect.ts';
import { verifyImage } from '../../src/image/verify.ts';
import { openFileSource } from '../../src/io/file.ts';
import type { OwnState } from '../../src/migrate/section/own.ts';
import { CuttingProxy } from '../support/host/cutting-proxy.ts';
import { choiceOf, code, saveOf, scratch } from '../support/host/fake-host.ts';
import { FAKE_PAGE } from '../support/host/fake-machine.ts';
import { journaledHost, to, type JournaledHost } from '../support/host/two-hosts.ts';
import { random } from '../support/random.ts';

const directory = scratch(after);
let hosts = 0;
const open: JournaledHost[] = [];

async function hostWith(
  own: readonly OwnState[],
  choice: { readonly tmemBytes?: number } = {},
): Promise<JournaledHost> {
  const host = await journaledHost(join(directory.path, `${++hosts}`), { ...choice, own });
  open.push(host);
  return host;
}
afterEach(async () => {
  for (const host of open.splice(0)) await host.end();
});

/** A guest with so many notes, which change, come and go whenever its machine is looked at. */
async function busy(source: JournaledHost, notes: Notes, many = 500): Promise<{ book: Book; uuid: string }> {
  const { uuid } = await source.host.create(choiceOf({ name: 'one' }));
  const book = notes.of(uuid)!;
  for (let i = 0; i < many; i++) assert.ok(book.set(`note ${i}`, `${i}`.repeat(50)));
  const machine = source.driver.last;
  let scans = 0;
  machine.before = (operation) => {
    if (operation !== 'scan' || machine.status !== 'running') return;
    machine.memory.fill(++scans & 0xff, (scans % 1024) * FAKE_PAGE, ((scans % 1024) + 1) * FAKE_PAGE);
    book.set(`note ${scans % many}`, `changed in ${scans}`);
    book.set(`note ${(scans + 7) % many}`, '');
    book.set(`new ${scans}`, 'new');
  };
  return { book, uuid };
}

const LIMITS = { limits: { downtimeMs: 1, force: true, rounds: 5 } };

describe("state of one's own moves with its guest", () => {
  it('in rounds, while it changes', async () => {
    const [here, there] = [new Notes(), new Notes()];
    const [source, destination] = [await hostWith([here]), await hostWith([there])];
    const { book, uuid } = await busy(source, here);
    const result = await source.host.migrations.migrate('one', to(destination, LIMITS));
    const moved = there.of(uuid)!;
    assert.deepEqual(Object.fromEntries(moved.entries), Object.fromEntries(book.entries));
    assert.ok(book.entries.has('new 20') && result.rounds >= 2 && result.ownBytes > 25_000, JSON.stringify(result));
    assert.equal(here.of(uuid), undefined, 'it left');
    assert.equal(book.followers.size, 0, 'nobody follows it any more');
    // It lives there: it changes, and goes back with what it has then.
    assert.ok(moved.set('there', 'too'));
    await destination.host.migrations.migrate('one', to(source));
    assert.deepEqual(Object.fromEntries(here.of(uuid)!.entries), Object.fromEntries(moved.entries));
    assert.equal(here.of(uuid)!.entries.get('there'), 'too');
  });

  it('when it is larger than what one piece of work sends, beside tmem and memory', async () => {
    const [here, there] = [new Notes(), new Notes()];
    const [source, destination] = [await hostWith([here]), await hostWith([there])];
    const { book, uuid } = await busy(source, here, 60);
    for (let i = 0; i < 60; i++) book.set(`note ${i}`, 'x'.repeat(60_000));
    const result = await source.host.migrations.migrate('one', to(destination, LIMITS));
    assert.ok(result.ownBytes > 2_000_000, `${result.ownBytes}`);
    assert.deepEqual(
      there.of(uuid)!.entries,
      new Map([...there.of(uuid)!.entries.keys()].map((key) => [key, book.entries.get(key)!])),
    );
    assert.equal(there.of(uuid)!.entries.size, book.entries.size);
  });

  it('stands still for the end, and goes on when that fails', async () => {
    const [here, there] = [new Notes(), new Notes()];
    const [source, destination] = [await hostWith([here]), await hostWith([there])];
    const { book, uuid } = await busy(source, here);
    const stood: boolean[] = [];
    source.driver.last.before = (operation) => {
      if (operation === 'captureDevices') stood.push(book.set('late', 'never'));
    };
    destination.driver.prepare = (machine) => {
      // The first time it is tried with its own.
      let loads = 0;
      machine.before = (operation) => {
        if (operation === 'loadDeviceState' && ++loads > 1) throw new Error('no');
      };
    };
    await assert.rejects(source.host.migrations.migrate('one', to(destination)));
    assert.deepEqual(stood, [false]);
    assert.equal(here.of(uuid), book);
    assert.ok(book.set('after', 'it'), 'it goes on');
    assert.equal(there.of(uuid), undefined);
    destination.driver.prepare = () => undefined;
    await source.host.migrations.migrate('one', to(destination));
    assert.equal(there.of(uuid)!.entries.get('after'), 'it');
    assert.equal(there.of(uuid)!.entries.has('late'), false);
  });
});

describe('a connection that is cut', () => {
  let proxy: CuttingProxy;
  let destination: JournaledHost;
  let there: Notes;
  beforeEach(async () => {
    there = new Notes();
    destination = await hostWith([there]);
    proxy = await CuttingProxy.start(destination.port);
  });
  afterEach(() => proxy.close());

  const generator = random('own state, cut');
  for (let times = 0; times < 4; times++) {
    const cuts = Array.from({ length: 1 + generator.below(3) }, () => 20_000 + generator.below(3_000_000));
    it(`loses nothing of it: after ${cuts.join(', ')} bytes`, async () => {
      const here = new Notes();
      const source = await hostWith([here]);
      proxy.cutAfter.push(...cuts);
      const { book, uuid } = await busy(source, here, 3000);
      const result = await source.host.migrations.migrate('one', to(proxy, LIMITS));
      assert.ok(result.legs > 1, `${result.legs}`);
      assert.deepEqual(there.of(uuid)!.entries, book.entries);
      assert.deepEqual(destination.driver.last.memory, source.driver.last.memory);
    });
  }
});

describe('a host that lacks it', () => {
  it('refuses the guest before anything moved, with all reasons, when it is mandatory', async () => {
    const here = new Notes();
    const [source, destination] = [await hostWith([here]), await hostWith([], { tmemBytes: 0 })];
    const { book, uuid } = await busy(source, here);
    const { reasons } = await source.host.migrations.check('one', to(destination));
    assert.deepEqual(reasons.map((reason) => reason.code).toSorted(), ['RECORD', 'TMEM_DISABLED']);
    const error = await source.host.migrations.migrate('one', to(destination)).catch((thrown: unknown) => thrown);
    const { code: failed, data } = error as { code: string; data: { reasons: { code: string; needed: unknown }[] } };
    assert.equal(failed, 'MIGRATION_REFUSED');
    assert.deepEqual(data.reasons.map((reason) => reason.code).toSorted(), ['RECORD', 'TMEM_DISABLED']);
    assert.deepEqual(data.reasons.find((reason) => reason.code === 'RECORD')!.needed, ['org.example.notes']);
    assert.ok(!source.driver.last.asked.includes('startScan') && !source.driver.last.asked.includes('pause'));
    assert.ok(here.of(uuid) === book && book.followers.size === 0 && book.set('still', 'here'));
  });

  it('takes the guest without it when it is optional, and the source says so', async () => {
    const here = new Notes(false);
    const [source, destination] = [await hostWith([here]), await hostWith([])];
    await busy(source, here);
    const { id, ownBytes } = await source.host.migrations.migrate('one', to(destination, LIMITS));
    assert.equal(ownBytes, 0);
    assert.deepEqual(
      destination.host.list().map(({ name }) => name),
      ['one'],
    );
    const { events } = source.host.migrations.job(id);
    assert.ok(events.some(({ text }) => text === 'not known there, and left here: org.example.notes'));
  });

  it('that has it takes along what is optional', async () => {
    const [here, there] = [new Notes(false), new Notes(false)];
    const [source, destination] = [await hostWith([here]), await hostWith([there])];
    const { book, uuid } = await busy(source, here);
    await source.host.migrations.migrate('one', to(destination, LIMITS));
    assert.deepEqual(Object.fromEntries(there.of(uuid)!.entries), Object.fromEntries(book.entries));
  });
});

describe('in images', () => {
  for (const live of [false, true]) {
    it(`${live ? 'saved live' : 'saved'}: shown by who never heard of it, and restored`, async () => {
      const here = new Notes();
      const host = await hostWith([here]);
      const { book } = await busy(host, here, 20);
      const path = join(directory.path, `saved-${live}.tmig`);
      await host.host.save('one', saveOf({ path, live, after: 'pause' }), {});
      const saved = new Map(book.entries);
      assert.ok(book.set('later', 'not in it'));
      const records = (await inspect(path)).filter(({ name }) => name === 'org.example.notes');
      assert.ok(records.length >= saved.size, `${records.length}`);
      for (const { type, optional, length } of records)
        assert.deepEqual([type, optional, length > 4], ['00004000', false, true]);
      // Field by field, as its DICTIONARY says.
      const newest = new Map(records.map(({ fields }) => [fields!['key'], fields!['value']]));
      for (const [key, value] of saved) assert.equal(newest.get(key), value, key);
      const source = await openFileSource(path);
      const verified = await verifyImage([source]);
      await source.close();
      assert.deepEqual(
        verified.warnings.map(({ code: found }) => found),
        ['UNKNOWN_RECORD'],
      );
      assert.equal(verified.ok, true);

      const there = new Notes();
      const other = await hostWith([there]);
      const { guest } = await other.host.restore({ path, sameIdentity: false, sharedDisks: false, paused: false }, {});
      assert.deepEqual(Object.fromEntries(there.of(guest.uuid)!.entries), Object.fromEntries(saved));
      const bare = await hostWith([]);
      const restored = bare.host.restore({ path, sameIdentity: false, sharedDisks: false, paused: false }, {});
      await assert.rejects(restored, code('UNKNOWN_RECORD'));
      assert.deepEqual(bare.host.list(), []);
    });
  }

  it('a host without it restores what is optional without it', async () => {
    const here = new Notes(false);
    const source = await hostWith([here]);
    await busy(source, here, 20);
    const path = join(directory.path, 'optional.tmig');
    await source.host.save('one', saveOf({ path }), {});
    const bare = await hostWith([]);
    await bare.host.restore({ path, sameIdentity: false, sharedDisks: false, paused: false }, {});
    assert.equal(bare.host.list().length, 1);
  });

  async function inspect(path: string): Promise<readonly Shown[]> {
    const source = await openFileSource(path);
    const { records } = await inspectImage(source, { records: true });
    await source.close();
    return records as unknown as readonly Shown[];
  }
});

interface Shown {
  readonly type: string;
  readonly name: string;
  readonly optional: boolean;
  readonly length: number;
  readonly fields?: Readonly<Record<string, string>>;
}

describe('what is registered', () => {
  it('has names of its own, of the right form', async () => {
    await assert.rejects(hostWith([new Notes(), new Notes()]), code('USAGE'));
    await assert.rejects(hostWith([Object.assign(new Notes(), { name: 'notes' })]), code('FIELD_VALUE'));
  });

  it('may refuse a guest, of which nothing is left then', async () => {
    const refusing: OwnState = Object.assign(new Notes(), {
      name: 'org.example.refuses',
      seat: () => {
        throw new RangeError('no room');
      },
    });
    const notes = new Notes();
    const host = await hostWith([notes, refusing]);
    await assert.rejects(host.host.create(choiceOf({ name: 'one' })), RangeError);
    assert.equal(host.driver.last.status, 'closed');
    assert.deepEqual([...notes.all()], []);
    const source = await hostWith([]);
    await source.host.create(choiceOf({ name: 'two' }));
    await assert.rejects(source.host.migrations.migrate('two', to(host)), code('INTERNAL'));
    assert.equal(source.driver.last.status, 'running');
    assert.equal(host.driver.last.status, 'closed');
  });
});
