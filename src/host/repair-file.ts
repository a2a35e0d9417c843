import { randomBytes } from 'node:crypto';
import { CODEC } from '../codec/codec.ts';
import { TransmigrateError } from '../errors.ts';
import { repairImage, type RepairMode, type RepairReport } from '../image/repair/repair-image.ts';
import { FileSink } from '../io/file-sink.ts';
import { isSameFile } from '../io/same-file.ts';
import type { ByteSource } from '../io/source.ts';
import { spool } from '../io/spool.ts';
import type { Work } from '../io/work.ts';

export interface RepairFileOptions extends Work {
  readonly mode: RepairMode;
  /** The path of the input, where it is a file: it is never written to. */
  readonly input: string | null;
  readonly output: string;
  /** Where the map of a salvage goes, or null. */
  readonly map: string | null;
  readonly tool: { readonly name: string; readonly version: string };
}

/**
 * {@link repairImage} into a file, which is whole or absent, as is the file of the map.
 * @throws USAGE when an output would be the input; what `repairImage` throws; WRITE_FAILED
 */
export async function repairFile(
  source: ByteSource,
  { input, output, map, mode, tool, ...work }: RepairFileOptions,
): Promise<RepairReport & { readonly path: string; readonly bytes: number }> {
  for (const path of [output, ...(map === null ? [] : [map])]) {
    if (input !== null && (await isSameFile(input, path))) {
      throw new TransmigrateError('USAGE', `${path} is the image itself, which a repair only reads`, {
        next: 'Name another file for what is written.',
      });
    }
  }
  if (map === output) throw new TransmigrateError('USAGE', 'the image and its map need two files');
  const sink = await FileSink.create(output, randomBytes(6).toString('hex'));
  let report: RepairReport;
  try {
    report = await repairImage(source, sink, {
      ...work,
      mode,
      spool,
      streamId: randomBytes(16),
      codec: CODEC.zstd,
      about: { tool: { ...tool }, repair: { mode } },
    });
    if (map !== null) await writeMap(map, report);
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
  return { ...report, path: sink.path, bytes: sink.bytes };
}

async function writeMap(path: string, { map }: RepairReport): Promise<void> {
  const sink = await FileSink.create(path, randomBytes(6).toString('hex'));
  try {
    await sink.write(new TextEncoder().encode(`${JSON.stringify(map, null, 2)}\n`));
  } catch (error) {
    await sink.abort();
    throw error;
  }
  await sink.commit();
}
