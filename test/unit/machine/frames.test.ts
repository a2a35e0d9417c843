import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { encodeFrame, FRAME, FrameReader, type Frame } from '../../../src/machine/v86/child/frames.ts';
import {
  decodeBatch,
  decodeConfig,
  decodeVcpus,
  encodeBatch,
  encodeConfig,
  encodeVcpus,
} from '../../../src/machine/v86/child/messages.ts';
import { random } from '../../support/random.ts';
import { testSeed } from '../../support/seed.ts';

describe('frames between the two halves', () => {
  it('come out as they went in, in pieces of any size', () => {
    const seed = testSeed();
    const source = random(seed);
    for (let trial = 0; trial < 50; trial++) {
      const sent = Array.from({ length: 1 + source.below(5) }, (_, id) => ({
        kind: source.pick([FRAME.request, FRAME.reply, FRAME.failure, FRAME.event]),
        id,
        json: { op: 'x'.repeat(source.below(100)), n: id },
        bytes: source.scramble(new Uint8Array(source.pick([0, 1, 17, 5000]))),
      }));
      const wire = Buffer.concat(
        sent.flatMap(({ kind, id, json, bytes }) =>
          encodeFrame(kind, id, json, [bytes.subarray(0, 3), bytes.subarray(3)]),
        ),
      );
      const found: Frame[] = [];
      const reader = new FrameReader((frame) => found.push(frame));
      for (let at = 0; at < wire.byteLength;) {
        const end = Math.min(wire.byteLength, at + 1 + source.below(source.pick([2, 40, 8000])));
        reader.feed(wire.subarray(at, end));
        at = end;
      }
      assert.deepEqual(found, sent, `SEED=${seed}`);
    }
  });

  it('come out as they went in where they are read to where they belong', () => {
    const seed = testSeed();
    const source = random(seed);
    for (let trial = 0; trial < 30; trial++) {
      const sent = Array.from({ length: 1 + source.below(5) }, (_, id) => ({
        kind: FRAME.reply,
        id,
        json: { n: id },
        bytes: source.scramble(new Uint8Array(source.pick([0, 17, 20_000, 70_001]))),
      }));
      const wire = Buffer.concat(sent.flatMap(({ kind, id, json, bytes }) => encodeFrame(kind, id, json, [bytes])));
      const given = new Uint8Array(20_000);
      const found: Frame[] = [];
      const reader = new FrameReader(
        (frame) => found.push({ ...frame, bytes: frame.bytes.slice() }),
        (id, bytes) => (id % 2 === 0 && bytes <= given.byteLength ? given.subarray(0, bytes) : null),
      );
      for (let at = 0; at < wire.byteLength;) {
        const room = reader.room();
        assert.ok(room.byteLength > 0);
        const length = Math.min(room.byteLength, wire.byteLength - at, 1 + source.below(source.pick([40, 100_000])));
        room.set(wire.subarray(at, at + length));
        reader.took(length);
        at += length;
      }
      assert.deepEqual(found, sent, `SEED=${seed}`);
    }
  });

  it('have their content where the receiver wants it', () => {
    const given = new Uint8Array(100);
    const asked: number[][] = [];
    const found: Frame[] = [];
    const reader = new FrameReader(
      (frame) => found.push(frame),
      (id, bytes) => {
        asked.push([id, bytes]);
        return given.subarray(0, bytes);
      },
    );
    reader.feed(Buffer.concat(encodeFrame(FRAME.reply, 7, {}, [Uint8Array.of(1, 2, 3)])));
    assert.deepEqual(asked, [[7, 3]]);
    assert.equal(found[0].bytes.buffer, given.buffer);
    assert.deepEqual([...given.subarray(0, 4)], [1, 2, 3, 0]);
  });

  it('that lie about their lengths are refused', () => {
    const good = Buffer.concat(encodeFrame(FRAME.event, 0, { name: 'halted' }));
    const with32 = (at: number, value: number): Buffer => {
      const bytes = Buffer.from(good);
      bytes.writeUInt32LE(value, at);
      return bytes;
    };
    for (const bytes of [with32(0, 3), with32(0, 0xffff_ffff), with32(12, 0), with32(12, 0x7fff_ffff)]) {
      assert.throws(() => new FrameReader(() => {}).feed(bytes), RangeError);
    }
    assert.throws(() => new FrameReader(() => {}).feed(with32(16, 0)), SyntaxError);
  });

  it('carry batches, configurations and processors', () => {
    const batch = { pfns: Uint32Array.of(1, 9), bytes: new Uint8Array(8192).fill(3) };
    const { json, bytes } = encodeBatch(batch);
    assert.deepEqual(decodeBatch(json, Uint8Array.from(Buffer.concat(bytes))), batch);

    const config = {
      memoryBytes: 1024 * 1024,
      disks: {
        hda: { policy: 'in-blob', bytes: 4096, content: Uint8Array.of(1, 2, 3) },
        hdb: { policy: 'read-only', path: 'x', digest: new Uint8Array(32).fill(9) },
      },
    } as const;
    const encoded = encodeConfig(config);
    const decoded = decodeConfig(encoded.json, Uint8Array.from(Buffer.concat(encoded.bytes)));
    assert.deepEqual(decoded.disks?.hda, { ...config.disks.hda, digest: new Uint8Array(0) });
    assert.deepEqual(decoded.disks?.hdb, { ...config.disks.hdb, content: new Uint8Array(0) });

    const vcpus = [
      {
        vcpu: 0,
        online: true,
        halted: false,
        registers: { rax: 0xffff_ffff_ffff_ffffn, rip: 0n },
        segments: { cs: { selector: 8, attributes: 0xc9b, limit: 0xffff_ffff, base: 5n } },
        gdtr: { base: 1n, limit: 2 },
        idtr: null,
        fxsave: new Uint8Array(512).fill(7),
      },
    ];
    assert.deepEqual(decodeVcpus(JSON.parse(JSON.stringify(encodeVcpus(vcpus)))), vcpus);
  });
});
