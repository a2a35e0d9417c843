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
  for (const [from, after, to] of ends) {
    it(`of a ${from} guest with after: ${after} leaves it ${to}`, async () => {
      const it = await scene(from);
      const result = await it.save({ after });
      assert.equal(result.state, to);
      assert.deepEqual([result.pages, result.tmemPages, result.path], [1024, 50, it.path]);
      assert.equal(await verdict(it.path), 'sound');
      assert.equal(statSync(it.path).mode & 0o777, 0o600);
      assert.equal(statSync(it.path).size, result.bytes);
      assertSettled(it);
      if (to !== 'destroyed') assert.equal(it.state(), to);
      else {
        assert.throws(() => it.host.guest('g'), code('GUEST_UNKNOWN'));
        assert.equal(open.has(it.driver.last), false);
        assert.equal(it.tmem.statistics()!.pages, 0);
      }
    });
  }

  it('stops the guest only when the file is safely there', async () => {
    const it = await scene();
    const machine = it.driver.last;
    let wasThere = false;
    const close = machine.close.bind(machine);
    machine.close = () => {
      wasThere = existsSync(it.path) && statSync(it.path).size > 0;
      return close();
    };
    await it.save({ after: 'stop' });
    assert.ok(wasThere);
  });

  it('keeps an old file of that name whole until the end', async () => {
    const it = await scene();
    writeFileSync(it.path, 'old');
    let seen = 0;
    it.driver.last.before = (operation) => {
      if (operation !== 'readCapture') return;
      seen++;
      assert.equal(readFileSync(it.path, 'utf8'), 'old');
    };
    await it.save();
    assert.ok(seen >= 4);
    assert.equal(await verdict(it.path), 'sound');
    assert.deepEqual(scratchList(join(it.path, '..')), ['g.tmig']);
  });

  it('holds what the guest had at the pause, not what it wrote since', async () => {
    const it = await scene();
    const { memory } = it.driver.last;
    const before = memory.slice();
    await it.save();
    assert.notDeepEqual(memory, before, 'the guest went on');
    await it.host.restore({ path: it.path, name: 'copy', sameIdentity: false, paused: true }, {});
    assert.deepEqual(it.driver.last.memory, before);
  });
});

describe('a save that fails leaves the guest as it was, and no file', () => {
  it('in a directory that there is not', async () => {
    const it = await scene();
    await assert.rejects(it.save({ path: join(it.path, 'no', 'such') }), code('WRITE_FAILED'));
    it.assertUnharmed('running');
  });

  it('in a directory that vanishes meanwhile', async () => {
    const it = await scene();
    it.driver.last.before = (operation) => {
      if (operation === 'readCapture') rmSync(join(it.path, '..'), { recursive: true, force: true });
    };
    await assert.rejects(it.save({ after: 'stop' }), code('WRITE_FAILED'));
    it.assertUnharmed('running');
  });

  it('onto a directory', async () => {
    const it = await scene();
    mkdirSync(it.path);
    await assert.rejects(it.save({ after: 'pause' }), code('WRITE_FAILED'));
    assert.deepEqual(scratchList(join(it.path, '..')), ['g.tmig'], 'no .partial');
    rmSync(it.path, { recursive: true });
    it.assertUnharmed('running');
  });

  for (const after of ['run', 'pause', 'stop'] as const) {
    it(`when the sink is full, with after: ${after}`, async () => {
      const it = await scene();
      let room = 500_000;
      let aborted = 0;
      const sink = sinkOf(
        (bytes) => {
          room -= bytes.byteLength;
          return room < 0 ? Promise.reject(new Error('full')) : Promise.resolve();
        },
        { abort: () => Promise.resolve(void aborted++) },
      );
      if (after === 'stop') {
        await assert.rejects(it.host.save('g', saveOf({ after }), {}, sink), code('USAGE'));
      } else {
        await assert.rejects(it.host.save('g', saveOf({ after }), {}, sink), /full/);
        assert.equal(aborted, 1);
      }
      it.assertUnharmed('running');
    });

    it(`when the last step fails, with after: ${after}`, async () => {
      const it = await scene();
      const commit = (): Promise<void> => Promise.reject(new Error('no sync'));
      const failing = it.host.save(
        'g',
        saveOf({ after }),
        {},
        sinkOf(() => Promise.resolve(), { commit }),
      );
      await assert.rejects(failing, after === 'stop' ? code('USAGE') : /no sync/);
      it.assertUnharmed('running');
    });
  }

  it('of a paused guest: it stays paused', async () => {
    const it = await scene('paused');
    await assert.rejects(it.save({ path: '/dev/null/x' }), code('WRITE_FAILED'));
    it.assertUnharmed('paused');
  });

  const steps = ['prepareCapture', 'pause', 'capture', 'readCapture'] as const;
  for (const step of steps) {
    it(`cancelled at ${step}`, async () => {
      for (const after of ['run', 'pause', 'stop'] as const) {
        const it = await scene();
        const cancel = new AbortController();
        it.driver.last.before = (operation) => {
          if (operation === step) cancel.abort();
        };
        await assert.rejects(it.save({ after }, cancel.signal), code('CANCELLED'));
        it.assertUnharmed('running');
      }
    });

    it(`when the guest is killed at ${step}`, async () => {
      const it = await scene();
      it.driver.last.before = (operation, machine) => {
        if (operation === step) machine.die('signal SIGKILL');
      };
      await assert.rejects(it.save({ after: 'pause' }), code('GUEST_GONE'));
      it.assertUnharmed('crashed');
    });

    it(`when the guest is destroyed at ${step}`, async () => {
      const it = await scene();
      let destroyed: Promise<unknown> | undefined;
      it.driver.last.before = (operation) => {
        if (operation === step) destroyed ??= it.host.destroy('g');
      };
      await assert.rejects(it.save(), code('CANCELLED'));
      await destroyed;
      assert.deepEqual(scratchList(join(it.path, '..')), []);
      assert.deepEqual(it.host.list(), []);
      const { pages, pinnedPages, clients } = it.tmem.statistics()!;
      assert.deepEqual([pages, pinnedPages, clients.length], [0, 0, 0]);
      assertSettled(it);
    });

    it(`when the host ends at ${step}`, async () => {
      const it = await scene();
      let closed: Promise<void> | undefined;
      it.driver.last.before = (operation) => {
        if (operation === step) closed ??= it.host.close();
      };
      await assert.rejects(it.save(), code('CANCELLED'));
      await closed;
      assert.deepEqual(scratchList(join(it.path, '..')), []);
      assertSettled(it);
    });
  }

  it('cancelled while a reader does not read', async () => {
    const it = await scene();
    const cancel = new AbortController();
    const stuck = sinkOf(() => {
      setImmediate(() => cancel.abort());
      return new Promise(() => undefined);
    });
    await assert.rejects(it.host.save('g', saveOf(), { signal: cancel.signal }, stuck), code('CANCELLED'));
    it.assertUnharmed('running');
  });

  it('destroyed while a reader does not read', async () => {
    const it = await scene();
    let destroyed: Promise<unknown> | undefined;
    const stuck = sinkOf(() => {
      destroyed ??= it.host.destroy('g');
      return new Promise(() => undefined);
    });
    await assert.rejects(it.host.save('g', saveOf(), {}, stuck), code('CANCELLED'));
    await destroyed;
    assertSettled(it);
  });

  it('cancelled when everything is written, but not yet safe', async () => {
    const it = await scene();
    const cancel = new AbortController();
    await assert.rejects(
      it.host.save('g', saveOf({ path: it.path }), {
        signal: cancel.signal,
        onProgress: (done, total) => {
          if (done === total) cancel.abort();
        },
      }),
      code('CANCELLED'),
    );
    it.assertUnharmed('running');
  });

  it('when its guest crashes while it is about to stand still', async () => {
    const it = await scene();
    it.driver.last.before = (operation, machine) => {
      if (operation === 'pause') machine.crash('triple fault');
    };
    await assert.rejects(it.save(), code('GUEST_CRASHED'));
    it.assertUnharmed('crashed');
    assert.equal(it.host.guest('g').info().reason, 'triple fault');
  });
});

describe('a save that is refused', () => {
  it('of a guest that crashed', async () => {
    const it = await scene();
    it.driver.last.crash('triple fault');
    await assert.rejects(it.save(), code('GUEST_CRASHED'));
    it.assertUnharmed('crashed');
    assert.ok(!it.driver.last.asked.includes('prepareCapture'));
  });

  it('of a guest that is not there', async () => {
    const it = await scene();
    await assert.rejects(it.host.save('h', saveOf({ path: it.path }), {}), code('GUEST_UNKNOWN'));
    it.assertUnharmed('running');
  });

  it('while another one is made; that one is not disturbed', async () => {
    const it = await scene();
    const refusals: Promise<void>[] = [];
    it.driver.last.before = (operation) => {
      if (operation !== 'readCapture' || refusals.length > 0) return;
      refusals.push(
        assert.rejects(it.save({ path: `${it.path}2` }), code('GUEST_BUSY')),
        assert.rejects(it.host.pause('g'), code('GUEST_BUSY')),
      );
      assert.equal(it.host.guest('g').info().busy, 'saving');
    };
    await it.save();
    await Promise.all(refusals);
    assert.equal(refusals.length, 2);
    assert.deepEqual(scratchList(join(it.path, '..')), ['g.tmig']);
    assertSettled(it);
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
    const { warnings: restored } = await fake.host.restore({ path, name: 'h', sameIdentity: false, paused: true }, {});
    assert.match(restored.join(), /\/srv\/d/);
    await fake.host.close();
  });
});

describe('consoles during a save', () => {
  it('go on', async () => {
    const it = await scene();
    const guest = it.host.guest('g');
    const followed = guest.console.follow();
    const first = followed.next();
    let typed = 0;
    it.driver.last.before = async (operation) => {
      if (operation === 'readCapture') await guest.type(Buffer.from(String(typed++ % 10)));
    };
    await it.save();
    it.driver.last.before = () => undefined;
    guest.console.end();
    let text = '';
    for (let step = await first; step.done !== true; step = await followed.next())
      text += Buffer.from(step.value).toString();
    assert.ok(typed >= 4);
    assert.equal(text, Array.from({ length: typed }, (_, i) => i % 10).join(''));
  });
});
