/** S14: what may follow what on one of several channels (stream 14.1), by the rules alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TransmigrateError } from '../../../src/errors.ts';
import { OrderRules } from '../../../src/stream/order.ts';
import { decodePreamble, encodePreamble, readRawPreamble } from '../../../src/stream/preamble.ts';
import type { PreambleChoice } from '../../../src/stream/preamble.ts';
import { TYPE } from '../../../src/stream/record-types.ts';
import type { StreamRecord } from '../../../src/stream/records/record.ts';
import { TmemInvalidate, type TmemPool } from '../../../src/stream/records/tmem.ts';
import { encodeTmemInvalidate } from '../../../src/stream/records/tmem.ts';
import { ByteReader } from '../../../src/bytes/byte-reader.ts';
import { choice } from '../../support/streams.ts';

const POOL: TmemPool = {
  kind: 'TMEM_POOL',
  ephemeral: false,
  incarnation: 1n,
  pool: 0,
  shared: false,
  precompressed: false,
  pageSize: 4096,
  objectIdBits: 192,
  uuid: '00000000-0000-0000-0000-000000000000',
  pages: 0n,
};

function invalidate(whole: boolean): StreamRecord {
  const handles = whole ? [] : [{ object: [1n, 0n, 0n] as const, index: 0 }];
  const body = encodeTmemInvalidate(1n, whole ? 'pool' : 'pages', handles);
  return new TmemInvalidate(new ByteReader(body, 0, 'record', '10.4'), POOL);
}

/** Records by short names; numbers count up by themselves. */
class Script {
  readonly rules: OrderRules;
  #sequence = 0;
  #barriers = 0;
  #rounds = 0;
  #checkpoints = 0;

  constructor(changes: Partial<PreambleChoice> = {}) {
    const preamble = { kind: 'migration', indexed: false, channels: 2, ...changes } as const;
    this.rules = new OrderRules(decodePreamble(readRawPreamble(encodePreamble(choice(preamble)))));
  }

  #record(name: string): [number, StreamRecord] {
    const [what, argument = '0'] = name.split(' ');
    const at = Number(argument);
    const chain = new Uint8Array(32);
    const bytes = new Uint8Array(0);
    const table: Record<string, () => [number, unknown]> = {
      about: () => [TYPE.about, { kind: 'ABOUT', about: {} }],
      dictionary: () => [TYPE.dictionary, { kind: 'DICTIONARY', record: 0x4000 + at }],
      seal: () => [TYPE.seal, { kind: 'SEAL', number: 1, offset: 0, chain }],
      barrier: () => [TYPE.barrier, { kind: 'BARRIER', number: ++this.#barriers, chains: [] }],
      round: () => [TYPE.round, { kind: 'ROUND', round: this.#rounds++ }],
      checkpoint: () => [TYPE.checkpoint, { kind: 'CHECKPOINT', number: ++this.#checkpoints, guestTimeNs: 0n }],
      end: () => [TYPE.end, { kind: 'END', counts: {}, chains: [] }],
      ram: () => [TYPE.ram, { kind: 'RAM', pages: 1, low: 0, high: 0 }],
      vcpu: () => [TYPE.vcpuX86, { kind: 'VCPU_X86', vcpu: at }],
      state: () => [TYPE.vcpuState, { kind: 'VCPU_STATE', vcpu: at & 4095, state: 1 + (at >> 12), bytes }],
      cpuid: () => [TYPE.cpuid, { kind: 'X86_CPUID', leaves: [] }],
      device: () => [TYPE.device, { kind: 'DEVICE', device: at, bytes: 2 }],
      data: () => [TYPE.deviceData, { kind: 'DEVICE_DATA', device: 0, offset: at, bytes: 1 }],
      disk: () => [TYPE.disk, { kind: 'DISK', disk: at }],
      client: () => [TYPE.tmemClient, { kind: 'TMEM_CLIENT' }],
      pool: () => [TYPE.tmemPool, POOL],
      'pool-end': () => [TYPE.tmemInvalidate, invalidate(true)],
      flush: () => [TYPE.tmemInvalidate, invalidate(false)],
      origin: () => [TYPE.origin, { kind: 'ORIGIN', part: at }],
      ack: () => [TYPE.ack, { kind: 'ACK', channel: 0, seal: at, chain }],
      unknown: () => [0x8000_3000, { kind: 'UNKNOWN', dictionary: null, body: bytes }],
    };
    const [type, record] = table[what]();
    return [type, record as StreamRecord];
  }

  /** Takes records; the code of the first that is refused, or ''. */
  take(...names: string[]): string {
    for (const name of names) {
      const [type, record] = this.#record(name);
      const header = { type, length: 8, sequence: this.#sequence++, offset: 0, bodyChecksum: 0 };
      try {
        this.rules.checkHeader(header);
        this.rules.accept(header, record);
      } catch (error) {
        if (!(error instanceof TransmigrateError)) throw error;
        return error.code;
      }
    }
    return '';
  }
}

const MEETING = ['round', 'checkpoint', 'end', 'client', 'pool', 'pool-end'];
/** What may be sent at any time, and is no meeting. */
const OTHER = ['dictionary', 'ram', 'vcpu', 'state', 'cpuid', 'device', 'disk', 'flush', 'unknown', 'origin'];

/** A channel that has had one checkpoint and has a pool. */
function begun(): Script {
  const script = new Script();
  assert.equal(script.take('about', 'seal', 'barrier', 'client', 'pool', 'seal', 'barrier', 'checkpoint'), '');
  return script;
}

/** A channel that has had a checkpoint, and no tmem: its client and pool may still come. */
function young(): Script {
  const script = new Script();
  assert.equal(script.take('about', 'seal', 'barrier', 'checkpoint'), '');
  return script;
}

for (const name of MEETING) {
  const start = ['client', 'pool'].includes(name) ? young : begun;
  const first = name === 'pool' ? ['seal', 'barrier', 'client'] : [];
  test(`S14: at ${name} channels must have met`, () => {
    assert.equal(start().take(...first, 'seal', 'barrier', name), '', 'directly after the barrier');
    for (const other of OTHER) {
      const script = start();
      assert.equal(script.take(...first, 'seal', 'barrier'), '');
      assert.equal(script.take(other), '', other);
      assert.equal(script.take('seal', name), 'RECORD_ORDER', `${other} and a seal came between`);
    }
    // A checkpoint and END must follow a seal anyway; the others may follow anything but what ends a meeting.
    for (const other of ['checkpoint', 'end'].includes(name) ? [] : OTHER) {
      const script = start();
      assert.equal(script.take(...first, 'seal', 'barrier', other), '');
      assert.equal(script.take(name), 'RECORD_ORDER', `${other} came between`);
    }
    assert.equal(start().take('ram', 'seal', name), 'RECORD_ORDER', 'without a barrier');
  });
}

test('S14: meetings may follow each other, and END a checkpoint only with a barrier of its own', () => {
  assert.equal(young().take('seal', 'barrier', 'round', 'client', 'pool', 'round', 'pool-end', 'round'), '');
  assert.equal(begun().take('seal', 'barrier', 'round', 'flush', 'round'), 'RECORD_ORDER', 'a flush is no meeting');
  assert.equal(begun().take('seal', 'barrier', 'round', 'checkpoint'), 'RECORD_ORDER');
  assert.equal(begun().take('seal', 'barrier', 'checkpoint', 'round', 'pool-end', 'round'), '');
  assert.equal(begun().take('seal', 'end'), 'RECORD_ORDER');
  assert.equal(begun().take('seal', 'barrier', 'end', 'ram'), 'RECORD_ORDER');
  assert.equal(begun().take('barrier'), 'RECORD_ORDER', 'a barrier without its seal');
});

test('S14: one channel has no need to meet', () => {
  for (const name of ['round', 'client']) assert.equal(new Script({ channels: 1 }).take('about', 'ram', name), '');
  assert.equal(new Script({ channels: 1 }).take('about', 'ram', 'client', 'pool', 'ram', 'pool-end'), '');
});

test('S13: what came after a checkpoint and what did not', () => {
  const after = (...names: string[]): string => begun().take(...names, 'seal', 'barrier', 'end');
  for (const name of ['dictionary', 'unknown', 'origin']) assert.equal(after(name), '', name);
  for (const name of ['ram', 'vcpu', 'cpuid', 'disk', 'flush']) assert.equal(after(name), 'RECORD_ORDER', name);
  assert.equal(after('seal', 'barrier', 'round'), 'RECORD_ORDER', 'a round belongs to a machine, too');
  assert.equal(after('ram', 'seal', 'barrier', 'checkpoint'), '');
  assert.equal(new Script().take('about', 'seal', 'barrier', 'end'), 'NO_CHECKPOINT');
  assert.equal(new Script({ channels: 1 }).take('about', 'seal', 'checkpoint', 'seal', 'end'), '');
});

test('S3: states between two checkpoints are counted', () => {
  const script = new Script({ channels: 1 });
  assert.equal(script.take('about'), '');
  // Sealed now and then, so that only their number counts.
  for (let i = 0; i < 65_536; i++) {
    if (i % 4096 === 0) assert.equal(script.take('seal'), '');
    assert.equal(script.take(`state ${i}`), '', `state ${i}`);
  }
  assert.equal(script.take('vcpu 7'), 'LIMIT_EXCEEDED');
  const again = new Script({ channels: 1 });
  assert.equal(
    again.take('about', 'vcpu 1', 'state 1', 'cpuid', 'seal', 'checkpoint', 'vcpu 1', 'state 1', 'cpuid'),
    '',
  );
  for (const name of ['vcpu 1', 'state 1', 'cpuid']) {
    assert.equal(new Script({ channels: 1 }).take('about', name, name), 'DUPLICATE', name);
  }
});

test('S3: bindings are counted', () => {
  const script = new Script();
  assert.equal(script.take('about'), '');
  for (let i = 0; i < 256; i++) assert.equal(script.take(`dictionary ${i}`), '');
  assert.equal(script.take('dictionary 9'), 'DUPLICATE');
  assert.equal(script.take('dictionary 256'), 'LIMIT_EXCEEDED');
});

test('S14: in direction back there are acknowledgements, seals and an end', () => {
  const back = { channels: 1, direction: 'back' } as const;
  assert.equal(new Script(back).take('about', 'ack 1', 'ack 2', 'dictionary', 'unknown', 'seal', 'end'), '');
  assert.equal(new Script(back).take('about', 'ack 2', 'ack 2'), 'RECORD_ORDER');
  for (const name of ['ram', 'vcpu', 'round', 'disk', 'origin']) {
    assert.equal(new Script(back).take('about', name), 'RECORD_ORDER', name);
  }
  assert.equal(new Script({ channels: 1 }).take('about', 'ack 1'), 'RECORD_ORDER');
  assert.equal(new Script({ ...back, channels: 2 }).take('about', 'seal', 'end'), '', 'END meets without a barrier');
  assert.equal(new Script({ channel: 1 }).take('about', 'origin'), 'RECORD_ORDER');
  assert.equal(new Script({ kind: 'core', channels: 1 }).take('about', 'round'), 'RECORD_ORDER');
});

test('S11: a device’s data come in order, to its end, before a checkpoint', () => {
  const one = (...names: string[]): string => new Script({ channels: 1 }).take('about', ...names);
  assert.equal(one('device', 'data 0', 'data 1', 'seal', 'checkpoint'), '');
  assert.equal(one('device', 'data 0', 'seal', 'checkpoint'), 'RECORD_ORDER');
  assert.equal(one('data 0'), 'RECORD_ORDER');
  assert.equal(one('device', 'data 1'), 'RECORD_ORDER');
  assert.equal(one('device', 'data 0', 'data 0'), 'RECORD_ORDER');
  assert.equal(one('device', 'data 0', 'data 1', 'data 2'), 'RECORD_ORDER');
  assert.equal(one('disk 1', 'disk 2', 'disk 1'), 'DUPLICATE');
});

test('S5: bytes since the last seal', () => {
  const filled = new Script({ channels: 1 });
  filled.take('about', 'ram');
  assert.equal(filled.rules.unsealed, 64);
  filled.take('seal');
  assert.equal(filled.rules.unsealed, 0);
  filled.take('ram');
  assert.equal(filled.rules.unsealed, 32);
});
