/** What an operator sees and sets of a host's tmem. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { prometheusText } from '../../../src/host/tmem-prometheus.ts';
import { HostTmem } from '../../../src/host/host-tmem.ts';
import type { TmemSeat } from '../../../src/host/host-tmem.ts';
import { TransmigrateError } from '../../../src/errors.ts';

const MIB = 1024 * 1024;
const page = new Uint8Array(4096).fill(0x5a);

/** Asks for an operation of the hypercall (spec/hypercall.md 2). */
function ask(seat: TmemSeat, operation: number, pool: number, index = 0): number {
  const descriptor = new Uint8Array(64);
  const view = new DataView(descriptor.buffer);
  view.setUint32(0, operation, true);
  view.setUint32(12, pool, true);
  view.setUint32(40, index, true);
  return seat.service(descriptor, page);
}

const NEW_POOL = 1;
const PUT = 3;
const PERSISTENT = 0x0100_0001;
const EPHEMERAL = 0x0100_0000;

test('T1: settings hold for guests that have used tmem, and for those that have not', () => {
  const tmem = new HostTmem(16 * MIB, 1);
  const used = tmem.seat();
  const unused = tmem.seat();
  assert.equal(ask(used, NEW_POOL, PERSISTENT), 0);
  assert.equal(ask(used, PUT, 0, 1), 1);
  tmem.set([used.client, unused.client], { weight: 7, frozen: true });
  assert.deepEqual(
    tmem.statistics()!.clients.map(({ weight, frozen }) => [weight, frozen]),
    [
      [7, true],
      [7, true],
    ],
  );
  assert.equal(ask(used, PUT, 0, 2), -1000, 'a frozen guest puts no new page');
  tmem.set([used.client], { frozen: false });
  assert.equal(ask(used, PUT, 0, 2), 1);
  assert.equal(ask(unused, NEW_POOL, PERSISTENT), 0);
  assert.equal(ask(unused, PUT, 0, 1), -1000);
});

test('flushing frees ephemeral pages and never persistent ones', () => {
  const tmem = new HostTmem(16 * MIB, 1);
  const seat = tmem.seat();
  ask(seat, NEW_POOL, PERSISTENT);
  ask(seat, NEW_POOL, EPHEMERAL);
  for (let index = 0; index < 50; index++) for (const pool of [0, 1]) ask(seat, PUT, pool, index);
  const { freeableBytes } = tmem.statistics()!;
  assert.ok(freeableBytes > 0);
  const freed = tmem.flush(MIB);
  assert.ok(freed > 0 && freed <= freeableBytes, `${freed} of ${freeableBytes}`);
  const [client] = tmem.statistics()!.clients;
  assert.deepEqual([client.ephemeralPages, client.persistentPages], [0, 50]);
});

test('uuids are authorised and taken back, sixteen at most', () => {
  const tmem = new HostTmem(16 * MIB, 1);
  const { client } = tmem.seat();
  const uuid = (number: number): string => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;
  for (let number = 0; number < 16; number++) assert.ok(tmem.authorise(client, uuid(number), true));
  assert.throws(() => tmem.authorise(client, uuid(16), true), { code: 'USAGE' });
  assert.equal(tmem.authorise(client, uuid(3), false), true);
  assert.equal(tmem.authorise(client, uuid(3), false), false);
});

test('a host without tmem says so', () => {
  const tmem = new HostTmem(0, 1);
  assert.equal(tmem.statistics(), undefined);
  for (const asked of [() => tmem.seat(), () => tmem.set([1], {}), () => tmem.flush(1)]) {
    assert.throws(asked, (error) => error instanceof TransmigrateError && error.code === 'TMEM_DISABLED');
  }
});

test('metrics name guests, whatever they are called', () => {
  const tmem = new HostTmem(16 * MIB, 1);
  ask(tmem.seat(), NEW_POOL, PERSISTENT);
  const statistics = tmem.statistics()!;
  const text = prometheusText({
    ...statistics,
    clients: statistics.clients.map((client) => ({ ...client, guest: 'a"b\\c\nd' })),
  });
  assert.match(text, /^transmigrate_tmem_guest_weight\{guest="a\\"b\\\\c\\nd"\} 100$/m);
  for (const line of text.trimEnd().split('\n')) {
    assert.match(
      line,
      /^(?:# (?:HELP|TYPE) transmigrate_tmem_\w+ .+|transmigrate_tmem_\w+(?:\{guest="[^\n]*"\})? \d+)$/,
    );
  }
});

test('tmem replay tells a recording that differs from one that does not', () => {
  const command = fileURLToPath(new URL('../../../bin/transmigrate', import.meta.url));
  const recording = fileURLToPath(new URL('../../fixtures/tmem/e-save.4.3.4-cursorfix.jsonl.gz', import.meta.url));
  const replay = (...args: string[]) =>
    spawnSync(process.execPath, [command, 'tmem', 'replay', ...args], { encoding: 'utf8' });
  const { status, stdout } = replay('--json', recording);
  assert.equal(status, 0);
  const report = JSON.parse(stdout) as { ok: boolean; operations: number; differenceCount: number };
  assert.deepEqual([report.ok, report.operations, report.differenceCount], [true, 5828, 0]);
  assert.equal(replay('/nowhere/at-all.jsonl').status, 15);
  const refused = replay(command);
  assert.equal(refused.status, 10, 'what is no recording');
  assert.match(refused.stderr, /Line 1: .*\(JSON_INVALID in .*transmigrate\)/);
  const several = JSON.parse(replay('--json', recording, recording).stdout) as {
    ok: boolean;
    files: { ok: boolean }[];
  };
  assert.deepEqual([several.ok, several.files.map(({ ok }) => ok)], [true, [true, true]]);
});
