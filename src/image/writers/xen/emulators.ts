/** State of emulators between libxl's records and xenopsd's section (foreign/xen-libxl 5, foreign/xenopsd 2.1). */
import { TransmigrateError } from '../../../errors.ts';
import { EMULATOR, type EmulatorBody } from '../../../foreign/xen-libxl/records.ts';
import { DEVICE_FORMAT } from '../../model/event.ts';
import type { OpenedDevice, OpenedImage } from '../../open/opened-image.ts';
import { contentOfDevice } from './parts.ts';

const NAME = /^emulator-(\d{1,10})-(\d{1,10})(-xenstore)?$/;

/** The QEMU section of xenopsd: what is written comes first; the other is known, and refused by xenopsd itself. */
export const QEMU_SECTIONS: readonly string[] = ['xenopsd-QEMU_TRAD', 'xenopsd-QEMU_XEN'];

/**
 * The records of an HVM domain's emulators, xenstore's nodes before the state, as libxl writes them. What xenopsd has
 * as QEMU's state becomes that of an upstream QEMU: it says no kind, and today runs no other.
 * @throws IMAGE_UNFIT for a domain that can have no emulator; the errors of the image
 */
export async function emulatorRecords(image: OpenedImage): Promise<EmulatorBody[]> {
  const records: EmulatorBody[] = [];
  for (const device of image.devices) {
    const named = NAME.exec(device.name);
    const kind = kindOf(device);
    if (named === null || kind === undefined) continue;
    const [emulator, index] = [Number(named[1]), Number(named[2])];
    records.push({ kind, emulator, index, content: await contentOfDevice(device) });
  }
  const section = onlyQemu(image.devices.filter(({ name }) => QEMU_SECTIONS.includes(name)));
  if (section !== undefined) {
    if (records.some(({ kind }) => kind === 'EMULATOR_CONTEXT')) throw severalQemu();
    const content = await contentOfDevice(section);
    records.push({ kind: 'EMULATOR_CONTEXT', emulator: EMULATOR.qemuUpstream, index: 0, content });
  }
  if (records.length > 0 && image.head.domainType === 'pv') {
    throw new TransmigrateError('IMAGE_UNFIT', 'The image is of a PV domain and has the state of an emulator', {
      section: 'foreign/xen-libxl 5',
      data: { devices: image.devices.map(({ name }) => name).filter((name) => NAME.test(name)) },
    });
  }
  return records.toSorted((a, b) => (a.kind === b.kind ? 0 : a.kind === 'EMULATOR_XENSTORE_DATA' ? -1 : 1));
}

/** The one of these states of QEMU. @throws IMAGE_UNFIT when there are more */
export function onlyQemu(devices: readonly OpenedDevice[]): OpenedDevice | undefined {
  if (devices.length > 1) throw severalQemu();
  return devices[0];
}

function severalQemu(): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', 'The image has the states of several emulators, and one can be kept', {
    section: 'foreign/xenopsd 2.1',
  });
}

function kindOf({ format, name }: OpenedDevice): EmulatorBody['kind'] | undefined {
  if (format === DEVICE_FORMAT.xenXenstore && name.endsWith('-xenstore')) return 'EMULATOR_XENSTORE_DATA';
  return format === DEVICE_FORMAT.qemu && !name.endsWith('-xenstore') ? 'EMULATOR_CONTEXT' : undefined;
}
