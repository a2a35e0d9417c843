/** Searching memory, against a search that is slow and plain (spec/debug.md 3.2). */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { findBytes, foundAddress } from '../../../../src/image/memory/find.ts';
import type { ImageMemory } from '../../../../src/image/open/opened-image.ts';
import { FakeMemory, PAGE } from '../../../support/image/fake-image.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

/** The same memory, in batches of other sizes. */
function inBatches(memory: FakeMemory, batchPages: number): ImageMemory {
  return new Proxy(memory, {
    get: (target, key) =>
      key === 'batches'
        ? (options: { firstPfn?: number }) => target.batches({ ...options, batchPages })
        : (Reflect.get(target, key) as unknown),
  });
}

async function find(memory: ImageMemory, pattern: Uint8Array, from?: bigint): Promise<bigint[]> {
  const found: bigint[] = [];
  for await (const { firstPfn, offsets } of findBytes(memory, pattern, from === undefined ? {} : { from })) {
    for (const offset of offsets) found.push(foundAddress(memory, firstPfn, offset));
  }
  return found;
}

/** Byte by byte, in each run of pages that follow each other. */
function plainFind(memory: FakeMemory, pattern: Uint8Array, from: bigint): bigint[] {
  const found: bigint[] = [];
  const byteAt = (address: number): number | undefined =>
    memory.content.get(Math.floor(address / PAGE))?.[address % PAGE];
  for (const pfn of [...memory.content.keys()].sort((a, b) => a - b)) {
    for (let address = pfn * PAGE; address < (pfn + 1) * PAGE; address++) {
      if (BigInt(address) >= from && pattern.every((byte, i) => byteAt(address + i) === byte)) {
        found.push(BigInt(address));
      }
    }
  }
  return found;
}

it('finds what a plain search finds, in pages of few different bytes and in batches of any size', async () => {
  const seed = testSeed();
  const generator = random(`find ${seed}`);
  for (let run = 0; run < 60; run++) {
    const memory = new FakeMemory();
    for (const pfn of [0, 1, 2, 4, 5, 9]) {
      const page = memory.page(pfn);
      // Mostly zeros, as memory is; and edges that are likely to match.
      for (let i = 0; i < 40; i++) page[generator.below(PAGE)] = generator.below(3);
      for (let i = 0; i < 8; i++) page[generator.pick([i, PAGE - 1 - i])] = generator.below(3);
    }
    const pattern = Uint8Array.from({ length: 1 + generator.below(6) }, () => generator.below(3));
    const from = BigInt(generator.pick([0, 1, 5, PAGE - 1, PAGE, 2 * PAGE - 3, generator.below(10 * PAGE)]));
    const expected = plainFind(memory, pattern, from);
    for (const batch of [1, 2, 512]) {
      const found = await find(inBatches(memory, batch), pattern, from);
      assert.deepEqual(found, expected, `SEED=${seed} run ${run} batch ${batch}`);
    }
  }
});

it('finds a pattern of a whole page over two pages, but not over a gap', async () => {
  const memory = new FakeMemory();
  const bytes = random('long pattern').scramble(new Uint8Array(PAGE));
  memory.put(3 * PAGE + 17, bytes);
  assert.deepEqual(await find(memory, bytes), [3n * 4096n + 17n]);
  memory.content.set(7, memory.page(4));
  memory.content.delete(4);
  assert.deepEqual(await find(memory, bytes), []);
});

it('finds at addresses that are no exact numbers any more', async () => {
  const memory = new FakeMemory();
  memory.page(2 ** 51).set([1, 2, 3], PAGE - 3);
  assert.deepEqual(await find(memory, Uint8Array.of(1, 2, 3)), [2n ** 63n + 4093n]);
});

it('refuses patterns that are empty or too long, and can be cancelled', async () => {
  const memory = new FakeMemory();
  memory.page(0);
  await assert.rejects(find(memory, new Uint8Array(0)), { code: 'USAGE' });
  await assert.rejects(find(memory, new Uint8Array(PAGE + 1)), { code: 'USAGE' });
  const search = findBytes(memory, Uint8Array.of(0), { signal: AbortSignal.abort() });
  await assert.rejects(search.next(), { code: 'CANCELLED' });
});
