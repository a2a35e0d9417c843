/** The queue of invalidations keeps its entries in blocks: beside a plain list, through many of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidationQueue } from '../../../src/tmem/invalidations.ts';
import { BATCH_HEAD_BYTES, INVALIDATE_ENTRY_BYTES } from '../../../src/tmem/page-batch.ts';

/** Where an entry has the index of its page (stream 10.4). */
const INDEX_AT = 24;

interface Entry {
  incarnation: number;
  index: number;
  step: number;
}

/** Index of each entry of a body. */
function indexesOf(body: Uint8Array): number[] {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const found: number[] = [];
  for (let at = BATCH_HEAD_BYTES; at < body.length; at += INVALIDATE_ENTRY_BYTES) {
    found.push(view.getUint32(at + INDEX_AT, true));
  }
  return found;
}

test('entries are taken in order, kept until they are acknowledged, and taken again after a cut', () => {
  const queue = new InvalidationQueue();
  const handle = new Uint32Array(7);
  const empty = queue.bytes;
  let waiting: Entry[] = [];
  let sent: Entry[] = [];
  let step = 0;
  let pushed = 0;
  const take = (): void => {
    const body = queue.take(++step, () => true);
    const { incarnation } = waiting[0];
    let count = waiting.findIndex((entry) => entry.incarnation !== incarnation);
    if (count === -1) count = waiting.length;
    const batch = waiting.splice(0, Math.min(count, 4096));
    assert.equal(queue.incarnation, incarnation);
    assert.deepEqual(
      indexesOf(body!),
      batch.map(({ index }) => index),
    );
    sent.push(...batch.map((entry) => ({ ...entry, step })));
  };
  // Runs of entries that end before, on and behind the ends of blocks.
  for (const [run, length] of [1, 510, 1, 1, 1023, 512, 5000, 3, 512, 700, 2048].entries()) {
    for (let i = 0; i < length; i++) {
      handle[6] = pushed++;
      queue.push(1, 2 ** 32 + run, handle);
      waiting.push({ incarnation: 2 ** 32 + run, index: handle[6], step: 0 });
    }
    assert.equal(queue.waiting, waiting.length);
    // 44 bytes for each, the rest of the first and the last block, and one to come.
    assert.ok(queue.bytes <= (waiting.length + sent.length) * 44 + 3 * empty, `${queue.bytes}`);
    if (run % 3 === 0) continue;
    take();
    if (waiting.length > 0) take();
    if (run % 2 === 0) {
      const acknowledged = step - 1;
      queue.acknowledge(acknowledged);
      sent = sent.filter((entry) => entry.step > acknowledged);
    }
    if (run % 4 === 1) {
      queue.resume();
      waiting = [...sent, ...waiting];
      sent = [];
    }
    assert.equal(queue.waiting, waiting.length);
  }
  while (waiting.length > 0) take();
  assert.equal(
    queue.take(++step, () => true),
    undefined,
  );
  queue.acknowledge(step);
  assert.equal(queue.waiting, 0);
  assert.equal(queue.bytes, empty, 'one block stays');
  handle[6] = 77;
  queue.push(1, 5, handle);
  assert.deepEqual(indexesOf(queue.take(++step, () => true)!), [77]);
});
