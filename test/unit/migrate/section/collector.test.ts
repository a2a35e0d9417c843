import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Collector } from '../../../../src/migrate/section/collector.ts';

const PAGE = 4096;

/** Pages that each have their number in every byte. */
function pages(count: number): Uint8Array {
  return Uint8Array.from({ length: count * PAGE }, (_, at) => Math.floor(at / PAGE) + 1);
}

function contents(collector: Collector): [number, number][] {
  const { pfns, bytes } = collector.batch();
  assert.equal(bytes.byteLength, pfns.length * PAGE);
  return [...pfns].map((pfn, i) => {
    const page = bytes.subarray(i * PAGE, (i + 1) * PAGE);
    assert.ok(
      page.every((byte) => byte === page[0]),
      `page ${pfn} is torn`,
    );
    return [pfn, page[0]];
  });
}

describe('a collector that lends', () => {
  test('hands out pages that stand one after the other where they are, over several views of them', () => {
    const source = pages(5);
    const collector = new Collector(PAGE, true);
    collector.begin(4, 4);
    collector.add(10, 2, source.subarray(PAGE), 0, true);
    collector.add(20, 2, source.subarray(3 * PAGE), 0, true);
    assert.equal(collector.batch().bytes.buffer, source.buffer);
    assert.deepEqual(contents(collector), [
      [10, 2],
      [11, 3],
      [20, 4],
      [21, 5],
    ]);
  });

  test('copies all of them when one does not stand behind the others', () => {
    const source = pages(5);
    const collector = new Collector(PAGE, true);
    collector.begin(4, 4);
    collector.add(1, 2, source, 0, true);
    collector.add(3, 1, source, 4 * PAGE, true);
    collector.add(4, 1, source, 2 * PAGE, true);
    assert.notEqual(collector.batch().bytes.buffer, source.buffer);
    assert.deepEqual(contents(collector), [
      [1, 1],
      [2, 2],
      [3, 5],
      [4, 3],
    ]);
  });

  test('copies all of them when a page is to be zero, or will be overwritten', () => {
    const source = pages(3);
    const collector = new Collector(PAGE, true);
    collector.begin(2, 3);
    collector.add(1, 1, source, 0, true);
    collector.addZero(2);
    collector.add(3, 1, source, PAGE, true);
    assert.deepEqual(contents(collector), [
      [1, 1],
      [2, 0],
      [3, 2],
    ]);
    const scratch = pages(1);
    collector.begin(2, 2);
    collector.add(5, 1, source, PAGE, true);
    collector.add(6, 1, scratch, 0, false);
    scratch.fill(99);
    assert.deepEqual(contents(collector), [
      [5, 2],
      [6, 1],
    ]);
  });

  test('has nothing of the batch before in an empty one', () => {
    const collector = new Collector(PAGE, true);
    collector.begin(1, 1);
    collector.add(1, 1, pages(1), 0, true);
    collector.begin(0, 0);
    assert.deepEqual(contents(collector), []);
  });
});

test('a collector that does not lend keeps nothing that others own', () => {
  const source = pages(2);
  const collector = new Collector(PAGE, false);
  collector.begin(2, 2);
  collector.add(7, 2, source, 0, true);
  source.fill(0);
  assert.deepEqual(contents(collector), [
    [7, 1],
    [8, 2],
  ]);
});
