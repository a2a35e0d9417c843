/**
 * Converts an image: `node examples/convert.ts guest.xl guest.tmig tmig`, and back with `guest.tmig guest.xl xl`.
 * What the format has no place for is in the error's data; with `allowLoss` it is left out, and named in the result.
 */
import { randomBytes } from 'node:crypto';
import {
  convertImage,
  FileSink,
  openFileSource,
  TransmigrateError,
  type Conversion,
  type FormatName,
} from '../src/index.ts';

/** Converts a file. The new one is whole or absent. @throws TransmigrateError */
export async function convertFile(from: string, into: string, to: FormatName): Promise<Conversion> {
  const sink = await FileSink.create(into, randomBytes(6).toString('hex'));
  try {
    const source = await openFileSource(from);
    const time = new Date().toISOString();
    const conversion = await convertImage(source, sink, { to, streamId: randomBytes(16), time });
    await sink.commit();
    return conversion;
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

if (import.meta.main) {
  const [from, into, to] = process.argv.slice(2);
  try {
    const { bytes, exact } = await convertFile(from, into, to as FormatName);
    console.log(`${into}: ${bytes} bytes, ${exact ? 'and the source can be had back' : 'made anew'}`);
  } catch (error) {
    if (!(error instanceof TransmigrateError)) throw error;
    console.error(`${error.code}: ${error.message}`, error.data['losses'] ?? '');
    process.exitCode = error.exitCode;
  }
}
