import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GatheredSink } from '../../../src/io/gathered-sink.ts';
import { MemorySink } from '../../../src/io/memory.ts';
import { random } from '../../support/random.ts';

describe('a gathering sink', () => {
  it('hands on the same bytes, however they came', async () => {
    const numbers = random('gathered-sink');
    const bytes = numbers.scramble(new Uint8Array(9_000_000));
    const sink = new MemorySink();
    const gathered = new GatheredSink(sink);
    for (let at = 0; at < bytes.length;) {
      const part = bytes.slice(at, at + numbers.below(numbers.pick([100, 10_000, 3_000_000])));
      await gathered.write(part);
      // They are copied: what the caller does with them then is its own business.
      at += part.length;
      part.fill(0);
    }
    await gathered.end();
    assert.deepEqual(sink.bytes(), bytes);
  });

  it('has several blocks under way, and never the same one twice', async () => {
    const seen = new Set<Uint8Array>();
    let most = 0;
    const gathered = new GatheredSink({
      write: async (bytes) => {
        assert.equal(seen.has(bytes), false);
        seen.add(bytes);
        most = Math.max(most, seen.size);
        const first = bytes.slice();
        await new Promise((resolve) => setImmediate(resolve));
        assert.deepEqual(bytes, first);
        seen.delete(bytes);
      },
    });
    for (let i = 0; i < 20; i++) await gathered.write(new Uint8Array(700_000).fill(i));
    await gathered.end();
    assert.ok(most > 1, `${most} at most`);
    assert.ok(most <= 4, `${most} at most`);
  });

  it('fails with the error of the sink, at the latest when it ends', async () => {
    const failing = { write: () => Promise.reject(new Error('no room')) };
    const gathered = new GatheredSink(failing);
    await gathered.write(new Uint8Array(10));
    await assert.rejects(gathered.end(), /no room/);
    const long = new GatheredSink(failing);
    await assert.rejects(async () => {
      for (let i = 0; i < 100; i++) await long.write(new Uint8Array(1_000_000));
    }, /no room/);
  });
});
