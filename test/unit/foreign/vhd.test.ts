import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import { endsAsVhd, openVhd } from '../../../src/foreign/vhd/vhd.ts';
import { memorySource } from '../../../src/io/memory.ts';
import { random } from '../../support/random.ts';
import { dynamicVhd, fixedVhd } from '../../support/vhd.ts';
import { testSeed } from '../../support/seed.ts';

const open = (bytes: Uint8Array): ReturnType<typeof openVhd> => openVhd(memorySource(bytes).random!);

/** Some blocks of noise, some of zeros, some with both. */
function disk(length: number): Uint8Array {
  const rng = random('disk');
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 700 + rng.below(90_000)) rng.scramble(bytes.subarray(at, at + rng.below(3000)));
  bytes.fill(0, Math.floor(length / 4), Math.floor(length / 2));
  return bytes;
}

function codeOf(error: unknown): string {
  assert.ok(error instanceof TransmigrateError, error instanceof Error ? error.stack : String(error));
  assert.ok(error.offset !== undefined);
  assert.match(error.section ?? '', /^foreign\/vhd \d/);
  return error.code;
}

test('the disk in a fixed and in a dynamic VHD, at any place', async () => {
  const bytes = disk(1_000_448);
  for (const [name, vhd] of Object.entries({
    fixed: fixedVhd(bytes),
    small: dynamicVhd(bytes, 65_536),
    sectors: dynamicVhd(bytes, 512),
    usual: dynamicVhd(bytes),
    cut: dynamicVhd(bytes, 65_536).slice(0, -512),
  })) {
    const view = await open(vhd);
    assert.equal(view.size, bytes.length, name);
    const all = new Uint8Array(bytes.length + 100).fill(7);
    assert.equal(await view.readAt(0, all), bytes.length);
    assert.ok(Buffer.from(all.subarray(0, bytes.length)).equals(bytes), name);
    assert.equal(all.at(-1), 7, 'what is not read is left alone');
    assert.equal(await view.readAt(bytes.length + 5, new Uint8Array(9)), 0);
    const rng = random(name);
    const reads = Array.from({ length: 60 }, async () => {
      const at = rng.below(bytes.length);
      const part = new Uint8Array(1 + rng.below(100_000));
      const found = await view.readAt(at, part);
      assert.ok(Buffer.from(part.subarray(0, found)).equals(bytes.subarray(at, at + found)), `${name} at ${at}`);
      assert.equal(found, Math.min(part.length, bytes.length - at));
    });
    await Promise.all(reads);
  }
  assert.equal(await endsAsVhd(memorySource(fixedVhd(bytes)).random!), true);
  assert.equal(await endsAsVhd(memorySource(bytes).random!), false);
});

test('what is no VHD, cannot be read, or lies', async () => {
  const bytes = disk(200_192);
  const good = dynamicVhd(bytes, 65_536);
  const of = (vhd: Uint8Array): Promise<string> => open(vhd).then(() => 'fine', codeOf);
  assert.equal(await of(bytes), 'NOT_AN_IMAGE');
  assert.equal(await of(new Uint8Array(3)), 'NOT_AN_IMAGE');
  assert.equal(await of(dynamicVhd(bytes, 65_536, 4)), 'UNSUPPORTED_FEATURE');
  assert.equal(await of(dynamicVhd(bytes, 65_536, 9)), 'FIELD_VALUE');
  assert.equal(await of(good.with(70, 1)), 'HEADER_CHECKSUM');
  assert.equal(await of(good.with(512 + 30, 1)), 'HEADER_CHECKSUM');
  assert.equal(await of(good.with(512, 1)), 'FIELD_VALUE');
  for (const end of [511, 600, 1535, 1537])
    assert.ok(['TRUNCATED', 'NOT_AN_IMAGE'].includes(await of(good.subarray(0, end))), `${end}`);
  assert.equal(await of(fixedVhd(bytes).subarray(100)), 'TRUNCATED');
  const lie = async (at: number, value: number): Promise<string> => {
    const changed = good.slice();
    const view = new DataView(changed.buffer);
    view.setUint32(at, value);
    const start = at < 512 ? 0 : 512;
    const [length, sumAt] = start === 0 ? [512, 64] : [1024, 36];
    view.setUint32(start + sumAt, 0);
    const sum = changed.subarray(start, start + length).reduce((total, byte) => total + byte, 0);
    view.setUint32(start + sumAt, ~sum);
    return of(changed);
  };
  assert.equal(await lie(12, 0x20000), 'UNSUPPORTED_VERSION');
  assert.equal(await lie(48, 0xffff_ffff), 'FIELD_VALUE');
  assert.equal(await lie(20, 0xffff_ffff), 'TRUNCATED');
  assert.equal(await lie(512 + 20, 0xffff_ffff), 'TRUNCATED');
  assert.equal(await lie(512 + 28, 0xffff_ffff), 'LIMIT_EXCEEDED');
  assert.equal(await lie(512 + 28, 1), 'LENGTH_MISMATCH');
  assert.equal(await lie(512 + 32, 0x1234), 'FIELD_VALUE');
  assert.equal(await lie(512 + 32, 0x8000_0000), 'LIMIT_EXCEEDED');
  const cut = await open(good.subarray(0, good.length - 100_000));
  assert.equal(await cut.readAt(0, new Uint8Array(bytes.length)).then(() => 'fine', codeOf), 'TRUNCATED');
});

test('random damage gives typed errors', async () => {
  const seed = testSeed();
  const rng = random(seed);
  const good = dynamicVhd(disk(200_192), 65_536);
  try {
    for (let run = 0; run < 300; run++) {
      const changed = good.slice();
      for (let n = 1 + rng.below(3); n > 0; n--) changed[rng.below(2200)] = rng.below(256);
      await open(changed)
        .then((view) => view.readAt(0, new Uint8Array(200_192)))
        .catch(codeOf);
    }
  } catch (error) {
    const replay = `SEED=${seed} node_modules/.bin/node --test test/unit/foreign/vhd.test.ts`;
    throw new Error(`seed ${seed}; replay: ${replay}`, { cause: error });
  }
});
