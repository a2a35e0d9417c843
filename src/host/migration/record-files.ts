/** Names of the files that recordings of connections are kept in: protocol 10.1. */
import { randomBytes } from 'node:crypto';
import { FileSink } from '../../io/file-sink.ts';
import type { RecordFile } from '../../migrate/runner/recording.ts';

/** Digits of the hidden name of a file that is being written. */
const unique = (): string => randomBytes(6).toString('hex');

/**
 * Files for what comes from now on: this name, then with .2, .3 ... behind it, one for each connection.
 * @throws WRITE_FAILED when none could be made now
 */
export async function recordFiles(path: string): Promise<() => Promise<RecordFile>> {
  await (await FileSink.create(path, unique())).abort();
  let made = 0;
  return () => FileSink.create(++made === 1 ? path : `${path}.${made}`, unique());
}
