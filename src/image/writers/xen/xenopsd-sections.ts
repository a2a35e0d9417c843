import { TransmigrateError } from '../../../errors.ts';
import { XENOPSD_LIMITS, type XenopsdTag } from '../../../foreign/xenopsd/sections.ts';
import { DEVICE_FORMAT } from '../../model/event.ts';
import type { OpenedDevice, OpenedImage } from '../../open/opened-image.ts';
import { onlyQemu, QEMU_SECTIONS } from './emulators.ts';
import { contentOfDevice } from './parts.ts';

/** A section with a length. */
export interface MadeSection {
  readonly tag: Exclude<XenopsdTag, 'LIBXC' | 'LIBXL' | 'END_OF_IMAGE'>;
  readonly content: Uint8Array;
}

/** Sections after the memory image, in the order in which xenopsd writes them (foreign/xenopsd 2). */
const AFTER = ['VARSTORED', 'SWTPM0', 'SWTPM'] as const;

/**
 * The sections of a suspend image beside memory: those that the image has, and what must be there made (foreign/xenopsd
 * 2.1). @param time RFC 3339. @throws IMAGE_UNFIT for QEMU's state that xenopsd would not take; the image's errors
 */
export async function xenopsdSections(
  image: OpenedImage,
  time: string,
): Promise<{ readonly before: MadeSection[]; readonly after: MadeSection[] }> {
  const section = (tag: string): OpenedDevice | undefined =>
    image.devices.find(({ name, format }) => format === DEVICE_FORMAT.xenopsdSection && name === `xenopsd-${tag}`);
  const metadata = section('XENOPS');
  const content =
    metadata === undefined
      ? new TextEncoder().encode(`((time ${compact(time)})(word_size 64)(xs_subtree()))`)
      : await contentOfDevice(metadata);
  const after: MadeSection[] = [];
  for (const tag of AFTER) {
    const device = section(tag);
    if (device !== undefined) after.push({ tag, content: await contentOfDevice(device) });
  }
  const qemu = qemuOf(image);
  if (qemu !== undefined) {
    if (qemu.bytes > XENOPSD_LIMITS.qemuBytes) {
      const what = `The state of QEMU has ${qemu.bytes} bytes, and xenopsd takes at most ${XENOPSD_LIMITS.qemuBytes}`;
      throw new TransmigrateError('IMAGE_UNFIT', what, { section: 'foreign/xenopsd 2', path: `device ${qemu.name}` });
    }
    after.push({ tag: 'QEMU_TRAD', content: await contentOfDevice(qemu) });
  }
  return { before: [{ tag: 'XENOPS', content }], after };
}

/** QEMU's state: one section or one emulator of libxl. @throws IMAGE_UNFIT for more than one */
function qemuOf(image: OpenedImage): OpenedDevice | undefined {
  const names = [...QEMU_SECTIONS, 'emulator-2-0', 'emulator-1-0'];
  return onlyQemu(image.devices.filter(({ name }) => names.includes(name)));
}

/** As xenopsd writes a time, `20260101T00:00:00Z`: an atom without quotes. */
function compact(time: string): string {
  const found = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}:\d{2}:\d{2})/.exec(time);
  return found === null ? '19700101T00:00:00Z' : `${found[1]}${found[2]}${found[3]}T${found[4]}Z`;
}
