import assert from 'node:assert/strict';
import { test } from 'node:test';

import { DiskBuffer, MemoryPages, type PageStore } from '../../support/v86/disk-buffer.ts';
import { random } from '../../support/random.ts';

const PAGE = 4096;
const byteLength = 64 * PAGE;

function fail(error: unknown): void {
  throw error as Error;
}

/** Answers in a later turn of the event loop, by turns sooner and later. */
class LaterPages implements PageStore {
  readonly pages = new MemoryPages();
  requests = 0;
  active = 0;

  async #wait(): Promise<void> {
    assert.equal(this.active++, 0, 'one request at a time');
    for (let i = this.requests++ % 3; i >= 0; i--) await new Promise(setImmediate);
    this.active--;
  }

  async read(page: number, into: Uint8Array): Promise<void> {
    await this.#wait();
    this.pages.read(page, into);
  }

  async write(page: number, content: Uint8Array): Promise<void> {
    await this.#wait();
    this.pages.write(page, content);
  }
}

test('it holds what a plain array would, whatever is written and read, at once and later', async () => {
  const seed = process.env['SEED'] ?? String(Date.now());
  const replay = `SEED=${seed} node --test test/unit/guests/disk-buffer.test.ts`;
  for (const store of [new MemoryPages(), new LaterPages()]) {
    const draw = random(seed);
    const model = new Uint8Array(byteLength);
    const disk = new DiskBuffer({ byteLength, store, onFailure: fail });
    let done = 0;
    for (let i = 0; i < 400; i++) {
      const sectors = 1 + draw.below(20);
      const start = draw.below(byteLength / 512 - sectors) * 512;
      if (draw.below(2) === 0) {
        const bytes = draw.scramble(new Uint8Array(sectors * 512));
        model.set(bytes, start);
        disk.set(start, bytes, () => done++);
        // v86 uses its buffer again.
        bytes.fill(0);
      } else {
        const expected = model.slice(start, start + sectors * 512);
        disk.get(start, sectors * 512, (bytes) => {
          assert.deepEqual(bytes, expected, replay);
          done++;
        });
      }
      if (store instanceof MemoryPages) assert.equal(done, i + 1, 'a store that answers at once is not waited for');
    }
    await disk.drained();
    assert.equal(done, 400, replay);
  }
});

test('what was never written is zero, and takes no memory', () => {
  const store = new MemoryPages(new Uint8Array(8 * PAGE));
  const disk = new DiskBuffer({ byteLength: 2 ** 40, store, onFailure: fail });
  let seen: Uint8Array | undefined;
  disk.get(2 ** 40 - 1024, 1024, (bytes) => {
    seen = bytes;
  });
  assert.deepEqual(seen, new Uint8Array(1024));
  assert.equal(store.heldBytes, 0);
  disk.set(2 ** 39, new Uint8Array(512).fill(1), () => {});
  assert.equal(store.heldBytes, 1024 * 1024);
});

test('a request that fails goes to onFailure, and the next ones are done', async () => {
  const wrong = new Error('no such page');
  for (const later of [false, true]) {
    const pages = new MemoryPages();
    const store: PageStore = {
      read: (page, into) => {
        if (page !== 3) return pages.read(page, into);
        if (later) return Promise.reject(wrong);
        throw wrong;
      },
      write: (page, content) => pages.write(page, content),
    };
    const failures: unknown[] = [];
    const disk = new DiskBuffer({ byteLength, store, onFailure: (error) => failures.push(error) });
    const done: string[] = [];
    disk.get(2 * PAGE, 2 * PAGE, () => done.push('failed'));
    disk.get(5 * PAGE, PAGE, () => done.push('next'));
    await disk.drained();
    assert.deepEqual(failures, [wrong]);
    assert.deepEqual(done, ['next']);
  }
});

test('its state is small, and one of another size is refused', () => {
  const disk = new DiskBuffer({ byteLength, store: new MemoryPages(), onFailure: fail });
  assert.deepEqual(disk.get_state(), [byteLength]);
  disk.set_state([byteLength]);
  assert.throws(() => disk.set_state([PAGE]), { code: 'FIELD_VALUE' });
  for (const wrong of [0, -PAGE, 100, Number.NaN, 2 ** 60]) {
    const make = (): DiskBuffer => new DiskBuffer({ byteLength: wrong, store: new MemoryPages(), onFailure: fail });
    assert.throws(make, { code: 'USAGE' });
  }
  assert.throws(() => disk.get(byteLength, 512, () => {}), { code: 'INTERNAL' });
  assert.throws(() => disk.set(100, new Uint8Array(512), () => {}), { code: 'INTERNAL' });
});
