/** The file of a host's journal (protocol 8): written, synced with its directory, and read after whatever happened. */
import { constants } from 'node:fs';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TransmigrateError } from '../../errors.ts';
import type { WriteEnd } from '../handover/ownership.ts';
import { encodeEntry, JOURNAL_LIMITS, journalHead, readJournal, type JournalEnd } from '../journal/entries.ts';
import { compact, recover, type Recovered } from '../journal/recover.ts';
import type { JournalRecord } from '../journal/records.ts';

/** A journal that is longer is written anew when it is opened (protocol 8.4). */
const LONG_BYTES = JOURNAL_LIMITS.bytes / 4;

/** What a journal asks of a file, so that tests can have one that fails. */
export type JournalHandle = Pick<FileHandle, 'write' | 'truncate' | 'sync' | 'close'>;

export class JournalFile {
  readonly path: string;
  /** What was concluded when it was opened. */
  readonly recovered: Recovered;
  readonly #handle: JournalHandle;
  #end: JournalEnd;
  /** The file may hold more than {@link #end} says: it is cut back before the next write. */
  #unsure = false;
  /** Writes go one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string, handle: JournalHandle, end: JournalEnd, recovered: Recovered) {
    this.path = path;
    this.#handle = handle;
    this.#end = end;
    this.recovered = recovered;
  }

  /**
   * Opens a host's journal, or makes one. What was torn when the host ended is cut off, durably.
   * @param identity for a new journal: 32 random hex digits.
   * @throws JOURNAL_DAMAGED, UNSUPPORTED_VERSION, FIELD_VALUE, JSON_INVALID; READ_FAILED, WRITE_FAILED.
   */
  static async open(path: string, identity: string): Promise<JournalFile> {
    const found = await read(path);
    const { records, end, torn } = readJournal(found ?? new Uint8Array(0));
    if (records.length === 0) return JournalFile.#make(path, [{ kind: 'HOST', identity }]);
    const recovered = recover(records);
    if (end.length > LONG_BYTES) return JournalFile.#make(path, compact(records));
    return writing(path, async () => {
      const handle = await open(path, constants.O_RDWR);
      try {
        if (torn > 0) await handle.truncate(end.length);
        // Also when nothing was torn: who wrote it may have ended before it was synced.
        await handle.sync();
        await syncDirectory(path);
      } catch (error) {
        await handle.close();
        throw error;
      }
      return new JournalFile(path, handle, end, recovered);
    });
  }

  /**
   * Appends records, all of them or none, and syncs. Nothing may be done because of them before it says `durable`; it
   * never rejects (protocol 7.2).
   */
  append(records: readonly JournalRecord[]): Promise<WriteEnd> {
    const write = this.#last.then(() => this.#append(records));
    this.#last = write;
    return write;
  }

  /** Ends after the writes that were asked for. */
  async close(): Promise<void> {
    await this.#last;
    await this.#handle.close();
  }

  async #append(records: readonly JournalRecord[]): Promise<WriteEnd> {
    try {
      if (this.#unsure) await this.#cutBack();
    } catch {
      return 'doubtful';
    }
    try {
      const { bytes, end } = encodeAll(records, this.#end);
      await writeAll(this.#handle, bytes, this.#end.length);
      await this.#handle.sync();
      this.#end = { length: end.length, durable: end.length };
      return 'durable';
    } catch {
      this.#unsure = true;
    }
    try {
      await this.#cutBack();
      return 'notWritten';
    } catch {
      return 'doubtful';
    }
  }

  async #cutBack(): Promise<void> {
    await this.#handle.truncate(this.#end.length);
    await this.#handle.sync();
    this.#unsure = false;
  }

  /** Beside its name, synced, and renamed: it is there as a whole, or the old one is. */
  static async #make(path: string, records: readonly JournalRecord[]): Promise<JournalFile> {
    const beside = `${path}.new`;
    return writing(path, async () => {
      await rm(beside, { force: true });
      const handle = await open(beside, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      try {
        const head = journalHead();
        await writeAll(handle, head.bytes, 0);
        await handle.sync();
        const durable = { length: head.end.length, durable: head.end.length };
        const { bytes, end } = encodeAll(records, durable);
        await writeAll(handle, bytes, durable.length);
        await handle.sync();
        await rename(beside, path);
        await syncDirectory(path);
        return new JournalFile(path, handle, { length: end.length, durable: end.length }, recover(records));
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }
}

/** The bytes of several entries. The later ones say of the earlier only what was durable before all of them. */
function encodeAll(records: readonly JournalRecord[], from: JournalEnd): { bytes: Uint8Array; end: JournalEnd } {
  const pieces: Uint8Array[] = [];
  let end = from;
  for (const record of records) {
    const entry = encodeEntry(record, end);
    pieces.push(entry.bytes);
    ({ end } = entry);
  }
  return { bytes: Buffer.concat(pieces), end };
}

async function writeAll(handle: JournalHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done);
    if (bytesWritten === 0) throw new Error('nothing could be written');
    done += bytesWritten;
  }
}

/** The bytes of the file, or undefined without one. */
async function read(path: string): Promise<Uint8Array | undefined> {
  try {
    const handle = await open(path, constants.O_RDONLY);
    try {
      const { size } = await handle.stat();
      if (size > JOURNAL_LIMITS.bytes) return new Uint8Array(JOURNAL_LIMITS.bytes + 1);
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new TransmigrateError('READ_FAILED', `The journal ${path} can't be read`, { cause, data: { path } });
  }
}

async function writing<T>(path: string, what: () => Promise<T>): Promise<T> {
  try {
    return await what();
  } catch (cause) {
    if (cause instanceof TransmigrateError) throw cause;
    throw new TransmigrateError('WRITE_FAILED', `The journal ${path} can't be written`, { cause, data: { path } });
  }
}

/** A name is on the disk when its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const handle = await open(dirname(path), constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
