import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Json } from '../../../src/bytes/bounded-json.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { joinSaveState, splitSaveState } from '../../../src/foreign/v86/memory.ts';
import { eflagsOf } from '../../../src/foreign/v86/registers.ts';
import { parseSaveState, writeSaveState } from '../../../src/foreign/v86/save-state.ts';
import { checkShape, shapeOf } from '../../../src/foreign/v86/shape.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

const MIB = 1024 * 1024;

/** A small state: 1 MiB of memory with pages 3 and 200, and a device. */
function sample(): Uint8Array {
  const tree: Json[] = Array.from({ length: 79 }, () => null);
  const array = (type: string, id: number): Json => ({ __state_type__: type, buffer_id: id });
  tree[0] = MIB;
  tree[39] = array('Int32Array', 0);
  tree[47] = [1, true, 'clock', array('Uint8Array', 1), null];
  tree[77] = array('Uint8Array', 2);
  tree[78] = array('Uint8Array', 3);
  const bitmap = new Uint8Array(32);
  bitmap[0] = 1 << 3;
  bitmap[25] = 1;
  const pages = new Uint8Array(8192).fill(7, 4096);
  return writeSaveState({ state: tree }, [new Uint8Array(32).fill(1), new Uint8Array(5).fill(2), pages, bitmap]);
}

function codeOf(action: () => unknown): string {
  try {
    action();
    return 'none';
  } catch (error) {
    if (error instanceof TransmigrateError) return error.code;
    throw error;
  }
}

/** The sample with its tree changed as text. */
function retold(change: (text: string) => string): Uint8Array {
  const bytes = sample();
  const view = new DataView(bytes.buffer);
  const length = view.getInt32(12, true);
  const text = change(new TextDecoder().decode(bytes.subarray(16, 16 + length)));
  const start = Math.ceil((16 + length) / 4) * 4;
  const head = new Uint8Array(Math.ceil((16 + text.length) / 4) * 4);
  head.set(bytes.subarray(0, 16));
  head.set(new TextEncoder().encode(text), 16);
  const result = new Uint8Array(head.byteLength + bytes.byteLength - start);
  result.set(head);
  result.set(bytes.subarray(start), head.byteLength);
  const out = new DataView(result.buffer);
  out.setInt32(8, result.byteLength, true);
  out.setInt32(12, text.length, true);
  return result;
}

describe('a state of v86', () => {
  it('is written as it was read', () => {
    const bytes = sample();
    const state = parseSaveState(bytes);
    assert.deepEqual(writeSaveState(state.info, state.contents), bytes);
  });

  it('splits into memory and devices, and joins again', () => {
    const bytes = sample();
    const { memory, devices } = splitSaveState(bytes);
    assert.equal(memory.memoryBytes, MIB);
    assert.equal(memory.packedPages, 2);
    assert.ok(devices.byteLength < bytes.byteLength - 8192);
    const { before, packedBytes, after } = joinSaveState(devices, memory.bitmap);
    const packed = bytes.subarray(memory.packedOffset, memory.packedOffset + packedBytes);
    assert.deepEqual(Buffer.concat([before, packed, after]), Buffer.from(bytes));
  });

  const refusals: [name: string, bytes: () => Uint8Array, code: string][] = [
    ['nothing', () => new Uint8Array(0), 'TRUNCATED'],
    ['another magic', () => sample().fill(0, 0, 1), 'NOT_AN_IMAGE'],
    [
      'one zstd frame',
      () => sample().fill(0, 0, 4).with(0, 0x28).with(1, 0xb5).with(2, 0x2f).with(3, 0xfd),
      'UNSUPPORTED_CODEC',
    ],
    ['another layout', () => sample().with(4, 7), 'UNSUPPORTED_VERSION'],
    ['a cut tree', () => sample().subarray(0, 100), 'TRUNCATED'],
    ['a cut buffer', () => sample().subarray(0, -4), 'TRUNCATED'],
    ['more than it says', () => Buffer.concat([sample(), new Uint8Array(4)]), 'TRAILING_DATA'],
    ['a huge tree', () => sample().with(15, 0x10), 'LIMIT_EXCEEDED'],
    ['a negative tree', () => sample().with(15, 0xff), 'LENGTH_MISMATCH'],
    ['no JSON', () => retold((text) => text.replace('{', '[')), 'JSON_INVALID'],
    ['no list of buffers', () => retold((text) => text.replace('buffer_infos', 'buffer_info')), 'FIELD_VALUE'],
    [
      'a buffer that nothing names',
      () => retold((text) => text.replace(/\{"__state_type__":"Int32Array","buffer_id":0\}/, 'null')),
      'FIELD_VALUE',
    ],
    ['a buffer named twice', () => retold((text) => text.replace('"buffer_id":1', '"buffer_id":0')), 'DUPLICATE'],
    [
      'a buffer that is not there',
      () => retold((text) => text.replace('"buffer_id":3', '"buffer_id":9')),
      'FIELD_VALUE',
    ],
    ['a fraction of a number', () => retold((text) => text.replace('"buffer_id":3', '"buffer_id":2.5')), 'FIELD_VALUE'],
    ['a strange array', () => retold((text) => text.replace('Int32Array', 'BigInt64Arra')), 'FIELD_VALUE'],
    ['an inherited name', () => retold((text) => text.replace('Int32Array', 'toString')), 'FIELD_VALUE'],
    [
      'an array that does not fit its bytes',
      () => retold((text) => text.replace('"Uint8Array","buffer_id":1', '"Float64Array","buffer_id":1')),
      'LENGTH_MISMATCH',
    ],
    ['overlapping buffers', () => retold((text) => text.replace('"offset":32', '"offset":28')), 'FIELD_VALUE'],
    [
      'deep nesting',
      () => retold((text) => text.replace('"clock"', `${'['.repeat(40)}${']'.repeat(40)}`)),
      'LIMIT_EXCEEDED',
    ],
  ];
  for (const [name, bytes, code] of refusals) {
    it(`is refused with ${name}`, () =>
      assert.equal(
        codeOf(() => parseSaveState(bytes())),
        code,
      ));
  }

  it('is refused when bitmap and pages differ', () => {
    const bytes = sample();
    bytes[bytes.byteLength - 32] |= 1;
    assert.equal(
      codeOf(() => splitSaveState(bytes)),
      'LENGTH_MISMATCH',
    );
    assert.equal(
      codeOf(() => splitSaveState(retold((text) => text.replace(`[${MIB},`, '[1,')))),
      'FIELD_VALUE',
    );
  });
});

describe('the shape of a state (M5)', () => {
  const shape = shapeOf(parseSaveState(sample()));
  const differing: [name: string, change: (text: string) => string, path: string][] = [
    ['a shorter list', (text) => text.replace('[1,true,', '[1,'), 'state[47]'],
    ['a list in the place of a number', (text) => text.replace('[1,true,', '[[],true,'), 'state[47][0]'],
    ['infinity', (text) => text.replace('[1,true,', '[1e999,true,'), 'state[47][0]'],
    ['a number in the place of nothing', (text) => text.replace(',null],', ',1],'), 'state[47][4]'],
    ['another name', (text) => text.replace('"clock"', '"clack"'), 'state[47][2]'],
    ['another type of array', (text) => text.replace('"Int32Array"', '"Uint32Array"'), 'state[39]'],
    ['another size of memory', (text) => text.replace(`[${MIB},`, `[${2 * MIB},`), 'state[0]'],
  ];
  it('is its own', () => checkShape(shape, parseSaveState(sample())));
  for (const [name, change, path] of differing) {
    it(`differs by ${name}`, () => {
      assert.throws(
        () => checkShape(shape, parseSaveState(retold(change))),
        (error) =>
          error instanceof TransmigrateError && error.code === 'DEVICE_SHAPE' && error.path === `v86 state/${path}`,
      );
    });
  }
  it('takes truth values for numbers, and null for what JSON cannot say', () => {
    checkShape(shape, parseSaveState(retold((text) => text.replace('[1,true,', '[false,null,'))));
  });
});

it('flags follow from operands and result as on a processor', () => {
  const seed = `flags ${testSeed()}`;
  const source = random(seed);
  for (let i = 0; i < 20_000; i++) {
    const size = source.pick([7, 15, 31]);
    const mask = size === 31 ? 0xffff_ffff : 2 ** (size + 1) - 1;
    const [a, b] = [
      source.pick([0, 1, mask, mask >>> 1, source.below(mask)]),
      source.pick([0, 1, mask, mask >>> 1, source.below(mask)]),
    ].map((n) => (n & mask) >>> 0);
    const subtracts = source.below(2) === 1;
    const exact = subtracts ? a - b : a + b;
    const result = (exact & mask) >>> 0;
    const top = 2 ** size;
    const signed = (n: number): number => (n >= top ? n - 2 * top : n);
    const wide = subtracts ? signed(a) - signed(b) : signed(a) + signed(b);
    const ones = (result & 0xff).toString(2).replaceAll('0', '').length;
    const expected =
      (exact < 0 || exact > mask ? 1 : 0) |
      (ones % 2 === 0 ? 4 : 0) |
      ((subtracts ? (a & 15) - (b & 15) < 0 : (a & 15) + (b & 15) > 15) ? 16 : 0) |
      (result === 0 ? 64 : 0) |
      (result >= top ? 128 : 0) |
      (wide !== signed(result) ? 2048 : 0);
    const changed = 0x8d5 | (subtracts ? 0x8000_0000 : 0);
    const found = eflagsOf({
      flags: 2,
      changed: changed | 0,
      lastOp1: a | 0,
      lastResult: result | 0,
      lastOpSize: size,
    });
    assert.equal(found, expected | 2, `${a} ${subtracts ? '-' : '+'} ${b} (${size}); SEED='${seed.slice(6)}'`);
  }
});
