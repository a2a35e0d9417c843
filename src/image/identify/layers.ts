/**
 * Which layers lie in an image, from its first bytes: what is in an xl file, in a libxl stream, in a suspend image.
 * Only as much is read of each as says where the next one starts; whether a layer is sound is for its reader to say.
 */
import { TransmigrateError } from '../../errors.ts';
import { MAGIC_BYTES, magicOf, type MagicLayer } from '../magic.ts';
import { PEEK_BYTES, viewAt, type Peek } from './peek.ts';

/** Names of formats, as `--to` and JSON have them. */
export const FORMATS = [
  'tmig',
  'xen-libxc',
  'xen-libxc-v2',
  'libxl',
  'xl',
  'xenopsd',
  'libvirt',
  'v86',
  'xen-core',
  'elf-core',
  'qemu',
  'xl-back',
  'raw',
] as const;
export type FormatName = (typeof FORMATS)[number];

/** xl's header: 32 bytes of magic, byte order, mandatory and optional flags, length of the optional data. */
const XL = { headerBytes: 48, order: 0x0102_0304, streamV2: 2 } as const;
/** libxl's header, and its record that says a libxc stream comes now. */
const LIBXL = { headerBytes: 16, recordBytes: 8, libxcContext: 1 } as const;
/** xenopsd's magic, and its pairs of type and length; what of them holds a stream. */
const XENOPSD = { magicBytes: 15, recordBytes: 16, libxc: 0xf0, libxl: 0xf1, legacy: 0xf2, end: 0xffff } as const;
/** Records that are passed over on the way to a stream. */
const RECORDS_MOST = 16;

/** Layers from these bytes on, outermost first; empty when nothing known starts there. */
export async function layersAt(peek: Peek, at: number): Promise<string[]> {
  // A fixed end, whatever the pieces were: the same input must always get the same answer.
  const end = Math.min(at + MAGIC_BYTES, PEEK_BYTES);
  if (at >= end) return [];
  const layer = magicOf((await peek.head(end)).subarray(at, end))?.layer;
  return layer === undefined ? [] : layersOf(peek, at, layer);
}

async function layersOf(peek: Peek, at: number, layer: MagicLayer): Promise<string[]> {
  switch (layer) {
    case 'xl':
      return ['xl', ...(await insideXl(peek, at))];
    case 'libxl':
      return ['libxl', ...(await insideLibxl(peek, at + LIBXL.headerBytes))];
    case 'xenopsd':
      return ['xenopsd', ...(await insideXenopsd(peek, at + XENOPSD.magicBytes))];
    case 'libxc':
      return [await libxcName(peek, at)];
    case 'libvirt':
      return ['libvirt', ...(await insideLibvirt(peek, at))];
    case 'elf':
      return at === 0 ? (await import('./elf-layers.ts')).elfLayers(peek) : [];
    case 'tmig':
    case 'qemu':
    case 'v86':
    case 'xl-back':
      return [layer];
    case 'vhd':
      return [];
  }
}

async function insideXl(peek: Peek, at: number): Promise<string[]> {
  const view = await viewAt(peek, at, XL.headerBytes);
  if (view === undefined) return [];
  const little = view.getUint32(32, true) === XL.order;
  const optionalBytes = view.getUint32(44, little);
  if ((view.getUint32(36, little) & XL.streamV2) === 0) return ['xen-libxc-legacy'];
  return layersAt(peek, at + XL.headerBytes + optionalBytes);
}

async function insideLibxl(peek: Peek, at: number): Promise<string[]> {
  let record = at;
  for (let i = 0; i < RECORDS_MOST; i++) {
    const view = await viewAt(peek, record, LIBXL.recordBytes);
    if (view === undefined) return [];
    const next = record + LIBXL.recordBytes + Math.ceil(view.getUint32(4, true) / 8) * 8;
    if (view.getUint32(0, true) === LIBXL.libxcContext) return layersAt(peek, next);
    record = next;
  }
  return [];
}

async function insideXenopsd(peek: Peek, at: number): Promise<string[]> {
  let record = at;
  for (let i = 0; i < RECORDS_MOST; i++) {
    const view = await viewAt(peek, record, XENOPSD.recordBytes);
    if (view === undefined) return [];
    const type = Number(view.getBigUint64(0, true));
    const next = record + XENOPSD.recordBytes;
    if (type === XENOPSD.libxc || type === XENOPSD.libxl) return layersAt(peek, next);
    if (type === XENOPSD.legacy) return ['xen-libxc-legacy'];
    if (type === XENOPSD.end) return [];
    record = next + Number(view.getBigUint64(8, true));
  }
  return [];
}

/** @throws UNSUPPORTED_VERSION */
async function libxcName(peek: Peek, at: number): Promise<string> {
  const view = await viewAt(peek, at, 16);
  const version = view?.getUint32(12);
  if (version === 2) return 'xen-libxc-v2';
  if (version === 3 || version === undefined) return 'xen-libxc';
  throw new TransmigrateError('UNSUPPORTED_VERSION', `A libxc stream of version ${version}`, {
    offset: at + 12,
    path: 'libxc/version',
  });
}

/**
 * The compression, where there is one, and what stands where the stream starts: of a compressed one it is not looked
 * into.
 */
async function insideLibvirt(peek: Peek, at: number): Promise<string[]> {
  const { compressionName, libvirtHeadBytes, LIBVIRT } = await import('../../foreign/libvirt/save-image.ts');
  const view = await viewAt(peek, at, LIBVIRT.headerBytes);
  if (view === undefined) return [];
  const head = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const bytes = libvirtHeadBytes(head);
  const little = view.getUint32(16, true) <= view.getUint32(16, false);
  const compression = view.getUint32(28, little);
  const name = compressionName(compression) ?? `libvirt format ${compression}`;
  return name === 'raw' ? layersAt(peek, at + bytes) : [name, 'qemu'];
}
