import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { TransmigrateError } from '../../../../src/errors.ts';
import { readJournal, type JournalEnd } from '../../../../src/migrate/journal/entries.ts';
import { recover } from '../../../../src/migrate/journal/recover.ts';
import type { JournalRecord } from '../../../../src/migrate/journal/records.ts';
import { JournalFile, type JournalHandle } from '../../../../src/migrate/runner/journal-file.ts';
import { endLeftProcesses, startOf } from '../../../../src/migrate/runner/left-processes.ts';

const directory = mkdtempSync(join(tmpdir(), 'journal-'));
after(() => rmSync(directory, { recursive: true }));
let files = 0;
const newPath = (): string => join(directory, `${++files}`);

const IDENTITY = 'a'.repeat(32);
const MACHINE = '00000000-0000-4000-8000-000000000001';
function given(kind: 'BEGUN' | 'GIVEN' | 'DONE', id = 1, epoch = 2): JournalRecord {
  const record = { side: 'source', machine: MACHINE, peer: 'b'.repeat(32), by: 'protocol' } as const;
  return { kind, id: String(id).padStart(32, '0'), epoch, ...record };
}

describe('the file of a journal (H4)', () => {
  test('is made with an identity, which it keeps, and what was appended is there', async () => {
    const path = newPath();
    const first = await JournalFile.open(path, IDENTITY);
    assert.equal(first.recovered.identity, IDENTITY);
    const ends = await Promise.all([first.append([given('BEGUN')]), first.append([given('GIVEN')])]);
    assert.deepEqual(ends, ['durable', 'durable']);
    await first.close();
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const again = await JournalFile.open(path, 'c'.repeat(32));
    assert.equal(again.recovered.identity, IDENTITY);
    assert.equal([...again.recovered.sources.values()][0].phase, 'given');
    await again.close();
  });

  test('what was torn is cut off before anything is appended', async () => {
    const path = newPath();
    const journal = await JournalFile.open(path, IDENTITY);
    await journal.append([given('BEGUN')]);
    await journal.append([given('GIVEN')]);
    await journal.close();
    truncateSync(path, statSync(path).size - 9);
    appendFileSync(path, new Uint8Array(40));
    const again = await JournalFile.open(path, IDENTITY);
    assert.equal([...again.recovered.sources.values()][0].phase, 'kept');
    assert.equal(await again.append([given('GIVEN')]), 'durable');
    await again.close();
    const { records, torn } = readJournal(readFileSync(path));
    assert.deepEqual([records.map(({ kind }) => kind), torn], [['HOST', 'BEGUN', 'GIVEN'], 0]);
  });

  test('one that lost what it had is refused, and stays as it is', async () => {
    const path = newPath();
    const journal = await JournalFile.open(path, IDENTITY);
    await journal.append([given('BEGUN')]);
    await journal.append([given('GIVEN')]);
    await journal.close();
    const bytes = readFileSync(path);
    bytes[60] ^= 1;
    writeFileSync(path, bytes);
    const damaged = (error: unknown): boolean => error instanceof TransmigrateError && error.code === 'JOURNAL_DAMAGED';
    await assert.rejects(JournalFile.open(path, IDENTITY), damaged);
    assert.deepEqual(readFileSync(path), bytes);
  });

  test('one that is long is written anew, and says the same', async () => {
    const path = newPath();
    const journal = await JournalFile.open(path, IDENTITY);
    const many: JournalRecord[] = [];
    for (let id = 1; id <= 8000; id++) many.push(given('BEGUN', id, id), given('GIVEN', id, id), given('DONE', id, id));
    assert.equal(await journal.append(many), 'durable');
    assert.equal(await journal.append([given('BEGUN', 9000, 9000)]), 'durable');
    await journal.close();
    const before = statSync(path).size;
    const again = await JournalFile.open(path, IDENTITY);
    assert.equal(again.recovered.epochs.get(MACHINE), 9000);
    assert.equal(again.recovered.identity, IDENTITY);
    await again.close();
    assert.ok(statSync(path).size < before / 100);
    assert.equal(recover(readJournal(readFileSync(path)).records).epochs.get(MACHINE), 9000);
  });

  test('a directory that is not there is an error of the store', async () => {
    await assert.rejects(
      JournalFile.open(join(directory, 'none', 'journal'), IDENTITY),
      (error) => error instanceof TransmigrateError && error.code === 'WRITE_FAILED',
    );
  });
});

describe('a disk that fails (protocol 7.2)', () => {
  /** A file in memory whose calls fail as told, one after the other. */
  class Failing implements JournalHandle {
    bytes = Buffer.alloc(0);
    readonly failures: ('write' | 'sync' | 'truncate')[] = [];

    #fails(what: 'write' | 'sync' | 'truncate'): void {
      if (this.failures[0] !== what) return;
      this.failures.shift();
      throw new Error(`no ${what}`);
    }

    write = ((source: Uint8Array, offset: number, length: number, position: number) => {
      // Half of it may be there when a write fails.
      const half = this.failures[0] === 'write' ? length >> 1 : length;
      const size = Math.max(this.bytes.byteLength, position + half);
      this.bytes = Buffer.concat([this.bytes], size);
      this.bytes.set(source.subarray(offset, offset + half), position);
      this.#fails('write');
      return Promise.resolve({ bytesWritten: length, buffer: source });
    }) as unknown as JournalHandle['write'];

    truncate = (length = 0): Promise<void> => {
      this.#fails('truncate');
      this.bytes = Buffer.from(this.bytes.subarray(0, length));
      return Promise.resolve();
    };

    sync = (): Promise<void> => {
      this.#fails('sync');
      return Promise.resolve();
    };

    close = (): Promise<void> => Promise.resolve();
  }

  async function failing(...failures: Failing['failures']): Promise<{ file: Failing; journal: JournalFile }> {
    const path = newPath();
    await (await JournalFile.open(path, IDENTITY)).close();
    const file = new Failing();
    file.bytes = readFileSync(path);
    const end: JournalEnd = { length: file.bytes.byteLength, durable: file.bytes.byteLength };
    const journal = new JournalFile(path, file, end, recover([]));
    file.failures.push(...failures);
    return { file, journal };
  }

  const kinds = (file: Failing): string[] => readJournal(file.bytes).records.map(({ kind }) => kind);

  for (const failure of ['write', 'sync'] as const) {
    test(`a ${failure} that fails leaves nothing, and says so`, async () => {
      const { file, journal } = await failing(failure);
      assert.equal(await journal.append([given('BEGUN')]), 'notWritten');
      assert.deepEqual(kinds(file), ['HOST']);
      assert.equal(await journal.append([given('BEGUN')]), 'durable');
      assert.deepEqual(kinds(file), ['HOST', 'BEGUN']);
    });

    test(`when it can't be taken back either, nobody knows; the next write takes it back first`, async () => {
      const { file, journal } = await failing(failure, 'truncate', 'truncate');
      assert.equal(await journal.append([given('BEGUN')]), 'doubtful');
      assert.equal(await journal.append([given('BEGUN')]), 'doubtful');
      assert.equal(await journal.append([given('GIVEN', 1, 3)]), 'durable');
      assert.deepEqual(kinds(file), ['HOST', 'GIVEN']);
    });
  }
});

describe('processes that were left behind (H6)', { skip: process.platform !== 'linux' }, () => {
  test('are ended when they are still the same, and others are let be', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    const gone = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)));
    const pid = child.pid!;
    const started = await startOf(pid);
    assert.match(started ?? '', /^\d+$/);
    assert.equal(await endLeftProcesses([{ machine: MACHINE, pid, started: `${Number(started) + 1}` }]), 0);
    assert.equal(await startOf(pid), started);
    assert.equal(await endLeftProcesses([{ machine: MACHINE, pid, started: started! }]), 1);
    assert.equal(await gone, 'SIGKILL');
    assert.equal(await startOf(pid), null);
    assert.equal(await endLeftProcesses([{ machine: MACHINE, pid, started: started! }]), 0);
  });
});
