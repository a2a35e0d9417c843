import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODEC } from '../../../src/codec/codec.ts';
import { HEADER_BYTES } from '../../../src/stream/record-header.ts';
import { bodyBytes, chunkBody, RecordRoom } from '../../../src/stream/record-parts.ts';

describe('records of parts', () => {
  it('stand one behind the other, and the padding is zero in memory that was used before', () => {
    const room = new RecordRoom();
    const first = room.join([new Uint8Array(64).fill(255)]);
    first.fill(255);
    room.giveBack(first);
    const second = room.join([Uint8Array.of(1, 2), Uint8Array.of(3)]);
    assert.equal(second.buffer, first.buffer);
    assert.deepEqual([...second.subarray(HEADER_BYTES)], [1, 2, 3, 0, 0, 0, 0, 0]);
  });

  it('that are made while another is on its way have memory of their own', () => {
    const room = new RecordRoom();
    room.giveBack(room.join([new Uint8Array(64)]));
    const one = room.join([Uint8Array.of(1)]);
    const other = room.join([Uint8Array.of(2)]);
    assert.notEqual(one.buffer, other.buffer);
    assert.equal(one[HEADER_BYTES], 1);
  });

  it('do not keep the memory of a large one', () => {
    const room = new RecordRoom();
    const large = room.join([new Uint8Array(3 * 1024 * 1024)]);
    room.giveBack(large);
    assert.notEqual(room.join([Uint8Array.of(1)]).buffer, large.buffer);
  });

  it('pack a chunk only where that makes it smaller', () => {
    const heads: [number, number][] = [];
    const headOf = (codec: number, stored: number): Uint8Array => {
      heads.push([codec, stored]);
      return new Uint8Array(8);
    };
    const even = new Uint8Array(1000).fill(7);
    const packed = chunkBody(even, CODEC.lz4, undefined, headOf);
    assert.ok(bodyBytes(packed) < 100);
    assert.deepEqual(heads.pop(), [CODEC.lz4, bodyBytes(packed) - 8]);
    const short = Uint8Array.of(1, 2, 3);
    assert.equal(chunkBody(short, CODEC.lz4, undefined, headOf)[1], short);
    assert.deepEqual(heads.pop(), [CODEC.raw, 3]);
    assert.equal(chunkBody(even, CODEC.raw, undefined, headOf)[1], even);
  });
});
