/** Packets of gdb's remote protocol, whole and in pieces, sound and hostile (spec/debug.md 4.1). */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  latin1,
  packet,
  PACKET_BYTES,
  PacketReader,
  textPacket,
  type Incoming,
} from '../../../../src/image/gdb/packet.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

function take(bytes: Uint8Array, pieceBytes = bytes.length): Incoming[] {
  const reader = new PacketReader();
  const found: Incoming[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) found.push(...reader.feed(bytes.slice(at, at + pieceBytes)));
  return found;
}

/** As short words: `OK` for a sound packet, `!OK` for another, `+ - ^C`. */
function words(bytes: Uint8Array): string[] {
  const names = { ack: '+', nak: '-', interrupt: '^C' };
  return take(bytes).map((one) =>
    one.kind === 'packet' ? `${one.sound ? '' : '!'}${text(one.content)}` : names[one.kind],
  );
}

it('is made as the manual of gdb shows', () => {
  assert.equal(text(textPacket('OK')), '$OK#9a');
  assert.equal(text(textPacket('')), '$#00');
  assert.equal(text(textPacket('a}$#*b')), '$a}]}\x04}\x03}\nb#25');
});

it('is read with what stands around it', () => {
  assert.deepEqual(words(latin1('+$g#67-\x03$m0,4#fd')), ['+', 'g', '-', '^C', 'm0,4']);
  assert.deepEqual(words(latin1('noise$OK#9A')), ['OK']);
  assert.deepEqual(words(latin1('$OK#9b$OK#9x$OK#9a')), ['!OK', '!OK', 'OK']);
  assert.deepEqual(words(latin1('$lost$OK#9a')), ['OK']);
  assert.deepEqual(words(latin1('$a}#de')), ['!a']);
});

it('that is too long is no good, and takes no more room', () => {
  const long = new Uint8Array(PACKET_BYTES + 1).fill(0x61);
  const [most] = take(packet(long.subarray(1)));
  assert.ok(most?.kind === 'packet' && most.sound && most.content.length === PACKET_BYTES);
  const [more] = take(packet(long));
  assert.ok(more?.kind === 'packet' && !more.sound && more.content.length === PACKET_BYTES);
});

it('comes back as it was, in pieces of any size; random bytes give the same however they are cut', () => {
  const seed = testSeed();
  const generator = random(`packets ${seed}`);
  for (let run = 0; run < 300; run++) {
    const content = generator.scramble(new Uint8Array(generator.below(60)));
    const sound = packet(content);
    for (const pieceBytes of [1, 3, sound.length]) {
      assert.deepEqual(take(sound, pieceBytes), [{ kind: 'packet', content, sound: true }], `SEED=${seed} run ${run}`);
    }
    const noise = Uint8Array.from({ length: 200 }, () =>
      generator.pick([...latin1('$$#}+-\x03ab0'), generator.below(256)]),
    );
    const whole = take(noise);
    for (const pieceBytes of [1, 7]) assert.deepEqual(take(noise, pieceBytes), whole, `SEED=${seed} run ${run}`);
  }
});
