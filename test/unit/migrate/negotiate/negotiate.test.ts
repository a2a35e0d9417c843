import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { agree, NO_AGREEMENT } from '../../../../src/migrate/negotiate/agreement.ts';
import { commonOf, commonVersion, type Hello } from '../../../../src/migrate/negotiate/hello.ts';
import { judge, needOf, type HostCapability, type Probe } from '../../../../src/migrate/negotiate/judge.ts';
import { REASONS, type ReasonCode } from '../../../../src/migrate/negotiate/reasons.ts';
import { NOTHING_RESERVED, release, reserve, without } from '../../../../src/migrate/negotiate/reservations.ts';
import { encodeMessage, type MessageOf } from '../../../../src/migrate/protocol/messages.ts';
import { HOST, OFFER, PROBE, SHARED_UUID, SOURCE_IDENTITY, helloOf } from '../../../support/migration.ts';

type Offer = MessageOf<'OFFER'>;

function codes(offer: Offer, host: HostCapability = HOST, probe: Probe = PROBE, source = SOURCE_IDENTITY): string[] {
  return judge(offer, source, host, probe).map(({ code }) => code);
}

const tmem = OFFER.tmem!;
const hostTmem = HOST.tmem;
const NO_TMEM: HostCapability = { ...HOST, drivers: HOST.drivers.map((driver) => ({ ...driver, tmem: false })) };
const pool = tmem.pools[0];

/** Each refusal with what it is about changed, and nothing else (N1). */
const REFUSALS: Readonly<Record<Exclude<ReasonCode, 'PROTOCOL'>, readonly (() => string[])[]>> = {
  POLICY: [() => codes(OFFER, { ...HOST, closed: 'maintenance until noon' })],
  BUSY: [() => codes(OFFER, { ...HOST, freeReservations: 0 })],
  IDENTITY: [
    () => codes(OFFER, { ...HOST, machines: [OFFER.machine.uuid] }),
    () => codes(OFFER, HOST, PROBE, HOST.identity),
  ],
  NAME: [() => codes(OFFER, { ...HOST, names: ['one'] })],
  DRIVER: [() => codes({ ...OFFER, driver: { ...OFFER.driver, name: 'qemu' } })],
  DRIVER_VERSION: [() => codes({ ...OFFER, driver: { ...OFFER.driver, version: '0.5.100' } })],
  FINGERPRINT: [
    () => codes({ ...OFFER, driver: { ...OFFER.driver, fingerprint: 'e'.repeat(64) } }),
    () => codes(OFFER, HOST, { ...PROBE, fingerprint: null }),
  ],
  MEMORY: [() => codes(OFFER, { ...HOST, freeMemoryBytes: OFFER.memory.bytes })],
  PAGE_SIZE: [
    () => codes({ ...OFFER, memory: { ...OFFER.memory, pageBytes: 16_384 } }),
    () => codes({ ...OFFER, tmem: { ...tmem, pageBytes: 16_384 } }),
  ],
  CODEC: [() => codes({ ...OFFER, codec: 'lz5' })],
  RECORD: [() => codes({ ...OFFER, records: ['org.example.other'] })],
  DISK: [
    () => codes(OFFER, HOST, { ...PROBE, disks: ['hdb'] }),
    () => codes(OFFER, HOST, { ...PROBE, disks: ['hda'] }),
    () => codes(OFFER, { ...HOST, sharedDisks: false }),
  ],
  NO_TMEM: [() => codes(OFFER, NO_TMEM)],
  TMEM_DISABLED: [() => codes(OFFER, { ...HOST, tmem: { ...hostTmem, enabled: false } })],
  TMEM_BYTES: [
    () => codes(OFFER, { ...HOST, tmem: { ...hostTmem, freeBytes: 3_000_000 } }),
    // The pages are compressed in a codec that the host does not know: they need their unpacked size.
    () => codes(OFFER, { ...HOST, tmem: { ...hostTmem, freeBytes: 4_000_000, codecs: ['raw'] } }),
  ],
  POOL_SLOTS: [() => codes(OFFER, { ...HOST, tmem: { ...hostTmem, freeSlots: 0 } })],
  SHARED_POOL: [
    () => codes(OFFER, { ...HOST, tmem: { ...hostTmem, uuids: [SHARED_UUID] } }),
    () => codes({ ...OFFER, tmem: { ...tmem, pools: [{ ...pool, shared: true, sharers: 1 }] } }),
  ],
};

describe('an offer is judged as a whole (N1)', () => {
  test('a host that has everything takes it', () => assert.deepEqual(codes(OFFER), []));

  for (const [code, cases] of Object.entries(REFUSALS)) {
    for (const [at, found] of cases.entries()) {
      test(`${code}, ${at + 1}`, () => assert.deepEqual(found(), [code]));
    }
  }

  test('every reason of the table has a test', () => {
    assert.deepEqual([...Object.keys(REFUSALS), 'PROTOCOL'].toSorted(), Object.keys(REASONS).toSorted());
  });

  test('all reasons come in one answer, with what is needed and what there is', () => {
    const off = { ...hostTmem, enabled: false };
    const host = { ...HOST, names: ['one'], freeMemoryBytes: 5, drivers: [], codecs: [], tmem: off, closed: 'no' };
    const reasons = judge({ ...OFFER, records: ['x.y'] }, SOURCE_IDENTITY, host, { fingerprint: null, disks: [] });
    assert.deepEqual(
      reasons.map(({ code }) => code),
      ['POLICY', 'NAME', 'CODEC', 'RECORD', 'DRIVER', 'MEMORY', 'DISK', 'DISK', 'TMEM_DISABLED'],
    );
    const memory = reasons.find(({ code }) => code === 'MEMORY')!;
    assert.deepEqual([memory.needed, memory.found], [OFFER.memory.bytes + OFFER.deviceBytes, 5]);
    assert.equal(memory.text, REASONS.MEMORY);
  });

  test('what may be left out is no reason: ephemeral pages, a shared ephemeral pool that others share', () => {
    const large = { ...tmem, ephemeral: { pages: 1e9, bytes: 4e12 } };
    assert.deepEqual(codes({ ...OFFER, tmem: large }), []);
    const shared = { ...pool, persistent: false, shared: true, sharers: 3 };
    assert.deepEqual(codes({ ...OFFER, tmem: { ...tmem, pools: [shared] } }), []);
    assert.deepEqual(codes({ ...OFFER, tmem: null }, NO_TMEM), []);
  });
});

describe('what is reserved is no longer there (N2)', () => {
  const need = { ...needOf(OFFER, HOST), machine: OFFER.machine.uuid, uuids: [SHARED_UUID] };

  test('for another machine', () => {
    const held = reserve(NOTHING_RESERVED, '1', need);
    const other = { ...OFFER, machine: { uuid: '00000000-0000-4000-8000-000000000003', name: 'three' } };
    const host = { ...HOST, freeMemoryBytes: 24 * 2 ** 20, tmem: { ...hostTmem, freeBytes: 4 * 2 ** 20 } };
    assert.deepEqual(codes(other, host), []);
    assert.deepEqual(codes(other, without(host, held)), ['MEMORY', 'SHARED_POOL', 'TMEM_BYTES', 'POOL_SLOTS']);
    assert.deepEqual(codes(OFFER, without(HOST, held)), ['IDENTITY', 'NAME', 'SHARED_POOL', 'POOL_SLOTS']);
    assert.deepEqual(codes(OFFER, without(HOST, release(held, '1'))), []);
  });

  test('with a margin for what the guest goes on putting, by what its pages take here', () => {
    assert.equal(need.tmemBytes, 2_000_000 + 250_000 + 2 ** 20);
    const raw = { tmem: { ...hostTmem, codecs: [] } };
    assert.equal(needOf(OFFER, raw).tmemBytes, 4_096_000 + 512_000 + 2 ** 20);
  });

  test('no more than a host may hold, and one for a migration', () => {
    const held = reserve(NOTHING_RESERVED, '1', need);
    assert.throws(() => reserve(held, '1', need), /can be reserved/);
    assert.equal(without({ ...HOST, freeReservations: 64 }, held).freeReservations, 63);
  });
});

describe('two hosts (N3)', () => {
  const hello = (protocol: Hello['protocol'], more: Partial<Hello> = {}): Hello => ({
    kind: 'HELLO',
    id: '1'.repeat(32),
    purpose: 'migrate',
    leg: 1,
    ...helloOf(SOURCE_IDENTITY),
    protocol,
    ...more,
  });

  test('speak the highest version that both can, or the reason is named', () => {
    const version = (mine: Hello['protocol'], theirs: Hello['protocol']): unknown =>
      commonVersion(hello(mine), hello(theirs));
    assert.equal(version({ least: 1, most: 1 }, { least: 1, most: 3 }), 1);
    assert.equal(version({ least: 1, most: 3 }, { least: 1, most: 2 }), 2);
    assert.deepEqual(version({ least: 2, most: 3 }, { least: 1, most: 1 }), {
      code: 'PROTOCOL',
      text: REASONS.PROTOCOL,
      needed: { least: 1, most: 1 },
      found: { least: 2, most: 3 },
    });
  });

  test('have in common what both know, and the smaller of the limits', () => {
    const limits = { channels: 4, sealBytes: 2 ** 20, unacknowledgedSeals: 2 };
    const mine = hello({ least: 1, most: 1 }, { features: ['a', 'b'], codecs: ['zstd', 'raw'], limits });
    const theirs = hello({ least: 1, most: 1 }, { features: ['b', 'c'], codecs: ['raw'], resumable: false });
    assert.deepEqual(commonOf(mine, theirs, 1), {
      protocol: 1,
      features: ['b'],
      codecs: ['raw'],
      records: [],
      limits: { channels: 1, sealBytes: 2 ** 20, unacknowledgedSeals: 2 },
      resumable: false,
    });
  });
});

test('the hash of a negotiation depends on every byte, and on the order (H3)', () => {
  const offer = encodeMessage(OFFER);
  const hello = encodeMessage({
    kind: 'HELLO',
    id: '1'.repeat(32),
    purpose: 'migrate',
    leg: 1,
    ...helloOf(SOURCE_IDENTITY),
  });
  const both = agree(agree(NO_AGREEMENT, 'HELLO', hello), 'OFFER', offer);
  assert.match(both, /^[0-9a-f]{64}$/);
  assert.notEqual(agree(agree(NO_AGREEMENT, 'OFFER', offer), 'HELLO', hello), both);
  assert.notEqual(agree(NO_AGREEMENT, 'RESUME', hello), agree(NO_AGREEMENT, 'HELLO', hello));
  for (const at of [2, offer.byteLength - 1]) {
    const other = offer.slice();
    other[at] ^= 1;
    assert.notEqual(agree(agree(NO_AGREEMENT, 'HELLO', hello), 'OFFER', other), both);
  }
});
