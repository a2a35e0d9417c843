/** A host's journal, and what follows from it while the host runs: its identity, epochs, and processes (protocol 8). */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TransmigrateError } from '../../errors.ts';
import type { Machine } from '../../machine/machine.ts';
import type { WriteEnd } from '../../migrate/handover/ownership.ts';
import type { Recovered } from '../../migrate/journal/recover.ts';
import type { JournalRecord } from '../../migrate/journal/records.ts';
import { JournalFile } from '../../migrate/runner/journal-file.ts';
import { endLeftProcesses, startOf } from '../../migrate/runner/left-processes.ts';

/** Name of the journal in the host's directory. */
const JOURNAL = 'journal';
/** Says which process uses the directory. */
const LOCK = 'lock';

export class HostJournal {
  readonly identity: string;
  readonly recovered: Recovered;
  /** Processes of guests that the last host had left, and that were ended. */
  readonly leftProcesses: number;
  readonly #file: JournalFile;
  readonly #lock: string;
  readonly #epochs: Map<string, number>;
  #fsyncMs: number | null = null;

  private constructor(file: JournalFile, lockPath: string, identity: string, leftProcesses: number) {
    this.#file = file;
    this.#lock = lockPath;
    this.identity = identity;
    this.recovered = file.recovered;
    this.leftProcesses = leftProcesses;
    this.#epochs = new Map(file.recovered.epochs);
  }

  /**
   * Opens the journal in a directory, or makes both. Processes that a host before this one left are ended first (H6).
   * @throws HOST_RUNNING when another host uses it; JOURNAL_DAMAGED, READ_FAILED, WRITE_FAILED; GUEST_BUSY when a
   * process does not end
   */
  static async open(directory: string): Promise<HostJournal> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new TransmigrateError('WRITE_FAILED', `Can't make the directory ${directory}`, {
        cause,
        data: { directory },
        next: 'Name a directory of your own with --state.',
      });
    }
    const path = join(directory, LOCK);
    await lock(path);
    try {
      return await HostJournal.#open(directory, path);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  static async #open(directory: string, lockPath: string): Promise<HostJournal> {
    const file = await JournalFile.open(join(directory, JOURNAL), randomBytes(16).toString('hex'));
    const { processes, identity } = file.recovered;
    try {
      const ended = await endLeftProcesses(processes);
      const records = processes.map(({ pid, started }): JournalRecord => ({ kind: 'PROCESS_ENDED', pid, started }));
      if (records.length > 0 && (await file.append(records)) !== 'durable') throw unwritten(file.path);
      return new HostJournal(file, lockPath, identity!, ended);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** What one write with its fsync took last, in milliseconds. */
  get fsyncMs(): number | null {
    return this.#fsyncMs;
  }

  /** The highest epoch of a machine that the journal knows; 0 for none. */
  epochOf(machine: string): number {
    return this.#epochs.get(machine) ?? 0;
  }

  /** Appends records, all or none; never rejects (protocol 7.2). */
  readonly append = async (records: readonly JournalRecord[]): Promise<WriteEnd> => {
    const start = performance.now();
    const end = await this.#file.append(records);
    this.#fsyncMs = performance.now() - start;
    for (const record of records) {
      if (!('epoch' in record)) continue;
      this.#epochs.set(record.machine, Math.max(record.epoch, this.epochOf(record.machine)));
    }
    return end;
  };

  /**
   * Writes down a guest's process, before it is granted anything; and later that it ended.
   * @throws WRITE_FAILED
   */
  async enterProcess(uuid: string, machine: Machine): Promise<void> {
    const { pid } = machine;
    const started = pid === undefined ? null : await startOf(pid);
    if (pid === undefined || started === null) return;
    const end = await this.append([{ kind: 'PROCESS', machine: uuid, pid, started }]);
    if (end !== 'durable') throw unwritten(this.#file.path);
    machine.on('closed', () => void this.append([{ kind: 'PROCESS_ENDED', pid, started }]));
  }

  async close(): Promise<void> {
    await this.#file.close();
    await rm(this.#lock, { force: true });
  }
}

function unwritten(path: string): TransmigrateError {
  return new TransmigrateError('WRITE_FAILED', `The journal ${path} can't be written`, { data: { path } });
}

/** Two hosts with one journal would end each other's guests. @throws HOST_RUNNING */
async function lock(path: string): Promise<void> {
  const [pid, started] = (await readFile(path, 'utf8').catch(() => '')).split(' ');
  const other = Number(pid);
  const lives = Number.isInteger(other) && other > 0 && (await startOf(other)) === started;
  if (lives && other !== process.pid) {
    throw new TransmigrateError('HOST_RUNNING', `Process ${other} is a host that uses ${path}`, {
      data: { pid: other, path },
      next: 'Use that host, or give this one another --socket and --state.',
    });
  }
  await writeFile(path, [process.pid, await startOf(process.pid)].join(' '), { mode: 0o600 });
}
