import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { copyPages, DirtyScan, MemoryCopy, PAGE_BYTES, scatter } from '../../../src/machine/v86/pages.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const PAGES = 300;

function withSeed(action: (source: ReturnType<typeof random>, seed: string) => void): () => void {
  return () => {
    const seed = testSeed();
    action(random(seed), `SEED=${seed}`);
  };
}

/** What a receiver does with a step: pages come with content, or are known to be zero. */
function take(copy: Buffer, { dirty, zero }: ReturnType<DirtyScan['step']>): void {
  for (let i = 0; i < dirty.pfns.length; i++) {
    const bytes = dirty.bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
    assert.ok(bytes.some((byte) => byte !== 0));
  }
  scatter(copy, dirty);
  for (const pfn of zero) copy.fill(0, pfn * PAGE_BYTES, (pfn + 1) * PAGE_BYTES);
}

describe('rounds over memory (M2)', () => {
  it(
    'bring a copy to what memory is, whatever is written between the steps',
    withSeed((source, replay) => {
      for (let trial = 0; trial < 20; trial++) {
        const memory = Buffer.alloc(PAGES * PAGE_BYTES);
        const copy = Buffer.alloc(memory.byteLength);
        const scan = new DirtyScan(PAGES);
        const write = (): void => {
          for (let n = source.below(40); n > 0; n--) {
            const pfn = source.below(PAGES);
            const at = pfn * PAGE_BYTES;
            const kind = source.below(3);
            if (kind === 0) memory.fill(0, at, at + PAGE_BYTES);
            else memory[at + source.pick([0, 4095, source.below(PAGE_BYTES)])] = source.below(256);
          }
        };
        for (let round = 0; round < 4; round++) {
          for (let at = 0; at < PAGES;) {
            write();
            const step = scan.step(memory, at, 1 + source.below(100), 1 + source.below(20));
            assert.ok(step.next > at && step.next <= PAGES);
            // What was handed over stays as it was.
            const held = Buffer.from(step.dirty.bytes);
            write();
            if (source.below(8) === 0) scan.force(Uint32Array.of(source.below(PAGES), source.below(PAGES)));
            assert.ok(held.equals(step.dirty.bytes), replay);
            take(copy, step);
            at = step.next;
          }
        }
        for (let at = 0; at < PAGES;) {
          const step = scan.step(memory, at, PAGES, PAGES);
          take(copy, step);
          at = step.next;
        }
        assert.ok(copy.equals(memory), replay);
        const last = scan.step(memory, 0, PAGES, PAGES);
        assert.equal(last.dirty.pfns.length + last.zero.length, 0, replay);
      }
    }),
  );

  it('take what is marked once more, changed or not', () => {
    const memory = Buffer.alloc(PAGES * PAGE_BYTES, 1);
    const scan = new DirtyScan(PAGES);
    scan.step(memory, 0, PAGES, PAGES);
    scan.force(Uint32Array.of(3, 17, 299, 3));
    assert.deepEqual([...scan.step(memory, 0, 100, 1).dirty.pfns], [3]);
    assert.deepEqual([...scan.step(memory, 4, PAGES, PAGES).dirty.pfns], [17, 299]);
    assert.equal(scan.step(memory, 0, PAGES, PAGES).dirty.pfns.length, 0);
  });

  it('do not carry the content of pages that became zero, and count them as taken', () => {
    const memory = Buffer.alloc(PAGES * PAGE_BYTES, 1);
    const scan = new DirtyScan(PAGES);
    scan.step(memory, 0, PAGES, PAGES);
    memory.fill(0, 20 * PAGE_BYTES, 40 * PAGE_BYTES);
    memory[30 * PAGE_BYTES + 5] = 7;
    const some = scan.step(memory, 0, PAGES, 5);
    assert.deepEqual([...some.zero], [20, 21, 22, 23, 24]);
    assert.equal(some.dirty.bytes.byteLength, 0);
    assert.equal(some.next, 25);
    const rest = scan.step(memory, 25, PAGES, PAGES);
    assert.deepEqual([...rest.dirty.pfns], [30]);
    assert.equal(rest.zero.length, 14);
    // A page that was lost and is zero is told again.
    scan.force(Uint32Array.of(21));
    assert.deepEqual([...scan.step(memory, 0, PAGES, PAGES).zero], [21]);
  });
});

it('copies have the pages that are not zero, and are copies', () => {
  const memory = Buffer.alloc(PAGES * PAGE_BYTES);
  for (const pfn of [0, 15, 16, 17, 299]) memory[pfn * PAGE_BYTES + 4095] = pfn + 1;
  const { pfns, bytes } = copyPages(memory, 0, PAGES);
  assert.deepEqual([...pfns], [0, 15, 16, 17, 299]);
  memory.fill(9);
  assert.equal(bytes[4 * PAGE_BYTES + 4095], 300 & 0xff);
  assert.deepEqual([...copyPages(memory, 10, 2).pfns], [10, 11]);
  const back = Buffer.alloc(PAGES * PAGE_BYTES);
  scatter(back, { pfns, bytes });
  assert.equal(back[17 * PAGE_BYTES + 4095], 18);
});

it('a copy of all memory is not touched by what is written later', () => {
  const memory = Buffer.alloc(64 * PAGE_BYTES, 5);
  const copy = new MemoryCopy(memory.byteLength);
  assert.equal(copy.touch(PAGE_BYTES), true);
  copy.take(memory);
  memory.fill(6);
  assert.ok(copy.bytes.every((byte) => byte === 5));
});
