/** Bodies of records by themselves: each must end where it ends, and a writer refuses what a reader would. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteReader } from '../../../src/bytes/byte-reader.ts';
import { CODEC } from '../../../src/codec/codec.ts';
import { LIMITS } from '../../../src/stream/limits.ts';
import { TYPE } from '../../../src/stream/record-types.ts';
import * as control from '../../../src/stream/records/control.ts';
import * as device from '../../../src/stream/records/device.ts';
import { encodeDictionary } from '../../../src/stream/records/dictionary.ts';
import * as index from '../../../src/stream/records/index-records.ts';
import { decodeOrigin, encodeOriginHead } from '../../../src/stream/records/origin.ts';
import * as tmem from '../../../src/stream/records/tmem.ts';
import * as vcpu from '../../../src/stream/records/vcpu.ts';
import { random } from '../../support/random.ts';

const CHAINS = [1, 2].map((seed) => random(`chain ${seed}`).scramble(new Uint8Array(32)));
const DIGEST = random('digest').scramble(new Uint8Array(32));
const UUID = '01234567-89ab-cdef-fedc-ba9876543210';
const HUGE = 0xfedc_ba98_7654_3210n;

const COUNTS = {
  records: 1,
  ramPages: 2,
  ramZeroPages: 3,
  ramAbsentPages: 4,
  tmemPages: 5,
  tmemInvalidations: 6,
  deviceBytes: 2 ** 40 + 7,
};
const DEVICE = { device: 255, bytes: LIMITS.deviceBytes, fingerprint: DIGEST, sha256: CHAINS[0] };
const NAMES = { name: 'n'.repeat(255), format: 'f'.repeat(255), version: 'v'.repeat(255) };
const DISK = { disk: 255, policy: 'digest', readOnly: true, bytes: HUGE, sha256: DIGEST } as const;
const PLACES = { name: 'a', format: 'b', locator: 'l'.repeat(LIMITS.diskLocatorBytes) };
const CLIENT = { compress: true, frozen: false, weight: 1, cap: 2 ** 32 - 1, allowancePages: HUGE };
const POOL = {
  ephemeral: false,
  incarnation: HUGE,
  pool: 15,
  shared: true,
  precompressed: false,
  pageSize: 65_536,
  objectIdBits: 64,
  uuid: UUID,
  pages: 9n,
} as const;
const LEAF = { leaf: 1, subleaf: 2 ** 32 - 1, eax: 3, ebx: 4, ecx: 5, edx: 6 };
const MSR = { index: 0xc000_0080, flags: 1, value: HUGE };
const SEGMENT = { offset: 2 ** 45, entries: 1, kinds: 7, low: 3, high: 2 ** 52 - 1 };
const ENTRY = {
  offset: 2 ** 45,
  type: TYPE.tmemPages,
  pages: 3,
  incarnation: HUGE,
  low: 1n,
  high: HUGE,
  indexLow: 5,
  indexHigh: 2 ** 32 - 1,
};

const HANDLE: tmem.TmemHandle = { object: [1n, 2n, 3n], index: 4 };

function times<T>(count: number, item: T): T[] {
  return Array.from({ length: count }, () => item);
}

function joined(head: Uint8Array, rest: number): Uint8Array {
  const bytes = new Uint8Array(head.byteLength + rest).fill(0x5a);
  bytes.set(head);
  return bytes;
}

/** A body, how it is read, and what must come out. */
const BODIES: Record<string, [Uint8Array, (body: ByteReader) => unknown, unknown]> = {
  SEAL: [
    control.encodeSeal(3, 2 ** 40, CHAINS[0]),
    control.decodeSeal,
    { number: 3, offset: 2 ** 40, chain: CHAINS[0] },
  ],
  BARRIER: [
    control.encodeBarrier(2, CHAINS),
    (body) => control.decodeBarrier(body, 2),
    { kind: 'BARRIER', number: 2, chains: CHAINS },
  ],
  ROUND: [control.encodeRound(7), control.decodeRound, { kind: 'ROUND', round: 7 }],
  CHECKPOINT: [
    control.encodeCheckpoint(4, HUGE),
    control.decodeCheckpoint,
    { kind: 'CHECKPOINT', number: 4, guestTimeNs: HUGE },
  ],
  END: [
    control.encodeEnd(COUNTS, CHAINS),
    (body) => control.decodeEnd(body, 2),
    { kind: 'END', counts: COUNTS, chains: CHAINS },
  ],
  ACK: [
    control.encodeAck(1, 9, CHAINS[1]),
    (body) => control.decodeAck(body, 2),
    { kind: 'ACK', channel: 1, seal: 9, chain: CHAINS[1] },
  ],
  DEVICE: [device.encodeDevice({ ...DEVICE, ...NAMES }), device.decodeDevice, { kind: 'DEVICE', ...DEVICE, ...NAMES }],
  DEVICE_DATA: [
    joined(device.encodeDeviceDataHead(2, CODEC.lz4, 2 ** 29, LIMITS.chunkBytes, 3), 3),
    device.decodeDeviceData,
    {
      kind: 'DEVICE_DATA',
      device: 2,
      codec: CODEC.lz4,
      offset: 2 ** 29,
      bytes: LIMITS.chunkBytes,
      stored: joined(new Uint8Array(0), 3),
    },
  ],
  DISK: [device.encodeDisk({ ...DISK, ...PLACES }), device.decodeDisk, { kind: 'DISK', ...DISK, ...PLACES }],
  ORIGIN: [
    joined(encodeOriginHead(5, CODEC.raw, 4, 4, 'xen'), 4),
    decodeOrigin,
    { kind: 'ORIGIN', part: 5, codec: CODEC.raw, bytes: 4, stored: joined(new Uint8Array(0), 4), format: 'xen' },
  ],
  TMEM_CLIENT: [
    tmem.encodeTmemClient({ ...CLIENT, authorised: Array<string>(16).fill(UUID) }),
    tmem.decodeTmemClient,
    { kind: 'TMEM_CLIENT', ...CLIENT, authorised: Array<string>(16).fill(UUID) },
  ],
  TMEM_POOL: [
    tmem.encodeTmemPool(POOL),
    (body) => tmem.decodeTmemPool(body, TYPE.tmemPool),
    { kind: 'TMEM_POOL', ...POOL },
  ],
  X86_CPUID: [vcpu.encodeCpuid([LEAF, LEAF]), vcpu.decodeCpuid, { kind: 'X86_CPUID', leaves: [LEAF, LEAF] }],
  X86_MSR: [vcpu.encodeMsrs([MSR]), vcpu.decodeMsrs, { kind: 'X86_MSR', msrs: [MSR] }],
  INDEX: [index.encodeIndex([ENTRY, ENTRY]), index.decodeIndex, { kind: 'INDEX', entries: [ENTRY, ENTRY] }],
  INDEX_ROOT: [index.encodeIndexRoot([SEGMENT]), index.decodeIndexRoot, { kind: 'INDEX_ROOT', segments: [SEGMENT] }],
};

for (const [name, [body, decode, expected]] of Object.entries(BODIES)) {
  test(`${name}: what was written is read, and not a byte more or less`, () => {
    const read = (bytes: Uint8Array): unknown => decode(new ByteReader(bytes, 512, `record 7 (${name})`, '9'));
    const found = read(body) as object;
    assert.deepEqual({ ...found }, name === 'SEAL' ? { kind: 'SEAL', ...(expected as object) } : expected);
    const wrong = { code: 'LENGTH_MISMATCH', offset: 512 };
    assert.throws(() => read(joined(body, 1)), wrong, 'a byte more');
    assert.throws(() => read(body.subarray(0, -1)), wrong, 'a byte less');
  });
}

test('bodies that are kept are copies: the input may change', () => {
  for (const name of ['SEAL', 'BARRIER', 'END', 'ACK', 'DEVICE', 'DISK']) {
    const [body, decode, expected] = BODIES[name];
    const bytes = body.slice();
    const found = decode(new ByteReader(bytes, 0, name, '9')) as object;
    bytes.fill(0xee);
    assert.deepEqual({ ...found }, name === 'SEAL' ? { kind: 'SEAL', ...(expected as object) } : expected, name);
  }
});

test('a writer refuses a body that a reader would refuse', () => {
  const chain = CHAINS[0];
  const long = 'x'.repeat(256);
  const wrong: Record<string, () => unknown> = {
    'an ABOUT that is too large': () => control.encodeAbout({ text: 'x'.repeat(LIMITS.aboutBytes) }),
    'seventeen channels': () => control.encodeBarrier(1, Array<Uint8Array>(17).fill(chain)),
    'device 256': () => device.encodeDevice({ ...DEVICE, ...NAMES, device: 256 }),
    'a blob of more than 1 GiB': () => device.encodeDevice({ ...DEVICE, ...NAMES, bytes: LIMITS.deviceBytes + 1 }),
    'a long name of a device': () => device.encodeDevice({ ...DEVICE, ...NAMES, name: long }),
    'a long format of a device': () => device.encodeDevice({ ...DEVICE, ...NAMES, format: long }),
    'a long version of a device': () => device.encodeDevice({ ...DEVICE, ...NAMES, version: long }),
    'disk 256': () => device.encodeDisk({ ...DISK, ...PLACES, disk: 256 }),
    'a disk by digest without one': () => device.encodeDisk({ ...DISK, ...PLACES, sha256: null }),
    'a long locator': () => device.encodeDisk({ ...DISK, ...PLACES, locator: `${PLACES.locator}x` }),
    'a long format of an origin': () => encodeOriginHead(0, CODEC.raw, 1, 1, long),
    'seventeen authorised uuids': () => tmem.encodeTmemClient({ ...CLIENT, authorised: Array<string>(17).fill(UUID) }),
    'pool 16': () => tmem.encodeTmemPool({ ...POOL, pool: 16 }),
    'incarnation 0': () => tmem.encodeTmemPool({ ...POOL, incarnation: 0n }),
    'no handles': () => tmem.encodeTmemInvalidate(1n, 'pages', []),
    'handles for a pool': () => tmem.encodeTmemInvalidate(1n, 'pool', [{ object: [1n, 0n, 0n], index: 0 }]),
    'too many handles': () => tmem.encodeTmemInvalidate(1n, 'pages', times(LIMITS.tmemInvalidates + 1, HANDLE)),
    'vCPU 4096': () =>
      vcpu.encodeVcpuX86({
        vcpu: 4096,
        online: true,
        halted: false,
        registers: {},
        segments: null,
        gdtr: null,
        idtr: null,
      }),
    'too many leaves': () => vcpu.encodeCpuid(times(LIMITS.cpuidLeaves + 1, LEAF)),
    'too many MSRs': () => vcpu.encodeMsrs(times(LIMITS.msrs + 1, MSR)),
    'too many entries': () => index.encodeIndex(times(LIMITS.indexEntries + 1, ENTRY)),
  };
  for (const [what, encode] of Object.entries(wrong)) assert.throws(encode, RangeError, what);
  const deep = (depth: number): never => JSON.parse('{"a":'.repeat(depth) + '1' + '}'.repeat(depth)) as never;
  assert.throws(() => control.encodeAbout(deep(33)), { code: 'LIMIT_EXCEEDED' });
  const entry = { record: 0x4000, name: 'org.example.x', version: 1, text: null };
  assert.throws(() => encodeDictionary({ ...entry, schema: { fields: [{ name: 'a', type: 'u9' as 'u8' }] } }), {
    code: 'SCHEMA_INVALID',
  });
});

test('a writer takes what stands at a limit', () => {
  const empty = { online: false, halted: true, registers: {}, segments: null, gdtr: null, idtr: null };
  assert.equal(control.encodeAbout({ t: 'x'.repeat(LIMITS.aboutBytes - 8) }).byteLength, LIMITS.aboutBytes);
  assert.equal(vcpu.encodeVcpuX86({ ...empty, vcpu: 4095 }).byteLength, 512);
  assert.equal(vcpu.encodeCpuid(times(LIMITS.cpuidLeaves, LEAF)).byteLength, 8 + 24 * 4096);
  assert.equal(vcpu.encodeMsrs(times(LIMITS.msrs, MSR)).byteLength, 8 + 16 * 4096);
  assert.equal(index.encodeIndex(times(LIMITS.indexEntries, ENTRY)).byteLength, 8 + 48 * 4096);
  const handles = times(LIMITS.tmemInvalidates, HANDLE);
  assert.equal(tmem.encodeTmemInvalidate(1n, 'pages', handles).byteLength, 16 + 32 * 65_536);
});

test('S9: an invalidate names handles as they are; of an object there is no page index', () => {
  const handles: tmem.TmemHandle[] = [
    { object: [HUGE, 2n, 3n], index: 4 },
    { object: [5n, HUGE, 7n], index: 2 ** 32 - 1 },
    { object: [8n, 9n, HUGE], index: 0 },
  ];
  const pool = { kind: 'TMEM_POOL', ...POOL, objectIdBits: 192 } as const;
  for (const scope of ['pages', 'objects'] as const) {
    const body = tmem.encodeTmemInvalidate(HUGE, scope, handles);
    const read = new tmem.TmemInvalidate(new ByteReader(body, 0, 'i', '10.4'), pool);
    assert.equal(new DataView(body.buffer).getBigUint64(0, true), HUGE);
    assert.deepEqual([read.scope, read.count], [scope, 3]);
    for (const [i, { object, index: page }] of handles.entries()) {
      assert.deepEqual(
        [0, 1, 2].map((word) => read.objectWord(i, word)),
        object,
      );
      const halves = [0, 1, 2, 3, 4, 5].map((half) => read.objectHalf(i, half));
      const expected = object.flatMap((word) => [Number(word & 0xffff_ffffn), Number(word >> 32n)]);
      assert.deepEqual(halves, expected);
      assert.equal(read.index(i), scope === 'objects' ? 0 : page);
    }
    // What an object of 64 bits can't have, in any of its four upper halves.
    const narrow = { ...pool, objectIdBits: 64 } as const;
    for (const half of [2, 3, 4, 5]) {
      const one = tmem.encodeTmemInvalidate(1n, scope, [{ object: [HUGE, 0n, 0n], index: 0 }]);
      assert.equal(new tmem.TmemInvalidate(new ByteReader(one, 0, 'i', '10.4'), narrow).count, 1);
      one[16 + 4 * half] = 1;
      const reading = (): unknown => new tmem.TmemInvalidate(new ByteReader(one, 0, 'i', '10.4'), narrow);
      assert.throws(reading, { code: 'FIELD_VALUE', path: 'i/handles[0]' });
    }
  }
  const objects = tmem.encodeTmemInvalidate(1n, 'objects', handles);
  objects[16 + 32 + 24] = 1;
  assert.throws(() => new tmem.TmemInvalidate(new ByteReader(objects, 0, 'i', '10.4'), pool), {
    code: 'FIELD_VALUE',
    path: 'i/handles[1]',
  });
});
