import type { JsonObject } from '../../../bytes/bounded-json.ts';
import { encodeText } from '../../../bytes/text.ts';
import { isZeroRange } from '../../../codec/platform.ts';
import { TransmigrateError } from '../../../errors.ts';
import {
  LIBVIRT,
  libvirtHeadBytes,
  parseLibvirtHead,
  readableCompression,
  type LibvirtHead,
} from '../../../foreign/libvirt/save-image.ts';
import { parseQemuStreamHead, QEMU_STREAM } from '../../../foreign/qemu/stream-head.ts';
import { unpackPieces } from '../../../io/compressed/unpack.ts';
import { LIMITS } from '../../../stream/limits.ts';
import { DEVICE_FORMAT, type ImageEvent, type ImageHead } from '../../model/event.ts';
import { fileDevice } from '../file-device.ts';
import { keepBytes, RandomInput } from '../random-input.ts';
import { blob } from '../xen/states.ts';
import type { OriginRecorder } from '../../origin/recorder.ts';
import { domainOf } from './domain-xml.ts';
import { WholeReader } from '../whole-reader.ts';

/** Bytes of XML that also stand in ABOUT: that has room for 1 MiB in all (stream 6.1). */
const XML_SHOWN_BYTES = 256 * 1024;
/** Bytes of the QEMU stream in one device (foreign/model 3). */
const PART_BYTES = LIMITS.deviceBytes;
/** Devices that are no part of the stream: XML and cookie. */
const TEXT_DEVICES = 2;

/** Reads a save image of libvirt: its texts, and QEMU's stream as it is stored, which is not looked into. */
export class LibvirtReader extends WholeReader {
  readonly format = 'libvirt';
  #devices = 0;

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    const input = new RandomInput(this.source, this.options);
    const start = new Uint8Array(Math.min(LIBVIRT.headerBytes, input.size));
    await input.fill(0, start, 'libvirt/header', 'foreign/libvirt 1');
    const bytes = new Uint8Array(Math.min(libvirtHeadBytes(start), input.size));
    await input.fill(0, bytes, 'libvirt/data', 'foreign/libvirt 2');
    const head = parseLibvirtHead(bytes);
    const compression = readableCompression(head);
    this.#look(head);
    const streamBytes = input.size - head.streamOffset;
    await this.#checkStream(input, head, compression);
    yield headOf(head, compression);
    yield* this.#texts(bytes, head);
    yield* this.#stream(input, head.streamOffset, streamBytes, formatOf(compression));
    this.offset = input.size;
    yield { kind: 'end', bytes: input.size };
  }

  #look(head: LibvirtHead): void {
    const { onNative } = this.options;
    const { version, wasRunning, compression, dataBytes, streamOffset } = head;
    const fields = { version, wasRunning, compression, partial: head.partial };
    const row = { layer: 'libvirt', fields: {} };
    onNative?.({ ...row, name: 'HEADER', offset: 0, bytes: LIBVIRT.headerBytes, section: 'foreign/libvirt 1', fields });
    const text = { offset: LIBVIRT.headerBytes, bytes: dataBytes, section: 'foreign/libvirt 2' };
    onNative?.({ ...row, name: 'TEXTS', ...text });
    const bytes = (this.source.size ?? streamOffset) - streamOffset;
    onNative?.({ ...row, name: 'STREAM', offset: streamOffset, bytes, section: 'foreign/libvirt 3' });
    if (head.partial) {
      const place = { offset: 0, path: 'libvirt/magic', section: 'foreign/libvirt 1' };
      this.found.report('broken', 'UNFINISHED', 'libvirt had not finished writing it', place);
    }
    if (!head.zeroPadded) {
      const place = { offset: LIBVIRT.headerBytes, path: 'libvirt/data', section: 'foreign/libvirt 2' };
      this.found.report('strict', 'PADDING', 'what pads the texts is not zero', place);
    }
    if (isZeroRange(head.reserved, 0, head.reserved.byteLength)) return;
    const place = { offset: LIBVIRT.headerBytes - head.reserved.byteLength, path: 'libvirt/reserved' };
    this.found.report('strict', 'RESERVED_FIELD', 'reserved fields are not zero', {
      ...place,
      section: 'foreign/libvirt 1',
    });
  }

  /**
   * Is there a stream of QEMU? One that is compressed is unpacked to its end, whose checks say whether it is whole.
   * @throws TRUNCATED, CODEC_DATA, LIMIT_EXCEEDED; NOT_AN_IMAGE, UNSUPPORTED_VERSION for another content
   */
  async #checkStream(
    input: RandomInput,
    { streamOffset }: LibvirtHead,
    compression: ReturnType<typeof readableCompression>,
  ): Promise<void> {
    const first = new Uint8Array(QEMU_STREAM.headerBytes);
    let used = 0;
    const stored = input.steps(streamOffset, input.size, 'libvirt/stream', 'foreign/libvirt 3');
    const pieces = compression === 'raw' ? stored : unpackPieces(stored, compression, input.name, input);
    try {
      for await (const piece of pieces) {
        const part = piece.subarray(0, first.byteLength - used);
        first.set(part, used);
        used += part.byteLength;
        if (compression === 'raw' && used === first.byteLength) break;
      }
      parseQemuStreamHead(first.subarray(0, used));
    } catch (error) {
      if (!(error instanceof TransmigrateError) || error.offset === undefined) throw error;
      // Places in the stored stream become those of the file; of what is unpacked there is none.
      const isQemu = error.path?.startsWith('QEMU') === true;
      const isOfFile = error.section === 'foreign/libvirt 3' && !isQemu;
      if (isOfFile) throw error;
      throw error.with({ offset: isQemu && compression !== 'raw' ? streamOffset : streamOffset + error.offset });
    }
  }

  /** XML and cookie as devices; what is around them is framing. */
  *#texts(bytes: Uint8Array, head: LibvirtHead): Generator<ImageEvent> {
    const { origin } = this.options;
    origin?.literal(bytes.subarray(0, LIBVIRT.headerBytes));
    let at: number = LIBVIRT.headerBytes;
    for (const { name, format, start, end } of textsOf(bytes, head)) {
      const content = bytes.subarray(start, end);
      keepInSteps(origin, bytes.subarray(at, start));
      if (content.byteLength > 0) origin?.device(this.#devices, 0, content.byteLength);
      at = end;
      this.#devices++;
      yield blob(name, format, '', content);
    }
    keepInSteps(origin, bytes.subarray(at, head.streamOffset));
  }

  async *#stream(input: RandomInput, from: number, bytes: number, format: string): AsyncGenerator<ImageEvent> {
    const parts = Math.max(1, Math.ceil(bytes / PART_BYTES));
    if (parts > LIMITS.devices - TEXT_DEVICES) {
      throw new TransmigrateError('LIMIT_EXCEEDED', `A QEMU stream of ${bytes} bytes`, {
        offset: from,
        path: 'libvirt/stream',
        section: 'foreign/libvirt 4',
        data: { bytes, limit: (LIMITS.devices - TEXT_DEVICES) * PART_BYTES },
      });
    }
    for (let part = 0; part < parts; part++) {
      const offset = from + part * PART_BYTES;
      const length = Math.min(PART_BYTES, bytes - part * PART_BYTES);
      const place = { offset, bytes: length, path: 'libvirt/stream', section: 'foreign/libvirt 3' };
      const event = await fileDevice(input, { name: `qemu-stream-${part}`, format }, place);
      this.options.origin?.device(this.#devices, 0, length);
      this.#devices++;
      this.offset = offset + length;
      yield event;
    }
  }
}

/** Steps in which zeros are told from other bytes. */
const KEEP_STEP = 4096;

function keepInSteps(origin: OriginRecorder | undefined, bytes: Uint8Array): void {
  if (origin === undefined) return;
  for (let at = 0; at < bytes.byteLength; at += KEEP_STEP) keepBytes(origin, bytes.subarray(at, at + KEEP_STEP));
}

function textsOf(
  bytes: Uint8Array,
  head: LibvirtHead,
): { readonly name: string; readonly format: string; readonly start: number; readonly end: number }[] {
  const start = LIBVIRT.headerBytes;
  const xml = { name: 'libvirt-xml', format: DEVICE_FORMAT.libvirtXml, start, end: bytes.indexOf(0, start) };
  if (head.cookie === undefined) return [xml];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = start + view.getUint32(LIBVIRT.cookieAt, head.littleEndian);
  const cookie = { name: 'libvirt-cookie', format: DEVICE_FORMAT.libvirtCookie, start: at, end: bytes.indexOf(0, at) };
  return [xml, cookie];
}

/** The name of the format of QEMU's stream as it is stored (foreign/model 3.1). */
export function formatOf(compression: string): string {
  return compression === 'raw' ? DEVICE_FORMAT.qemu : `${DEVICE_FORMAT.qemu}+${compression}`;
}

function headOf(head: LibvirtHead, compression: string): ImageHead {
  const { machine, wordBits, isHvm, about } = domainOf(head.xml);
  const { version, wasRunning, littleEndian } = head;
  const isShort =
    head.xml.length < XML_SHOWN_BYTES && encodeText(JSON.stringify(head.xml)).byteLength < XML_SHOWN_BYTES;
  const libvirt: JsonObject = {
    version,
    wasRunning,
    byteOrder: littleEndian ? 'little' : 'big',
    compression,
    ...(isShort && { xml: head.xml }),
  };
  return {
    kind: 'head',
    isCore: false,
    domainType: isHvm ? 'hvm' : 'unknown',
    byteOrder: 'little',
    wordBits,
    machine,
    pageSize: 4096,
    about: { ...about, source: { hypervisor: 'qemu', versions: {} }, libvirt },
  };
}
