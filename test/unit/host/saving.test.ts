/** Saves on a host (M1, M6, T2): what is left behind when they fail, and what becomes of the guest. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { GuestState, SaveChoice } from '../../../src/host/api.ts';
import type { ImageSink } from '../../../src/host/saving.ts';
import { openFileSource } from '../../../src/io/file.ts';
import { DISK_POLICY } from '../../../src/machine/machine.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import {
  assertSettled,
  choiceOf,
  code,
  fakeHost,
  FakeTmem,
  saveOf,
  scratch,
  type FakeHost,
} from '../../support/host/fake-host.ts';
import { open } from '../../support/host/fake-machine.ts';

const directory = scratch(after);
let number = 0;

interface Scene extends FakeHost {
  readonly path: string;
  save(choice?: Partial<SaveChoice>, signal?: AbortSignal): ReturnType<FakeHost['host']['save']>;
  state(): GuestState;
  /** Nothing was saved: the guest is in this state, and there is no file. */
  assertUnharmed(state: GuestState): void;
}

/** A guest `g` with memory and tmem, and a path to save it to. */
async function scene(state: 'running' | 'paused' = 'running'): Promise<Scene> {
  const fake = fakeHost();
  await fake.host.create(choiceOf({ name: 'g', paused: state === 'paused' }));
  new FakeTmem(fake.driver.last).fill('persistent', 40);
  new FakeTmem(fake.driver.last).fill('ephemeral', 10);
  const place = join(directory.path, String(number++));
  mkdirSync(place);
  const path = join(place, 'g.tmig');
  return {
    ...fake,
    path,
    save: (choice = {}, signal) =>
      fake.host.save('g', saveOf({ path, ...choice }), signal === undefined ? {} : { signal }),
    state: () => fake.host.guest('g').state,
    assertUnharmed: (wanted) => {
      assert.equal(fake.host.guest('g').state, wanted);
      if (existsSync(place)) assert.deepEqual(scratchList(place), []);
      assertSettled(fake);
      assert.equal(fake.host.guest('g').info().busy, null);
    },
  };
}

function scratchList(place: string): string[] {
  return readdirSync(place).toSorted();
}

async function verdict(path: string): Promise<string> {
  const source = await openFileSource(path);
  try {
    return (await verifyImage([source], {})).verdict;
  } finally {
    await source.close();
  }
}

/** A sink that does `write` instead. */
function sinkOf(write: ImageSink['write'], rest: Partial<ImageSink> = {}): ImageSink {
  return { write, commit: () => Promise.resolve(), abort: () => Promise.resolve(), ...rest };
}

describe('a save that succeeds', () => {
  const ends: readonly [from: 'running' | 'paused', after: SaveChoice['after'], to: GuestState | 'destroyed'][] = [
    ['running', 'run', 'running'],
    ['running', 'pause', 'paused'],
    ['running', 'stop', 'destroyed'],
    ['paused', 'run', 'paused'],
    ['paused', 'pause', 'paused'],
    ['paused', 'stop', 'destroyed'],
  ];
  for (const [from, then, to] of ends) {
    it(`of a ${from} guest with after: ${then} leaves it ${to}`, async () => {
      const one = await scene(from);
      const result = await one.save({ after: then });
      assert.equal(result.state, to);
      assert.deepEqual([result.pages, result.tmemPages, result.path], [1024, 50, one.path]);
      assert.equal(await verdict(one.path), 'sound');
      assert.equal(statSync(one.path).mode & 0o777, 0o600);
      assert.equal(statSync(one.path).size, result.bytes);
      assertSettled(one);
      if (to !== 'destroyed') assert.equal(one.state(), to);
      else {
        assert.throws(() => one.host.guest('g'), code('GUEST_UNKNOWN'));
        assert.equal(open.has(one.driver.last), false);
        assert.equal(one.tmem.statistics()!.pages, 0);
      }
    });
  }

  it('stops the guest only when the file is safely there', async () => {
    const one = await scene();
    const machine = one.driver.last;
    let wasThere = false;
    const close = machine.close.bind(machine);
    machine.close = () => {
      wasThere = existsSync(one.path) && statSync(one.path).size > 0;
      return close();
    };
    await one.save({ after: 'stop' });
    assert.ok(wasThere);
  });

  it('keeps an old file of that name whole until the end', async () => {
    const one = await scene();
    writeFileSync(one.path, 'old');
    let seen = 0;
    one.driver.last.before = (operation) => {
      if (operation !== 'readCapture') return;
      seen++;
      assert.equal(readFileSync(one.path, 'utf8'), 'old');
    };
    await one.save();
    assert.ok(seen >= 4);
    assert.equal(await verdict(one.path), 'sound');
    assert.deepEqual(scratchList(join(one.path, '..')), ['g.tmig']);
  });

  it('holds what the guest had at the pause, not what it wrote since', async () => {
    const one = await scene();
    const { memory } = one.driver.last;
    const before = memory.slice();
    await one.save();
    assert.notDeepEqual(memory, before, 'the guest went on');
    await one.host.restore({ path: one.path, name: 'copy', sameIdentity: false, sharedDisks: false, paused: true }, {});
    assert.deepEqual(one.driver.last.memory, before);
  });
});

describe('a save that fails leaves the guest as it was, and no file', () => {
  it('in a directory that there is not', async () => {
    const one = await scene();
    await assert.rejects(one.save({ path: join(one.path, 'no', 'such') }), code('WRITE_FAILED'));
    one.assertUnharmed('running');
  });

  it('in a directory that vanishes meanwhile', async () => {
    const one = await scene();
    one.driver.last.before = (operation) => {
      if (operation === 'readCapture') rmSync(join(one.path, '..'), { recursive: true, force: true });
    };
    await assert.rejects(one.save({ after: 'stop' }), code('WRITE_FAILED'));
    one.assertUnharmed('running');
  });

  it('onto a directory', async () => {
    const one = await scene();
    mkdirSync(one.path);
    await assert.rejects(one.save({ after: 'pause' }), code('WRITE_FAILED'));
    assert.deepEqual(scratchList(join(one.path, '..')), ['g.tmig'], 'no .partial');
    rmSync(one.path, { recursive: true });
    one.assertUnharmed('running');
  });

  for (const then of ['run', 'pause', 'stop'] as const) {
    it(`when the sink is full, with after: ${then}`, async () => {
      const one = await scene();
      let room = 500_000;
      let aborted = 0;
      const sink = sinkOf(
        (bytes) => {
          room -= bytes.byteLength;
          return room < 0 ? Promise.reject(new Error('full')) : Promise.resolve();
        },
        { abort: () => Promise.resolve(void aborted++) },
      );
      if (then === 'stop') {
        await assert.rejects(one.host.save('g', saveOf({ after: then }), {}, sink), code('USAGE'));
      } else {
        await assert.rejects(one.host.save('g', saveOf({ after: then }), {}, sink), /full/);
        assert.equal(aborted, 1);
      }
      one.assertUnharmed('running');
    });

    it(`when the last step fails, with after: ${then}`, async () => {
      const one = await scene();
      const commit = (): Promise<void> => Promise.reject(new Error('no sync'));
      const failing = one.host.save(
        'g',
        saveOf({ after: then }),
        {},
        sinkOf(() => Promise.resolve(), { commit }),
      );
      await assert.rejects(failing, then === 'stop' ? code('USAGE') : /no sync/);
      one.assertUnharmed('running');
    });
  }

  it('of a paused guest: it stays paused', async () => {
    const one = await scene('paused');
    await assert.rejects(one.save({ path: '/dev/null/x' }), code('WRITE_FAILED'));
    one.assertUnharmed('paused');
  });

  const steps = ['prepareCapture', 'pause', 'capture', 'readCapture'] as const;
  for (const step of steps) {
    it(`cancelled at ${step}`, async () => {
      for (const then of ['run', 'pause', 'stop'] as const) {
        const one = await scene();
        const cancel = new AbortController();
        one.driver.last.before = (operation) => {
          if (operation === step) cancel.abort();
        };
        await assert.rejects(one.save({ after: then }, cancel.signal), code('CANCELLED'));
        one.assertUnharmed('running');
      }
    });

    it(`when the guest is killed at ${step}`, async () => {
      const one = await scene();
      one.driver.last.before = (operation, machine) => {
        if (operation === step) machine.die('signal SIGKILL');
      };
      await assert.rejects(one.save({ after: 'pause' }), code('GUEST_GONE'));
      one.assertUnharmed('crashed');
    });

    it(`when the guest is destroyed at ${step}`, async () => {
      const one = await scene();
      let destroyed: Promise<unknown> | undefined;
      one.driver.last.before = (operation) => {
        if (operation === step) destroyed ??= one.host.destroy('g');
      };
      await assert.rejects(one.save(), code('CANCELLED'));
      await destroyed;
      assert.deepEqual(scratchList(join(one.path, '..')), []);
      assert.deepEqual(one.host.list(), []);
      const { pages, pinnedPages, clients } = one.tmem.statistics()!;
      assert.deepEqual([pages, pinnedPages, clients.length], [0, 0, 0]);
      assertSettled(one);
    });

    it(`when the host ends at ${step}`, async () => {
      const one = await scene();
      let closed: Promise<void> | undefined;
      one.driver.last.before = (operation) => {
        if (operation === step) closed ??= one.host.close();
      };
      await assert.rejects(one.save(), code('CANCELLED'));
      await closed;
      assert.deepEqual(scratchList(join(one.path, '..')), []);
      assertSettled(one);
    });
  }

  it('cancelled while a reader does not read', async () => {
    const one = await scene();
    const cancel = new AbortController();
    const stuck = sinkOf(() => {
      setImmediate(() => cancel.abort());
      return new Promise(() => undefined);
    });
    await assert.rejects(one.host.save('g', saveOf(), { signal: cancel.signal }, stuck), code('CANCELLED'));
    one.assertUnharmed('running');
  });

  it('destroyed while a reader does not read', async () => {
    const one = await scene();
    let destroyed: Promise<unknown> | undefined;
    const stuck = sinkOf(() => {
      destroyed ??= one.host.destroy('g');
      return new Promise(() => undefined);
    });
    await assert.rejects(one.host.save('g', saveOf(), {}, stuck), code('CANCELLED'));
    await destroyed;
    assertSettled(one);
  });

  it('cancelled when everything is written, but not yet safe', async () => {
    const one = await scene();
    const cancel = new AbortController();
    await assert.rejects(
      one.host.save('g', saveOf({ path: one.path }), {
        signal: cancel.signal,
        onProgress: (done, total) => {
          if (done === total) cancel.abort();
        },
      }),
      code('CANCELLED'),
    );
    one.assertUnharmed('running');
  });

  it('when its guest crashes while it is about to stand still', async () => {
    const one = await scene();
    one.driver.last.before = (operation, machine) => {
      if (operation === 'pause') machine.crash('triple fault');
    };
    await assert.rejects(one.save(), code('GUEST_CRASHED'));
    one.assertUnharmed('crashed');
    assert.equal(one.host.guest('g').info().reason, 'triple fault');
  });
});

describe('a save that is refused', () => {
  it('of a guest that crashed', async () => {
    const one = await scene();
    one.driver.last.crash('triple fault');
    await assert.rejects(one.save(), code('GUEST_CRASHED'));
    one.assertUnharmed('crashed');
    assert.ok(!one.driver.last.asked.includes('prepareCapture'));
  });

  it('of a guest that is not there', async () => {
    const one = await scene();
    await assert.rejects(one.host.save('h', saveOf({ path: one.path }), {}), code('GUEST_UNKNOWN'));
    one.assertUnharmed('running');
  });

  it('while another one is made; that one is not disturbed', async () => {
    const one = await scene();
    const refusals: Promise<void>[] = [];
    one.driver.last.before = (operation) => {
      if (operation !== 'readCapture' || refusals.length > 0) return;
      refusals.push(
        assert.rejects(one.save({ path: `${one.path}2` }), code('GUEST_BUSY')),
        assert.rejects(one.host.pause('g'), code('GUEST_BUSY')),
      );
      assert.equal(one.host.guest('g').info().busy, 'saving');
    };
    await one.save();
    await Promise.all(refusals);
    assert.equal(refusals.length, 2);
    assert.deepEqual(scratchList(join(one.path, '..')), ['g.tmig']);
    assertSettled(one);
  });

  it('of a running guest with a disk that others share, unless it stops', async () => {
    const fake = fakeHost();
    const disk = {
      name: 'hda',
      policy: DISK_POLICY.external,
      readOnly: false,
      bytes: 4096,
      digest: null,
      location: '/srv/d',
    };
    fake.driver.disks = [disk];
    await fake.host.create(choiceOf({ name: 'g' }));
    const path = join(directory.path, 'shared.tmig');
    await assert.rejects(fake.host.save('g', saveOf({ path }), {}), code('SHARED_DISK'));
    assert.ok(!existsSync(path));
    assert.equal(fake.host.guest('g').state, 'running');
    const { warnings } = await fake.host.save('g', saveOf({ path, after: 'pause' }), {});
    assert.match(warnings.join(), /\/srv\/d/);
    // It is paused now, and stays so: nothing is written to the disk behind the image's back.
    await fake.host.save('g', saveOf({ path }), {});
    const plain = { path, name: 'h', sameIdentity: false, sharedDisks: false, paused: true };
    const before = fake.tmem.statistics()!.clients.length;
    await assert.rejects(fake.host.restore(plain, {}), code('SHARED_DISK'));
    assert.deepEqual([open.has(fake.driver.last), fake.tmem.statistics()!.clients.length], [false, before]);
    const { warnings: restored } = await fake.host.restore(
      { path, name: 'h', sameIdentity: false, sharedDisks: true, paused: true },
      {},
    );
    assert.match(restored.join(), /\/srv\/d/);
    await fake.host.close();
  });
});

describe('consoles during a save', () => {
  it('go on', async () => {
    const one = await scene();
    const guest = one.host.guest('g');
    const followed = guest.console.follow();
    const first = followed.next();
    let typed = 0;
    one.driver.last.before = async (operation) => {
      if (operation === 'readCapture') await guest.type(Buffer.from(String(typed++ % 10)));
    };
    await one.save();
    one.driver.last.before = () => undefined;
    guest.console.end();
    let text = '';
    for (let step = await first; step.done !== true; step = await followed.next())
      text += Buffer.from(step.value).toString();
    assert.ok(typed >= 4);
    assert.equal(text, Array.from({ length: typed }, (_, i) => i % 10).join(''));
  });
});

describe('a live save', () => {
  it('follows the guest in rounds, and what comes of it is what it had when it stood still', async () => {
    const s = await scene();
    const machine = s.driver.last;
    let scans = 0;
    let rounds = 0;
    machine.before = (operation) => {
      if (operation === 'scan' && machine.status === 'running') {
        machine.memory.fill(++scans & 0xff, 4096 * (scans % 1000), 4096 * ((scans % 1000) + 1));
      }
      if (operation === 'pause') rounds++;
    };
    const saved = await s.save({ live: true });
    assert.deepEqual([saved.state, saved.tmemPages, rounds], ['running', 50, 1]);
    assert.ok(scans > 0 && !machine.scanned && !machine.captured);
    const expected = machine.memory.slice();
    const restored = await s.host.restore(
      { path: s.path, name: 'h', sameIdentity: false, sharedDisks: false, paused: true },
      {},
    );
    assert.equal(restored.tmemPages, 50);
    assert.deepEqual(s.driver.last.memory, expected);
    new FakeTmem(s.driver.last).check('persistent', 0, 40);
    const source = await openFileSource(s.path);
    assert.equal((await verifyImage([source], { digest: true })).verdict, 'sound');
    await source.close();
  });

  it('that fails leaves nothing behind, and the guest at full speed', async () => {
    for (const when of ['startScan', 'scan', 'pause', 'captureDevices'] as const) {
      const s = await scene();
      s.driver.last.before = (operation) => {
        if (operation === when) throw new Error(`no ${when}`);
      };
      await assert.rejects(s.save({ live: true }), new RegExp(`no ${when}`));
      s.driver.last.before = () => undefined;
      s.assertUnharmed('running');
      assert.deepEqual([s.driver.last.share, s.driver.last.scanned], [1, false]);
    }
  });

  it('is cancelled like any other', async () => {
    const s = await scene();
    const cancel = new AbortController();
    s.driver.last.before = (operation) => {
      if (operation === 'scan') cancel.abort();
    };
    await assert.rejects(s.save({ live: true }, cancel.signal), code('CANCELLED'));
    s.assertUnharmed('running');
  });
});
