import { LIMITS } from '../stream/limits.ts';
import type { RecordStore } from '../stream/record-store.ts';
import { decodeDeviceData } from '../stream/records/device.ts';
import { bodyReader } from '../stream/records/record.ts';
import { contentOf } from '../stream/records/stored.ts';

/** The content of a device, from the chunks among these records that are its own. */
export async function* deviceChunks(
  store: RecordStore,
  offsets: readonly number[],
  device: number,
  bytes: number,
): AsyncGenerator<Uint8Array> {
  const scratch = new Uint8Array(LIMITS.chunkBytes);
  let done = 0;
  for (const offset of offsets) {
    if (done === bytes) return;
    const { header, body } = await store.fetch(offset);
    const data = decodeDeviceData(bodyReader(header, body));
    if (data.device !== device || data.offset !== done) continue;
    done += data.bytes;
    yield contentOf(data, scratch, { offset, section: '9.2' });
  }
}
