/**
 * Pages that the engine compressed (T5): they pass as they are to who knows their codec, and raw to who does not; what
 * the guest compressed itself passes as it is to everybody. Counted, between two hosts and through files.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { parse, restoreSchema } from '../../../../src/host/api.ts';
import type { HostTmem } from '../../../../src/host/host-tmem.ts';
import type { PoolStatistics } from '../../../../src/tmem/statistics.ts';
import { choiceOf, FakeTmem, saveOf, scratch } from '../../../support/host/fake-host.ts';
import { journaledHost, to, type JournaledHost } from '../../../support/host/two-hosts.ts';

const directory = scratch(after);
let hosts = 0;
let source: JournaledHost;
const others: JournaledHost[] = [];

/** Pages of each pool. What the guest compressed itself has 100 bytes for the first page, and one more for each. */
const PAGES = { compressible: 80, persistent: 30, precompressed: 50 } as const;
type Kind = keyof typeof PAGES;
const KINDS = Object.keys(PAGES) as Kind[];
const OPAQUE_BYTES = Array.from({ length: PAGES.precompressed }, (_, page) => 100 + page).reduce((sum, x) => sum + x);

let slots: Readonly<Record<Kind, number>>;

beforeEach(async () => {
  source = await journaledHost(join(directory.path, `${++hosts}`));
  await source.host.create(choiceOf({ name: 'one' }));
  const tmem = new FakeTmem(source.driver.last);
  slots = Object.fromEntries(KINDS.map((kind) => [kind, tmem.fill(kind, PAGES[kind])])) as Record<Kind, number>;
  const { compressedPuts } = source.tmem.statistics()!.clients[0];
  assert.equal(compressedPuts, PAGES.compressible, 'the pages are not what this is about');
});
afterEach(async () => {
  for (const host of [source, ...others.splice(0)]) await host.end();
});

async function destination(codecs?: readonly string[]): Promise<JournaledHost> {
  const speaks = codecs === undefined ? {} : { speaks: { codecs } };
  const host = await journaledHost(join(directory.path, `${++hosts}`), speaks);
  others.push(host);
  return host;
}

function calls(tmem: HostTmem): { readonly encodes: number; readonly decodes: number } {
  return tmem.statistics()!.codecCalls;
}

/** What a host's only client has in a pool. */
function pool(tmem: HostTmem, kind: Kind): PoolStatistics {
  return tmem.statistics()!.clients[0].pools.find(({ slot }) => slot === slots[kind])!;
}

/** Codec calls since something began. */
function counted(tmem: HostTmem): () => readonly [encodes: number, decodes: number] {
  const before = calls(tmem);
  return () => [calls(tmem).encodes - before.encodes, calls(tmem).decodes - before.decodes];
}

function checkAll({ driver }: { readonly driver: JournaledHost['driver'] }): void {
  const tmem = new FakeTmem(driver.last);
  for (const kind of KINDS) tmem.check(kind, slots[kind], PAGES[kind]);
}

describe('compressed pages of tmem', () => {
  for (const codec of ['raw', 'zstd'] as const) {
    it(`pass as they are to a host that knows their codec, memory in ${codec}`, async () => {
      const other = await destination();
      const stored = KINDS.map((kind) => pool(source.tmem, kind).storedBytes);
      const [here, there] = [counted(source.tmem), counted(other.tmem)];
      await source.host.migrations.migrate('one', to(other, { codec }));
      assert.deepEqual(here(), [0, 0]);
      // A peer's bytes are decoded once, to prove them; nothing is compressed again.
      assert.deepEqual(there(), [0, PAGES.compressible]);
      assert.deepEqual(
        KINDS.map((kind) => pool(other.tmem, kind).storedBytes),
        stored,
      );
      checkAll(other);
    });
  }

  it('are decoded once by the source for a host that does not know it, which takes them raw', async () => {
    const other = await destination(['raw', 'zstd']);
    const packed = pool(source.tmem, 'compressible').storedBytes;
    const opaque = pool(source.tmem, 'precompressed').storedBytes;
    const [here, there] = [counted(source.tmem), counted(other.tmem)];
    await source.host.migrations.migrate('one', to(other));
    assert.deepEqual(
      [here(), there()],
      [
        [0, PAGES.compressible],
        [0, 0],
      ],
    );
    assert.ok(pool(other.tmem, 'compressible').storedBytes > 4 * packed);
    // What the guest compressed itself is nobody's to unpack, and is known to all.
    const own = pool(other.tmem, 'precompressed');
    assert.deepEqual([own.precompressed, own.storedBytes], [true, opaque]);
    checkAll(other);
  });

  it('are held back for at their unpacked size there', async () => {
    const reserved = async (codecs?: readonly string[]): Promise<number> =>
      (await source.host.migrations.check('one', to(await destination(codecs)))).accepted!.reserved.tmemBytes;
    const [known, unknown] = [await reserved(), await reserved(['raw'])];
    assert.ok(unknown - known > PAGES.compressible * 3000, `${known}, ${unknown}`);
  });

  for (const live of [false, true]) {
    it(`pass as they are into a file and out of it, ${live ? 'in rounds' : 'as they were'}`, async () => {
      const path = join(directory.path, `${++hosts}.tmig`);
      const other = await destination();
      const [here, there] = [counted(source.tmem), counted(other.tmem)];
      await source.host.save('one', saveOf({ path, live, codec: 'zstd' }), {});
      assert.deepEqual(here(), [0, 0]);
      await other.host.restore(parse(restoreSchema, { path }), {});
      assert.deepEqual(there(), [0, PAGES.compressible]);
      assert.ok(pool(other.tmem, 'precompressed').storedBytes >= OPAQUE_BYTES);
      for (const kind of KINDS) {
        assert.equal(pool(other.tmem, kind).storedBytes, pool(source.tmem, kind).storedBytes, kind);
      }
      checkAll(other);
    });
  }
});
