import type { ByteSink } from '../../bytes/endpoints.ts';
import { decodeText } from '../../bytes/text.ts';
import { TransmigrateError } from '../../errors.ts';
import { encodeLibvirtHead, LIBVIRT, LIBVIRT_COMPRESSION, LIBVIRT_LIMITS } from '../../foreign/libvirt/save-image.ts';
import { parseQemuStreamHead, QEMU_STREAM } from '../../foreign/qemu/stream-head.ts';
import { ZstdSink } from '../../io/compressed/platform.ts';
import { unpackPieces, type Compression } from '../../io/compressed/unpack.ts';
import type { Work } from '../../io/work.ts';
import { DEVICE_FORMAT } from '../model/event.ts';
import type { OpenedDevice, OpenedImage } from '../open/opened-image.ts';
import { checkCancelled, contentOfDevice, findDevice } from './work.ts';

export interface LibvirtOptions extends Work {
  /** How QEMU's stream is stored; raw when absent. */
  readonly compression?: 'raw' | 'zstd' | undefined;
}

/** How a stream can be stored in a device (foreign/libvirt 4). */
const STORED: readonly string[] = ['raw', 'gzip', 'bzip2', 'xz', 'zstd'];

/**
 * Writes a save image of libvirt (foreign/libvirt 4.1). The sink is not ended.
 * @throws IMAGE_UNFIT for an image without the domain's XML or QEMU's stream; the image's errors, those of unpacking a
 * stream that is stored otherwise, CANCELLED, and what the sink throws
 */
export async function writeLibvirt(image: OpenedImage, sink: ByteSink, options: LibvirtOptions): Promise<void> {
  const { compression = 'raw' } = options;
  const { parts, stored } = streamOf(image);
  const xml = await textOf(image, 'libvirt-xml', DEVICE_FORMAT.libvirtXml);
  if (xml === undefined) throw unfit('it has no XML of a domain (device libvirt-xml)');
  const cookie = await textOf(image, 'libvirt-cookie', DEVICE_FORMAT.libvirtCookie);
  const choice = {
    xml,
    cookie,
    wasRunning: wasRunningOf(image),
    compression: LIBVIRT_COMPRESSION.indexOf(compression),
  };
  await sink.write(encodeLibvirtHead(choice));
  if (stored === compression) {
    for await (const piece of piecesOfParts(parts, options)) await sink.write(piece);
    return;
  }
  const raw =
    stored === 'raw'
      ? piecesOfParts(parts, options)
      : unpackPieces(piecesOfParts(parts, options), stored as Compression, 'qemu-stream');
  const checked = withQemuHead(raw);
  if (compression === 'raw') {
    for await (const piece of checked) await sink.write(piece);
    return;
  }
  const packed = new ZstdSink(sink);
  for await (const piece of checked) await packed.write(piece);
  await packed.end();
}

/** The devices that QEMU's stream is in, in order, and how it is stored. @throws IMAGE_UNFIT */
function streamOf(image: OpenedImage): { readonly parts: readonly OpenedDevice[]; readonly stored: string } {
  const parts: OpenedDevice[] = [];
  for (;;) {
    const part = image.devices.find(({ name }) => name === `qemu-stream-${parts.length}`);
    if (part === undefined) break;
    parts.push(part);
  }
  if (parts.length === 0) throw unfit('it has no stream of QEMU (device qemu-stream-0)');
  const [{ format }] = parts;
  const stored = format === DEVICE_FORMAT.qemu ? 'raw' : format.slice(DEVICE_FORMAT.qemu.length + 1);
  const isKnown = format === DEVICE_FORMAT.qemu || format === `${DEVICE_FORMAT.qemu}+${stored}`;
  if (!isKnown || !STORED.includes(stored) || parts.some((part) => part.format !== format)) {
    throw unfit(`its stream of QEMU has the format ${format}`);
  }
  return { parts, stored };
}

async function* piecesOfParts(parts: readonly OpenedDevice[], work: Work): AsyncGenerator<Uint8Array> {
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  for (const part of parts) {
    for await (const chunk of part.chunks()) {
      checkCancelled(work);
      yield chunk;
      done += chunk.byteLength;
      work.onProgress?.(done, total);
    }
  }
}

/** The same pieces. @throws NOT_AN_IMAGE, TRUNCATED, UNSUPPORTED_VERSION when they are no stream of QEMU */
async function* withQemuHead(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const head = new Uint8Array(QEMU_STREAM.headerBytes);
  let used = 0;
  for await (const piece of pieces) {
    if (used < head.byteLength) {
      const part = piece.subarray(0, head.byteLength - used);
      head.set(part, used);
      used += part.byteLength;
      if (used === head.byteLength) parseQemuStreamHead(head);
    }
    yield piece;
  }
  if (used < head.byteLength) parseQemuStreamHead(head.subarray(0, used));
}

/** @throws IMAGE_UNFIT for a text that no save image has room for; STRING_INVALID */
async function textOf(image: OpenedImage, name: string, format: string): Promise<string | undefined> {
  const device = findDevice(image, name, format);
  if (device === undefined) return undefined;
  const most = (LIBVIRT_LIMITS.dataBytes - LIBVIRT.spareBytes) / 2 - 1;
  if (device.bytes > most) throw unfit(`its ${name} has ${device.bytes} bytes, and ${most} are the most`);
  const text = decodeText(await contentOfDevice(device), 0, `device ${name}`, 'foreign/libvirt 2');
  if (text.includes('\0')) throw unfit(`there is a zero in its ${name}`);
  return text;
}

/** Whether the guest ran, as ABOUT says. */
function wasRunningOf({ about }: OpenedImage): number {
  const said = about['libvirt'];
  const wasRunning = typeof said === 'object' && said !== null && !Array.isArray(said) ? said['wasRunning'] : undefined;
  const isNumber = typeof wasRunning === 'number' && Number.isInteger(wasRunning);
  return isNumber && wasRunning >= 0 && wasRunning <= 0xffff_ffff ? wasRunning : 0;
}

function unfit(why: string): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', `The image can be no save image of libvirt: ${why}`, {
    section: 'foreign/libvirt 4.1',
  });
}
