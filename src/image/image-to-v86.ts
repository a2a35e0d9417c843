import type { ByteSink } from '../bytes/endpoints.ts';
import type { ByteSource } from '../io/source.ts';
import type { Work } from '../io/work.ts';
import { TmigImageReader } from './readers/tmig/tmig-reader.ts';
import { V86Assembly } from './writers/v86.ts';

/**
 * Converts an image of a v86 machine into a state that v86's own `restore_state` takes. All of the image is read and
 * checked before the first byte is written; its pages that are not zero are held in memory.
 *
 * @returns the version of v86 that the state is for, and its length in bytes
 * @throws the errors of the image; IMAGE_UNFIT when it is of no v86 machine, or has what a state of v86 has no place
 * for: tmem, and disks that are not in it; MEMORY_MISMATCH, DEVICE_MISSING, CANCELLED; what the sink throws. The sink
 * is not ended.
 */
export async function imageToV86State(
  source: ByteSource,
  sink: ByteSink,
  work: Work = {},
): Promise<{ readonly version: string; readonly bytes: number }> {
  const assembly = new V86Assembly();
  for await (const event of new TmigImageReader(source, work).events()) assembly.event(event);
  return assembly.write(sink);
}
