import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { joinSaveState, memorySizeOf, V86_PAGE_BYTES } from '../../foreign/v86/memory.ts';
import { parseSaveState } from '../../foreign/v86/save-state.ts';
import type { Work } from '../../io/work.ts';
import type { Disk } from '../../stream/records/device.ts';
import { hasData } from '../../stream/records/ram.ts';
import { DEVICE_FORMAT, type ImageEvent } from '../model/event.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { SparseMemory } from './sparse-memory.ts';
import { checkCancelled, contentOfDevice } from './work.ts';

/** Most bytes of a device blob: far more than a state without memory has. */
const BLOB_BYTES_MOST = 256 * 1024 * 1024;

/** Puts a state together from what an image of a v86 machine holds. Its pages that are not zero are held in memory. */
export class V86Assembly {
  readonly #memory = new SparseMemory();
  #device: { readonly name: string; readonly version: string; readonly content: Uint8Array } | undefined;

  /** Takes an event in. @throws IMAGE_UNFIT for what a state has no place for; MEMORY_MISMATCH */
  event(event: ImageEvent): void {
    switch (event.kind) {
      case 'pages':
        for (const { firstPfn, pages, pageClass, source, at } of event.runs()) {
          if (source === null) this.#memory.empty(firstPfn, pages, hasData(pageClass));
          else this.#memory.data(firstPfn, pages, source, at);
        }
        return;
      case 'device':
        this.device(event.name, event.format, event.version, event.content.slice());
        return;
      case 'long-device':
        throw unfit(`Its device ${event.device.name} has ${event.device.bytes} bytes`);
      case 'disk':
        return checkDisk(event.disk);
      case 'tmem':
        if (event.record.kind === 'TMEM_POOL') throw unfit('Its guest has tmem');
        return;
      default:
    }
  }

  /** Pages with content, which is copied. @throws MEMORY_MISMATCH */
  pages(firstPfn: number, pages: number, bytes: Uint8Array): void {
    this.#memory.data(firstPfn, pages, bytes, 0);
  }

  /** The device blob, which is kept. A later state of the same device replaces it. @throws IMAGE_UNFIT */
  device(name: string, format: string, version: string, content: Uint8Array): void {
    if (format !== DEVICE_FORMAT.v86 || (this.#device !== undefined && this.#device.name !== name)) {
      throw unfit(`Its device state is ${format}, where one of ${DEVICE_FORMAT.v86} is needed`);
    }
    this.#device = { name, version, content };
  }

  /**
   * Writes the state.
   * @returns the version of v86 that it is for, and its length. @throws DEVICE_MISSING, MEMORY_MISMATCH; what the sink
   * throws
   */
  async write(sink: ByteSink): Promise<{ readonly version: string; readonly bytes: number }> {
    if (this.#device === undefined) throw new TransmigrateError('DEVICE_MISSING', 'The image has no device state');
    const { version, content } = this.#device;
    const pages = memorySizeOf(parseSaveState(content).tree) / V86_PAGE_BYTES;
    this.#memory.check(pages);
    const { before, packedBytes, after } = joinSaveState(content, this.#memory.bitmap(pages));
    await sink.write(before);
    for (const run of this.#memory.runs()) await sink.write(run);
    await sink.write(after);
    return { version, bytes: before.byteLength + packedBytes + after.byteLength };
  }
}

/** @throws IMAGE_UNFIT for a disk whose content is not in the device blob */
function checkDisk({ name, policy }: Omit<Disk, 'kind'>): void {
  if (policy !== 'inside-device') throw unfit(`The content of its disk ${name} is not in it (${policy})`);
}

function unfit(why: string): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', `The image can be no state of v86: ${why}`);
}

/**
 * Writes an image of a v86 machine as a state that v86's own `restore_state` takes (foreign/v86 7). Nothing is written
 * before all of it was read. The sink is not ended.
 * @throws IMAGE_UNFIT when it is of no v86 machine; MEMORY_MISMATCH, DEVICE_MISSING, CANCELLED; the image's errors
 */
export async function writeV86(image: OpenedImage, sink: ByteSink, work: Work): Promise<void> {
  const assembly = new V86Assembly();
  for (const device of image.devices) {
    if (device.bytes > BLOB_BYTES_MOST) throw unfit(`Its device ${device.name} has ${device.bytes} bytes`);
    // What is no blob of v86 is refused before it is read.
    const content = device.format === DEVICE_FORMAT.v86 ? await contentOfDevice(device) : new Uint8Array(0);
    assembly.device(device.name, device.format, device.version, content);
  }
  for (const disk of image.disks) checkDisk(disk);
  for await (const { firstPfn, pages, bytes } of image.memory.batches()) {
    checkCancelled(work);
    assembly.pages(firstPfn, pages, bytes);
    work.onProgress?.(firstPfn + pages, image.memory.pfnEnd);
  }
  await assembly.write(sink);
}
