import assert from 'node:assert/strict';
import { it } from 'node:test';
import { chargeOf, SLAB_BYTES, SlabStore } from '../../../src/tmem/slab-store.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const FAR = 1_000_000;

it('chunks keep their bytes while others come, go and are moved', () => {
  const number = testSeed();
  const seed = `replay: SEED=${number} node_modules/.bin/node --test test/unit/tmem/slab-store.test.ts`;
  const draw = random(number);
  const places = new Map<number, number>();
  const store = new SlabStore((owner, place) => void places.set(owner, place));
  const lengths = new Map<number, number>();
  const bytesOf = (owner: number, length: number): Uint8Array => new Uint8Array(length).fill(owner % 251);
  let charged = 0;
  for (let owner = 1; owner < 40_000; owner++) {
    const length = 1 + draw.below(4096);
    // As much as 4 MiB, in as many slabs and five more.
    while (charged + chargeOf(length) > 4 * SLAB_BYTES) {
      const old = draw.pick([...places.keys()].slice(0, 50));
      const out = new Uint8Array(lengths.get(old)!);
      store.read(places.get(old)!, out, 0, out.length);
      assert.deepEqual(out, bytesOf(old, out.length), `${seed}: owner ${old}`);
      store.free(places.get(old)!);
      charged -= chargeOf(out.length);
      places.delete(old);
    }
    const place = store.allocate(length, owner, 9);
    assert.notEqual(place, -1, `${seed}: no room at owner ${owner}`);
    store.write(place, bytesOf(owner, length), 0, length);
    places.set(owner, place);
    lengths.set(owner, length);
    charged += chargeOf(length);
    assert.ok(store.slabBytes <= 9 * SLAB_BYTES);
  }
  assert.equal(store.chunks, places.size);
  for (const [owner, place] of places) {
    const out = new Uint8Array(lengths.get(owner)!);
    store.read(place, out, 0, out.length);
    assert.deepEqual(out, bytesOf(owner, out.length), `${seed}: owner ${owner}`);
  }
  for (const place of places.values()) store.free(place);
  assert.equal(store.chunks, 0);
  assert.equal(store.slabBytes, SLAB_BYTES, 'one empty slab is kept');
});

it('slabs are given back and made again', () => {
  const store = new SlabStore(() => assert.fail('nothing needs to move'));
  for (let round = 0; round < 5; round++) {
    const places = Array.from({ length: 256 * 40 }, (_, i) => store.allocate(4096, i + 1, FAR));
    assert.equal(new Set(places).size, places.length);
    assert.equal(store.slabBytes, 40 * SLAB_BYTES);
    // Every other one first, so that slabs empty late and all together.
    for (let i = 0; i < places.length; i += 2) store.free(places[i]);
    assert.equal(store.slabBytes, 40 * SLAB_BYTES);
    for (let i = 1; i < places.length; i += 2) store.free(places[i]);
    assert.equal(store.slabBytes, SLAB_BYTES);
  }
});

it('there is no room beyond the slabs that may be', () => {
  const store = new SlabStore(() => undefined);
  let count = 0;
  while (store.allocate(4096, count + 1, 2) !== -1) count++;
  assert.equal(count, 512);
  assert.equal(store.allocate(64, 1, 2), -1);
});
