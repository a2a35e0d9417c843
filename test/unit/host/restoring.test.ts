/** Restores on a host (M1, M6, T5 to T7): what is refused, what is left behind then, and what a restored guest has. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { JsonObject } from '../../../src/bytes/bounded-json.ts';
import { restoreLines } from '../../../src/cli/text/guest.ts';
import type { RestoreChoice, RestoreResult } from '../../../src/host/api.ts';
import { memorySource, MemorySink } from '../../../src/io/memory.ts';
import type { ByteSource } from '../../../src/io/source.ts';
import { DISK_POLICY } from '../../../src/machine/machine.ts';
import type { PreambleChoice } from '../../../src/stream/preamble.ts';
import { StreamWriter } from '../../../src/stream/writer.ts';
import {
  assertEmpty,
  assertSettled,
  choiceOf,
  code,
  fakeHost,
  FakeTmem,
  saveOf,
  scratch,
  type FakeHost,
} from '../../support/host/fake-host.ts';
import { FAKE_PAGE, FakeMachine } from '../../support/host/fake-machine.ts';
import { random } from '../../support/random.ts';
import { choice } from '../../support/streams.ts';
import { testSeed } from '../../support/seed.ts';

const directory = scratch(after);
const SLOTS = { persistent: 0, ephemeral: 1, precompressed: 2 } as const;
const PAGES = { persistent: 30, ephemeral: 10, precompressed: 12 } as const;
const UUID = '6f1c0a52-8f3f-4f0e-9a67-2c6f0de6a001';

/** A guest `g` of 4 MiB with tmem of all kinds, as an image. */
let image: Uint8Array;
let memory: Uint8Array;
let uuid: string;

before(async () => {
  const fake = fakeHost();
  ({ uuid } = await fake.host.create(choiceOf({ name: 'g', paused: true })));
  const tmem = new FakeTmem(fake.driver.last);
  for (const kind of ['persistent', 'ephemeral', 'precompressed'] as const) tmem.fill(kind, PAGES[kind]);
  memory = fake.driver.last.memory.slice();
  const sink = new MemorySink();
  const rest = { commit: () => Promise.resolve(), abort: () => Promise.resolve() };
  await fake.host.save('g', saveOf({ codec: 'zstd' }), {}, { write: (bytes) => sink.write(bytes), ...rest });
  image = sink.bytes();
  await fake.host.close();
});

const CHOICE: RestoreChoice = { sameIdentity: false, sharedDisks: false, paused: false };

function restore(fake: FakeHost, bytes: Uint8Array, changes: Partial<RestoreChoice> = {}): Promise<unknown> {
  return fake.host.restore({ ...CHOICE, ...changes }, {}, memorySource(bytes));
}

/** An image of one's own making: 1 MiB of zeros and the right device, unless something else is said. */
async function written(
  changes: {
    preamble?: Partial<PreambleChoice>;
    about?: JsonObject;
    pages?: number;
    device?: Partial<{ bytes: Uint8Array; version: string; format: string; fingerprint: Uint8Array }> | null;
    more?: (writer: StreamWriter) => Promise<void>;
  } = {},
): Promise<Uint8Array> {
  const like = new FakeMachine({ pages: 256, tmem: null });
  await like.close();
  const sink = new MemorySink();
  const preamble = choice({ wordBits: 32, machine: 3, domainType: 'emulated', ...changes.preamble });
  const about = {
    name: 'g',
    uuid: UUID,
    driver: { name: 'fake', version: '1.0' },
    memory: { bytes: 2 ** 20, pages: 256 },
  };
  const writer = await StreamWriter.open(sink, preamble, { ...about, ...changes.about });
  if (changes.device !== null) {
    const { bytes = like.device, version = '1.0', format = 'fake-state', fingerprint } = changes.device ?? {};
    const record = { device: 0, name: 'machine', format, version };
    await writer.device({ ...record, fingerprint: fingerprint ?? like.capabilities.fingerprint }, bytes);
  }
  await writer.zero(0, changes.pages ?? 256);
  await changes.more?.(writer);
  await writer.checkpoint();
  await writer.end();
  return sink.bytes();
}

describe('a restored guest', () => {
  it('has its memory, devices and tmem of every kind, and goes on', async () => {
    const fake = fakeHost();
    const path = join(directory.path, 'g.tmig');
    writeFileSync(path, image);
    const { guest, pages, tmemPages, warnings } = await fake.host.restore({ ...CHOICE, path }, {});
    assert.deepEqual([guest.name, guest.state, pages, tmemPages, warnings], ['g', 'running', 1024, 52, []]);
    assert.deepEqual(fake.driver.last.memory, memory);
    const tmem = new FakeTmem(fake.driver.last);
    for (const kind of ['persistent', 'ephemeral', 'precompressed'] as const)
      tmem.check(kind, SLOTS[kind], PAGES[kind]);
    assertSettled(fake);
    await fake.host.destroy('g');
    assertEmpty(fake);
  });

  it('is a clone, unless the same identity is asked for and is nowhere', async () => {
    const fake = fakeHost();
    await restore(fake, image, { name: 'a' });
    assert.notEqual(fake.host.guest('a').uuid, uuid);
    await restore(fake, image, { name: 'b', sameIdentity: true, paused: true });
    assert.deepEqual([fake.host.guest('b').uuid, fake.host.guest('b').state], [uuid, 'paused']);
    await assert.rejects(restore(fake, image, { name: 'c', sameIdentity: true }), code('IDENTITY_TAKEN'));
    await fake.host.destroy('b');
    await restore(fake, image, { name: 'c', sameIdentity: true });
    assert.deepEqual(
      fake.host.list().map(({ name }) => name),
      ['a', 'c'],
    );
    await fake.host.close();
  });

  it('gets its identity and name once, also when two ask at the same time', async () => {
    const fake = fakeHost();
    const both = await Promise.allSettled([
      restore(fake, image, { name: 'a', sameIdentity: true }),
      restore(fake, image, { name: 'b', sameIdentity: true }),
      restore(fake, image),
      restore(fake, image),
    ]);
    const failed = both.flatMap((each) => (each.status === 'rejected' ? [(each.reason as { code: string }).code] : []));
    assert.deepEqual(failed, ['IDENTITY_TAKEN', 'NAME_TAKEN']);
    await fake.host.close();
    assertEmpty(fake);
  });

  it('has the name of its image, or another that is asked for; a name that can be none is left', async () => {
    const fake = fakeHost();
    await restore(fake, image);
    await assert.rejects(restore(fake, image), code('NAME_TAKEN'));
    await restore(fake, image, { name: 'other' });
    await restore(fake, await written({ about: { name: '../../etc' } }));
    await restore(fake, await written({ about: { name: 7 } }));
    assert.deepEqual(
      fake.host.list().map(({ name }) => name),
      ['g', 'other', 'guest-1', 'guest-2'],
    );
    await fake.host.close();
  });

  it('whose ephemeral pages find no room has an empty pool in their place, and it is said', async () => {
    const roomy = fakeHost(8 * 2 ** 20);
    await roomy.host.create(choiceOf({ name: 'g', paused: true }));
    const tmem = new FakeTmem(roomy.driver.last);
    tmem.fill('persistent', 100);
    tmem.fill('ephemeral', 300);
    const path = join(directory.path, 'large.tmig');
    await roomy.host.save('g', saveOf({ path }), {});
    await roomy.host.close();
    const fake = fakeHost(2 ** 20);
    const { warnings, tmemPages } = await fake.host.restore({ ...CHOICE, path }, {});
    assert.match(warnings.join(), /ephemeral tmem pool 1 is empty/);
    assert.equal(tmemPages, 100);
    const there = new FakeTmem(fake.driver.last);
    there.check('persistent', 0, 100);
    assert.deepEqual(fake.host.guest('g').info().tmem, { pools: 2, pages: 100 });
    await fake.host.close();
    assertEmpty(fake);
  });
});

describe('T6: what an image asks of tmem', () => {
  it('is granted, clamped or refused by the host, and the result says so', async () => {
    const generous = fakeHost();
    const { guest: other } = (await restore(generous, image)) as RestoreResult;
    generous.host.setTmem({ guest: other.name, weight: 300, allowance: 0 });
    generous.host.authoriseTmem({ guest: other.name, uuid: UUID, authorised: true });
    const path = join(directory.path, 'asking.tmig');
    await generous.host.save(other.name, saveOf({ path }), {});
    await generous.host.close();
    const strict = fakeHost(4 * 2 ** 20, {
      weight: { most: 200, beyond: 'refuse' },
      allowance: { most: 50, beyond: 'clamp' },
      authorisations: 'none',
    });
    const { guest, tmemRequests } = await strict.host.restore({ ...CHOICE, path }, {});
    assert.deepEqual(tmemRequests, [
      { what: 'weight', asked: 300, granted: 100, verdict: 'refused' },
      { what: 'cap', asked: 0, granted: 0, verdict: 'granted' },
      { what: 'allowance', asked: 0, granted: 50, verdict: 'clamped' },
      { what: 'authorisation', asked: UUID, granted: false, verdict: 'refused' },
    ]);
    const [client] = strict.host.tmem().clients;
    assert.deepEqual([client.weight, client.cap, client.allowance, client.authorised], [100, 0, 50, []]);
    await strict.host.destroy(guest.name);
    assertEmpty(strict);
    const lines = restoreLines({ guest, pages: 1, tmemPages: 0, tmemRequests, warnings: [] });
    assert.deepEqual(lines.slice(2), [
      'tmem: weight 300 was asked for and refused: it has 100',
      'tmem: allowance none was asked for and clamped: it has 50',
      `tmem: this host does not authorise it for the shared pool ${UUID}`,
    ]);
  });

  it('is no way to more pages than the host allows: the image is refused', async () => {
    const fake = fakeHost(4 * 2 ** 20, { allowance: { most: 41, beyond: 'clamp' } });
    await assert.rejects(restore(fake, image), code('TMEM_NO_MEMORY'));
    assertEmpty(fake);
    await fake.host.close();
  });
});

describe('an image that is refused leaves nothing', () => {
  it('cut at any place', async () => {
    const seed = testSeed();
    const generator = random(`cuts ${seed}`);
    const small = await written({
      preamble: { domainType: 'emulated-tmem' },
      more: async (writer) => {
        const client = { compress: true, frozen: false, weight: 1, cap: 0, allowancePages: 0n, authorised: [] };
        await writer.tmemClient(client);
        const pool = {
          ephemeral: false,
          incarnation: 1n,
          pool: 0,
          shared: false,
          precompressed: false,
          pageSize: FAKE_PAGE,
        };
        const uuidOf = '00000000-0000-0000-0000-000000000000';
        await writer.tmemPool({ ...pool, objectIdBits: 192, uuid: uuidOf, pages: 1n });
        const bytes = generator.scramble(new Uint8Array(300));
        await writer.tmemPage(1n, new Uint32Array(6), 0, 1, 300, bytes);
      },
    });
    const fake = fakeHost();
    let tried = 0;
    // The end of the file needs nothing but its footer, which is read too.
    for (
      let end = 0;
      end < small.byteLength;
      end += end < 400 || end > small.byteLength - 200 ? 1 : 1 + generator.below(9)
    ) {
      const cut = fake.host.restore(CHOICE, {}, memorySource(small.subarray(0, end), 'cut', 1 + generator.below(2000)));
      await assert.rejects(
        cut,
        (error: Error & { code?: string }) => {
          assert.ok(
            error.code === 'TRUNCATED' || (end < 12 && error.code === 'NOT_AN_IMAGE'),
            `${end}: ${String(error)}`,
          );
          return true;
        },
        `cut at ${end}; replay: SEED=${seed} node --test test/unit/host/restoring.test.ts`,
      );
      assertEmpty(fake);
      fake.driver.made.length = 0;
      tried++;
    }
    assert.ok(tried > 500, String(tried));
    await restore(fake, small);
    await fake.host.close();
  });

  it('damaged at any place', async () => {
    const seed = testSeed();
    const generator = random(`damage ${seed}`);
    const fake = fakeHost();
    for (let i = 0; i < 150; i++) {
      const damaged = image.slice();
      const at = generator.below(image.byteLength);
      damaged[at] ^= 1 << generator.below(8);
      await assert.rejects(
        restore(fake, damaged),
        (error: Error & { code?: string }) => error.code !== undefined && error.code !== 'INTERNAL',
        `bit at ${at}; replay: SEED=${seed} node --test test/unit/host/restoring.test.ts`,
      );
      assertEmpty(fake);
      fake.driver.made.length = 0;
    }
  });

  const refusals: readonly [what: string, bytes: () => Promise<Uint8Array>, wanted: Parameters<typeof code>[0]][] = [
    ['of another driver', () => written({ about: { driver: { name: 'other', version: '1' } } }), 'DRIVER_VERSION'],
    ['whose devices are of another version', () => written({ device: { version: '2.0' } }), 'DRIVER_VERSION'],
    ['whose devices have another format', () => written({ device: { format: 'qemu' } }), 'DRIVER_VERSION'],
    [
      'with another fingerprint',
      () => written({ device: { fingerprint: new Uint8Array(32).fill(1) } }),
      'DEVICE_FINGERPRINT',
    ],
    ['whose device blob has another shape', () => written({ device: { bytes: new Uint8Array(8) } }), 'DEVICE_SHAPE'],
    ['whose device blob is too large', () => written({ device: { bytes: new Uint8Array(2000) } }), 'DEVICE_SHAPE'],
    ['without devices', () => written({ device: null }), 'DEVICE_MISSING'],
    ['with too little memory', () => written({ pages: 255 }), 'MEMORY_MISMATCH'],
    ['with too much memory', () => written({ pages: 257 }), 'MEMORY_MISMATCH'],
    ['that takes memory away', () => written({ more: (writer) => writer.absent(255, 1, 0x80) }), 'MEMORY_MISMATCH'],
    ['with larger pages', () => written({ preamble: { pageSize: 65_536 }, pages: 16 }), 'MEMORY_MISMATCH'],
    ['of a kind that does not run', () => written({ preamble: { kind: 'core' } }), 'IMAGE_UNFIT'],
    ['of another kind of domain', () => written({ preamble: { domainType: 'hvm' } }), 'IMAGE_UNFIT'],
    ['that does not say its memory', () => written({ about: { memory: null } }), 'IMAGE_UNFIT'],
    ['with more memory than can be', () => written({ about: { memory: { bytes: 2 ** 50 } } }), 'IMAGE_UNFIT'],
    ['that does not say its driver', () => written({ about: { driver: [] } }), 'IMAGE_UNFIT'],
    [
      'with an unknown mandatory record',
      () =>
        written({
          more: async (writer) => {
            await writer.dictionary({ record: 0x4001, name: 'com.example.clock', version: 1, text: '', schema: null });
            await writer.local(0x4001, false, new Uint8Array(8));
          },
        }),
      'UNKNOWN_RECORD',
    ],
    [
      'with a disk that the machine has not',
      () =>
        written({
          more: (writer) =>
            writer.disk({
              disk: 0,
              name: 'hda',
              policy: 'shared',
              readOnly: false,
              bytes: 4096n,
              sha256: null,
              format: 'raw',
              locator: '/d',
            }),
        }),
      'DISK_MISMATCH',
    ],
    ['of nothing', () => Promise.resolve(new Uint8Array(0)), 'TRUNCATED'],
    ['that is none', () => Promise.resolve(Buffer.alloc(5000, 'text ')), 'NOT_AN_IMAGE'],
  ];
  for (const [what, bytes, wanted] of refusals) {
    it(what, async () => {
      const fake = fakeHost();
      await assert.rejects(restore(fake, await bytes()), code(wanted));
      assertEmpty(fake);
      // The name is free again.
      await restore(fake, await written());
      assert.equal(fake.host.list()[0].name, 'g');
      await fake.host.close();
    });
  }

  it('an unknown mandatory record is named', async () => {
    const bytes = await written({
      more: async (writer) => {
        await writer.dictionary({ record: 0x4001, name: 'com.example.clock', version: 1, text: '', schema: null });
        await writer.local(0x4001, false, new Uint8Array(8));
      },
    });
    await assert.rejects(restore(fakeHost(), bytes), /com\.example\.clock/);
  });

  it('that does not describe a disk of the machine', async () => {
    const fake = fakeHost();
    fake.driver.disks = [
      { name: 'hda', policy: DISK_POLICY.inBlob, readOnly: false, bytes: 4096, digest: null, location: '' },
    ];
    await assert.rejects(restore(fake, await written()), code('DISK_MISMATCH'));
    assertEmpty(fake);
  });

  it('with tmem, where the host has none: before anything is made', async () => {
    const fake = fakeHost(0);
    await assert.rejects(restore(fake, image), code('TMEM_DISABLED'));
    assert.equal(fake.driver.made.length, 0);
    await restore(fake, await written());
    assert.equal(fake.host.list()[0].tmem, null);
  });

  it('with more persistent tmem than the host has room for', async () => {
    const roomy = fakeHost(8 * 2 ** 20);
    await roomy.host.create(choiceOf({ name: 'g', paused: true }));
    new FakeTmem(roomy.driver.last).fill('persistent', 400);
    const path = join(directory.path, 'full.tmig');
    await roomy.host.save('g', saveOf({ path }), {});
    const fake = fakeHost(2 ** 20);
    await assert.rejects(fake.host.restore({ ...CHOICE, path }, {}), code('TMEM_NO_MEMORY'));
    assertEmpty(fake);
  });

  it('the same identity of an image that says none', async () => {
    const fake = fakeHost();
    for (const wrong of [null, 'me', 5]) {
      const bytes = await written({ about: { uuid: wrong } });
      await assert.rejects(restore(fake, bytes, { sameIdentity: true }), code('IDENTITY_TAKEN'));
    }
    assertEmpty(fake);
  });

  it('from a file that there is not', async () => {
    const fake = fakeHost();
    await assert.rejects(fake.host.restore({ ...CHOICE, path: '/no/such' }, {}), code('READ_FAILED'));
    await assert.rejects(fake.host.restore({ ...CHOICE, path: directory.path }, {}), code('READ_FAILED'));
    assertEmpty(fake);
  });
});

describe('a restore that is ended', () => {
  /** The image, with a pause in the middle that never ends. */
  function stalling(onStall: () => unknown): ByteSource {
    const rest = memorySource(image);
    const closed = Promise.withResolvers<never>();
    closed.promise.catch(() => undefined);
    return {
      ...rest,
      size: null,
      random: null,
      async *pieces() {
        yield image.subarray(0, image.byteLength / 2);
        setImmediate(onStall);
        await closed.promise;
      },
      close: () => Promise.resolve(closed.reject(new Error('closed'))),
    };
  }

  it('while its pipe says nothing, leaves nothing', async () => {
    const fake = fakeHost();
    const cancel = new AbortController();
    const source = stalling(() => cancel.abort());
    await assert.rejects(fake.host.restore(CHOICE, { signal: cancel.signal }, source), code('CANCELLED'));
    assertEmpty(fake);
  });

  it('by the end of the host, leaves nothing, and the host waits for it', async () => {
    const fake = fakeHost();
    let closed: Promise<void> | undefined;
    const source = stalling(() => (closed = fake.host.close()));
    await assert.rejects(fake.host.restore(CHOICE, {}, source), code('CANCELLED'));
    await closed;
    assertEmpty(fake);
  });

  for (const step of ['loadPages', 'loadDeviceState', 'grant', 'resume'] as const) {
    it(`by the death of its machine at ${step}, leaves nothing`, async () => {
      const fake = fakeHost();
      fake.driver.prepare = (machine) => {
        machine.before = (operation) => {
          if (operation === step) machine.die('signal SIGKILL');
        };
      };
      await assert.rejects(restore(fake, image), code('GUEST_GONE'));
      assertEmpty(fake);
    });

    it(`by Ctrl-C at ${step}, leaves nothing, or a whole guest`, async () => {
      const fake = fakeHost();
      const cancel = new AbortController();
      fake.driver.prepare = (machine) => {
        machine.before = (operation) => {
          if (operation === step) cancel.abort();
        };
      };
      const ending = fake.host.restore(CHOICE, { signal: cancel.signal }, memorySource(image, 'image', 9999));
      if (step === 'grant' || step === 'resume') {
        await ending;
        assert.equal(fake.host.list().length, 1);
      } else {
        await assert.rejects(ending, code('CANCELLED'));
        assertEmpty(fake);
      }
    });

    it(`by the end of the host at ${step}, leaves nothing`, async () => {
      const fake = fakeHost();
      let closed: Promise<void> | undefined;
      fake.driver.prepare = (machine) => {
        machine.before = (operation) => {
          if (operation === step) closed ??= fake.host.close();
        };
      };
      await restore(fake, image).catch(code('CANCELLED'));
      await closed;
      assertEmpty(fake);
    });
  }
});

describe('a guest that is created', () => {
  it('and whose first step fails, leaves nothing', async () => {
    for (const step of ['grant', 'resume'] as const) {
      const fake = fakeHost();
      fake.driver.prepare = (machine) => {
        machine.before = (operation) => {
          if (operation === step) machine.die('signal SIGKILL');
        };
      };
      await assert.rejects(fake.host.create(choiceOf({ name: 'g' })), code('GUEST_GONE'));
      assertEmpty(fake);
    }
  });

  it('while the host ends, leaves nothing', async () => {
    const fake = fakeHost();
    let closed: Promise<void> | undefined;
    fake.driver.prepare = async () => {
      closed = fake.host.close();
      await new Promise((resolve) => setImmediate(resolve));
    };
    await assert.rejects(fake.host.create(choiceOf({ name: 'g' })), code('CANCELLED'));
    await closed;
    assertEmpty(fake);
    await assert.rejects(fake.host.create(choiceOf()), code('CANCELLED'));
  });
});
