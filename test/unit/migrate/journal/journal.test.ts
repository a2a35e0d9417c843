import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TransmigrateError, type ErrorCode } from '../../../../src/errors.ts';
import {
  encodeEntry,
  JOURNAL_HEAD_BYTES,
  JOURNAL_LIMITS,
  journalHead,
  readJournal,
  type JournalEnd,
} from '../../../../src/migrate/journal/entries.ts';
import { compact, recover } from '../../../../src/migrate/journal/recover.ts';
import type { JournalRecord } from '../../../../src/migrate/journal/records.ts';
import { random } from '../../../support/random.ts';

const HOST = { kind: 'HOST', identity: 'a'.repeat(32) } as const;
const MACHINE = '00000000-0000-4000-8000-000000000001';

function owned(
  kind: Extract<JournalRecord, { by: unknown }>['kind'],
  id: number,
  epoch: number,
  by: 'protocol' | 'operator' = 'protocol',
): JournalRecord {
  const side = kind === 'RUNNING' || kind === 'ABANDONED' ? 'destination' : 'source';
  return { kind, side, id: String(id).padStart(32, '0'), machine: MACHINE, epoch, peer: 'b'.repeat(32), by };
}

interface Written {
  readonly bytes: Uint8Array;
  /** Where each entry begins, and the end. */
  readonly places: readonly number[];
}

/** A journal whose first entries were synced. */
function write(records: readonly JournalRecord[], synced = records.length): Written {
  const head = journalHead();
  const pieces = [head.bytes];
  const places: number[] = [];
  let end: JournalEnd = { ...head.end, durable: head.end.length };
  for (const [at, record] of records.entries()) {
    places.push(end.length);
    const entry = encodeEntry(record, end);
    pieces.push(entry.bytes);
    end = at < synced ? { length: entry.end.length, durable: entry.end.length } : entry.end;
  }
  return { bytes: new Uint8Array(Buffer.concat(pieces)), places: [...places, end.length] };
}

function throws(code: ErrorCode, what: () => unknown): void {
  assert.throws(what, (error) => error instanceof TransmigrateError && error.code === code);
}

const RECORDS = [HOST, owned('BEGUN', 1, 2), owned('GIVEN', 1, 2), owned('DONE', 1, 2)];

describe('a journal (H4)', () => {
  test('holds what was written, in order', () => {
    const { bytes } = write(RECORDS);
    assert.deepEqual(readJournal(bytes), {
      records: RECORDS,
      end: { length: bytes.byteLength, durable: bytes.byteLength },
      torn: 0,
    });
  });

  test('cut anywhere it holds the entries that are whole', () => {
    const { bytes, places } = write(RECORDS);
    for (let length = 0; length <= bytes.byteLength; length++) {
      const whole = places.slice(1).filter((end) => end <= length).length;
      const content = readJournal(bytes.subarray(0, length));
      assert.deepEqual(content.records, RECORDS.slice(0, whole), `cut at ${length}`);
      assert.equal(content.end.length + content.torn, length);
    }
  });

  test('entries that were not synced may be lost or torn in any order', () => {
    const generator = random('journal torn');
    for (let run = 0; run < 500; run++) {
      const synced = 1 + generator.below(3);
      const { bytes, places } = write(RECORDS, synced);
      // The first that is hit is one that nothing was done because of; those behind it may be whole.
      const hit = synced + generator.below(RECORDS.length - synced);
      const from = places[hit] + generator.below(places[hit + 1] - places[hit]);
      const end = from + 1 + generator.below(places[hit + 1] - from);
      bytes.fill(generator.pick([0, 0xff]), from, end);
      const { records } = readJournal(bytes);
      assert.ok(records.length >= synced, `${records.length} of ${synced}`);
      assert.deepEqual(records, RECORDS.slice(0, records.length));
    }
  });

  test('an entry that was on the disk and is not whole is damage, at every bit', () => {
    const { bytes, places } = write(RECORDS);
    for (let at = 0; at < places.at(-2)!; at++) {
      const copy = bytes.slice();
      copy[at] ^= 1 << (at & 7);
      throws('JOURNAL_DAMAGED', () => readJournal(copy));
    }
  });

  test('an entry is none in another place', () => {
    const { bytes, places } = write(RECORDS, 0);
    const moved = new Uint8Array([...bytes.subarray(0, places[1]), ...bytes.subarray(places[2])]);
    assert.deepEqual(readJournal(moved).records, RECORDS.slice(0, 1));
  });

  test('what this build can’t read is refused by name', () => {
    const head = journalHead();
    const future = encodeEntry({ ...HOST, kind: 'SOMETHING' } as unknown as JournalRecord, head.end);
    throws('FIELD_VALUE', () => readJournal(new Uint8Array([...head.bytes, ...future.bytes])));
    throws('JOURNAL_DAMAGED', () => readJournal(new Uint8Array(JOURNAL_LIMITS.bytes + 8)));
    assert.throws(() => encodeEntry(HOST, { length: JOURNAL_LIMITS.bytes, durable: 0 }), RangeError);
  });

  test('nothing but the beginning of a head is a new journal', () => {
    const { bytes } = journalHead();
    for (let length = 0; length < JOURNAL_HEAD_BYTES; length++) {
      assert.deepEqual(readJournal(bytes.subarray(0, length)).end, { length: 0, durable: 0 });
    }
  });
});

describe('recovery (H6)', () => {
  test('knows identity, processes, migrations and epochs', () => {
    const one = { kind: 'PROCESS', machine: MACHINE, pid: 7, started: '100' } as const;
    const two = { kind: 'PROCESS', machine: MACHINE, pid: 7, started: '200' } as const;
    const peer = {
      kind: 'PEER',
      id: String(2).padStart(32, '0'),
      identity: 'b'.repeat(32),
      how: { transport: 'tcp', host: 'localhost', port: 7 },
    } as const;
    const found = recover([
      HOST,
      one,
      two,
      { kind: 'PROCESS_ENDED', pid: 7, started: '100' },
      owned('BEGUN', 1, 2),
      peer,
      owned('BEGUN', 2, 3),
      owned('GIVEN', 2, 3),
      owned('RUNNING', 3, 9),
    ]);
    assert.equal(found.identity, HOST.identity);
    assert.deepEqual(found.processes, [two]);
    assert.deepEqual(
      [...found.sources].map(([id, { phase }]) => [Number(id), phase]),
      [
        [1, 'kept'],
        [2, 'given'],
      ],
    );
    assert.deepEqual(
      [...found.destinations.values()].map(({ phase, copy }) => [phase, copy]),
      [['running', false]],
    );
    assert.deepEqual(found.epochs.get(MACHINE), 9);
    assert.equal(found.peers.get(peer.id)?.how.transport, 'tcp');
  });

  for (const [what, records] of Object.entries({
    'two identities': [HOST, { ...HOST, identity: 'c'.repeat(32) }],
    'DONE without GIVEN': [owned('BEGUN', 1, 2), owned('DONE', 1, 2)],
    'GIVEN after DONE': [owned('DONE', 1, 2), owned('GIVEN', 1, 2)],
    'an epoch that goes back': [owned('GIVEN', 1, 3), owned('TAKEN', 1, 2)],
    'ABANDONED after RUNNING': [owned('RUNNING', 1, 2), owned('ABANDONED', 1, 3)],
    'RUNNING after ABANDONED': [owned('ABANDONED', 1, 2), owned('RUNNING', 1, 2)],
  })) {
    test(`${what} can't have been written`, () => throws('JOURNAL_DAMAGED', () => recover(records)));
  }

  test('an operator may give up what ran, under a higher epoch; a record may be repeated', () => {
    recover([owned('RUNNING', 1, 2), owned('RUNNING', 1, 2), owned('ABANDONED', 1, 3, 'operator')]);
    throws('JOURNAL_DAMAGED', () => recover([owned('RUNNING', 1, 2), owned('ABANDONED', 1, 2, 'operator')]));
  });

  test('a journal that is written anew leads to the same conclusions', () => {
    const records: JournalRecord[] = [
      HOST,
      { kind: 'PROCESS', machine: MACHINE, pid: 7, started: '100' },
      { kind: 'PROCESS_ENDED', pid: 7, started: '100' },
      owned('BEGUN', 1, 2),
      owned('GIVEN', 1, 2),
      owned('DONE', 1, 2),
      owned('RUNNING', 3, 4),
      owned('BEGUN', 4, 5),
      owned('GIVEN', 4, 5),
      owned('BEGUN', 5, 6),
    ];
    const small = compact(records);
    assert.deepEqual(small, [HOST, records[6], records[8], records[9]]);
    assert.deepEqual(recover(small).epochs, recover(records).epochs);
    assert.deepEqual(compact(small), small);
  });
});
