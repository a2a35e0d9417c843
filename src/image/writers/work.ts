/** What writers have in common. */
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import type { OpenedDevice, OpenedImage } from '../open/opened-image.ts';

/** @throws CANCELLED */
export function checkCancelled({ signal }: Work): void {
  if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Writing was cancelled');
}

/** A device by its name, of a format. */
export function findDevice(image: OpenedImage, name: string, format: string): OpenedDevice | undefined {
  return image.devices.find((device) => device.name === name && device.format === format);
}

/**
 * All of a device blob, in memory of its own; the caller has bounded its length.
 * @throws LENGTH_MISMATCH when it has another than it says
 */
export async function contentOfDevice(device: OpenedDevice): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let used = 0;
  for await (const chunk of device.chunks()) {
    used += chunk.byteLength;
    if (used > device.bytes) break;
    parts.push(chunk.slice());
  }
  if (used !== device.bytes) {
    throw new TransmigrateError(
      'LENGTH_MISMATCH',
      `The device ${device.name} has not the ${device.bytes} bytes it says`,
      {
        path: `device ${device.name}`,
        section: '9.2',
        data: { bytes: device.bytes, found: used },
      },
    );
  }
  const content = new Uint8Array(used);
  let at = 0;
  for (const part of parts) {
    content.set(part, at);
    at += part.byteLength;
  }
  return content;
}
