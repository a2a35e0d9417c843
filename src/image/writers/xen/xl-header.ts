import { xlHeaderAround, type XlHeader } from '../../../foreign/xl/header.ts';
import { DEVICE_FORMAT } from '../../model/event.ts';
import type { OpenedImage } from '../../open/opened-image.ts';
import { contentOfDevice } from './parts.ts';

/**
 * The header of an xl file: around the configuration that the image has, as it is; without one, a header that has none
 * (foreign/xl 2.1). @throws LIMIT_EXCEEDED, the errors of the image
 */
export async function xlHeaderOf(image: OpenedImage): Promise<XlHeader> {
  const device = image.devices.find(({ format }) => format === DEVICE_FORMAT.xlConfig);
  if (device === undefined) return xlHeaderAround(null, 'json');
  return xlHeaderAround(await contentOfDevice(device), device.name.endsWith('.cfg') ? 'text' : 'json');
}
