/** Writes images of Xen anew, from the model. Each layer as its specification and Xen want it. */
import { TransmigrateError } from '../../../errors.ts';
import { PAGE_TYPE, XEN_PAGE_BYTES } from '../../../foreign/xen-libxc/constants.ts';
import { LibxcWriter } from '../../../foreign/xen-libxc/writer.ts';
import type { EmulatorBody } from '../../../foreign/xen-libxl/records.ts';
import { LibxlWriter } from '../../../foreign/xen-libxl/writer.ts';
import { XenopsdWriter } from '../../../foreign/xenopsd/writer.ts';
import { XlWriter } from '../../../foreign/xl/writer.ts';
import type { FormatName } from '../../identify/layers.ts';
import type { ImageMemory, OpenedImage } from '../../open/opened-image.ts';
import { typeOfClass } from '../../readers/xen/page-runs.ts';
import type { XenFormat } from '../../readers/xen/xen-reader.ts';
import type { PreparedWrite, WriteOptions } from '../prepared.ts';
import { SinkEmitter } from './emitter.ts';
import { emulatorRecords } from './emulators.ts';
import { PageDataMaker } from './memory.ts';
import { empty, libxcParts, type LibxcParts } from './parts.ts';
import { unfit } from './unfit.ts';
import { xenopsdSections } from './xenopsd-sections.ts';
import { xlHeaderOf } from './xl-header.ts';

const NOTHING = new Uint8Array(0);

export function isXenFormat(format: FormatName): format is XenFormat {
  return ['xen-libxc', 'xen-libxc-v2', 'libxl', 'xl', 'xenopsd'].includes(format);
}

/** Makes ready to write an image. @throws as {@link prepareImage} */
export async function prepareXen(format: XenFormat, image: OpenedImage, options: WriteOptions): Promise<PreparedWrite> {
  const parts = await libxcParts(format, image, format === 'xen-libxc-v2' ? 2 : 3);
  const { memory } = image;
  const highest = highestPfn(memory);
  if (highest > parts.lastPfn) {
    const what = `it has page ${highest}, and its p2m-frames end at ${parts.lastPfn}`;
    throw unfit(format, what, ['p2m-frames'], 'foreign/xen-libxc 4.1');
  }
  if (parts.pv && memory.pages === 0) throw unfit(format, 'it has no memory', ['memory'], 'foreign/xen-libxc 11.3');
  const libxc = (writer: LibxcWriter, out: SinkEmitter): Promise<number> =>
    writeLibxc(writer, out, image, parts, options);
  if (format === 'xenopsd') {
    const sections = await xenopsdSections(image, options.time);
    return (sink) => writeXenopsd(sections, new SinkEmitter(sink), libxc);
  }
  if (format === 'xen-libxc' || format === 'xen-libxc-v2') {
    return (sink) => {
      const out = new SinkEmitter(sink);
      return libxc(new LibxcWriter(out.emit), out);
    };
  }
  const emulators = await emulatorRecords(image);
  if (format === 'libxl') {
    return (sink) => {
      const out = new SinkEmitter(sink);
      return writeLibxl(new LibxlWriter(out.emit), out, emulators, libxc);
    };
  }
  const header = await xlHeaderOf(image);
  return (sink) => {
    const out = new SinkEmitter(sink);
    const writer = new XlWriter(out.emit);
    writer.header(header);
    return writeLibxl(writer.libxl, out, emulators, libxc);
  };
}

/** The highest page that says something, also one without content. */
function highestPfn(memory: ImageMemory): number {
  let highest = memory.pfnEnd - 1;
  for (const { firstPfn, pages, pageClass } of memory.absent()) {
    if (typeOfClass(pageClass) !== PAGE_TYPE.invalid) highest = Math.max(highest, firstPfn + pages - 1);
  }
  return highest;
}

type WriteLibxc = (writer: LibxcWriter, out: SinkEmitter) => Promise<number>;

async function writeXenopsd(
  { before, after }: Awaited<ReturnType<typeof xenopsdSections>>,
  out: SinkEmitter,
  libxc: WriteLibxc,
): Promise<number> {
  const writer = new XenopsdWriter(out.emit);
  writer.signature();
  for (const { tag, content } of before) writer.section(tag, content);
  const pages = await libxc(writer.libxc(), out);
  for (const { tag, content } of after) {
    writer.section(tag, content);
    await out.flush();
  }
  writer.end();
  await out.flush();
  return pages;
}

async function writeLibxl(
  writer: LibxlWriter,
  out: SinkEmitter,
  emulators: readonly EmulatorBody[],
  libxc: WriteLibxc,
): Promise<number> {
  writer.header();
  writer.record({ kind: 'LIBXC_CONTEXT', rest: NOTHING });
  const pages = await libxc(writer.libxc, out);
  for (const record of emulators) {
    writer.record(record);
    await out.flush();
  }
  writer.record({ kind: 'END', rest: NOTHING });
  await out.flush();
  return pages;
}

async function writeLibxc(
  writer: LibxcWriter,
  out: SinkEmitter,
  image: OpenedImage,
  { header, before, after, optional, pv, lastPfn }: LibxcParts,
  { signal, onProgress }: WriteOptions,
): Promise<number> {
  writer.header(header);
  for (const record of before) writer.record(record);
  const total = image.memory.pages * XEN_PAGE_BYTES;
  const memory = new PageDataMaker(writer, () => out.flush());
  const pages = await memory.write(image.memory, pv ? lastPfn : -1, (done) => {
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Converting was cancelled');
    onProgress?.(done * XEN_PAGE_BYTES, total);
  });
  for (const record of after) {
    writer.record(record);
    await out.flush();
  }
  for (const { type, content } of optional) writer.optional(type, content);
  writer.record(empty('END'));
  await out.flush();
  return pages;
}
