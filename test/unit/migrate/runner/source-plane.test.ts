import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toHex } from '../../../../src/bytes/hex.ts';
import { Speaker } from '../../../../src/migrate/runner/conversation.ts';
import { SourcePlane } from '../../../../src/migrate/runner/source-plane.ts';
import { LiveDevices } from '../../../../src/migrate/section/live-devices.ts';
import { LiveMemory } from '../../../../src/migrate/section/live-memory.ts';
import { TYPE } from '../../../../src/stream/record-types.ts';
import { FakeMachine } from '../../../support/host/fake-machine.ts';

const PAGES = 600;

async function begun(): Promise<{ plane: SourcePlane; speaker: Speaker; seals: [number, string][] }> {
  const machine = new FakeMachine({ pages: PAGES, tmem: null }).fill('plane');
  const states = {
    memory: new LiveMemory(machine, () => 0),
    tmem: null,
    own: [],
    devices: new LiveDevices(machine, 8),
  };
  const plane = new SourcePlane(states, PAGES, 4096, () => 0);
  const seals: [number, string][] = [];
  const speaker = await Speaker.open(
    { write: () => Promise.resolve() },
    {
      kind: 'migration',
      byteOrder: 'little',
      wordBits: 32,
      domainType: 'emulated',
      machine: 3,
      pageSize: 4096,
      streamId: new Uint8Array(16),
    },
    {},
    {
      onSeal: (seal, chain) => {
        seals.push([seal, toHex(chain)]);
        plane.sealed(seal, chain);
      },
    },
  );
  plane.attach(speaker);
  return { plane, speaker, seals };
}

/** Whether a promise is settled after everything that can happen by itself. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  const set = (): void => void (done = true);
  promise.then(set, set);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  return done;
}

test('a round has ended when the destination has applied all of it', async () => {
  const { plane, seals } = await begun();
  await plane.work('ram', 1024);
  await plane.seal();
  const ended = plane.endRound();
  assert.equal(await settled(ended), false);
  assert.equal(seals.length, 2);
  plane.acknowledge(...seals[0]);
  assert.equal(await settled(ended), false, 'one of two');
  plane.acknowledge(...seals[1]);
  assert.equal(await settled(ended), true);
  await plane.end();
});

test('nobody waits for acknowledgements of a connection that is lost, or of a migration that is over', async () => {
  const { plane, speaker } = await begun();
  const lost = plane.endRound();
  assert.equal(await settled(lost), false);
  plane.attach(speaker);
  assert.equal(await settled(lost), true);
  const over = plane.endRound();
  assert.equal(await settled(over), false);
  await plane.end();
  assert.equal(await settled(over), true);
});

test('bytes that a SEAL sends are told with the next piece of work', async () => {
  const { plane, speaker, seals } = await begun();
  let told = 0;
  let behind = false;
  for (let left = 1; left > 0;) {
    const done = await plane.work('ram', 256 * 1024);
    told += done.bytes;
    left = done.left.ram;
    const before = speaker.writer.bytesOf([TYPE.ram]);
    assert.equal(told, before);
    await plane.seal();
    behind ||= speaker.writer.bytesOf([TYPE.ram]) > before;
    plane.acknowledge(...seals.at(-1)!);
  }
  assert.ok(behind, 'a SEAL has sent what was held back');
  const ended = plane.endRound();
  await settled(ended);
  plane.acknowledge(...seals.at(-1)!);
  await ended;
  told += (await plane.work('ram', 1)).bytes;
  assert.equal(told, speaker.writer.bytesOf([TYPE.ram]));
  await plane.end();
});
