import { Sha256 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { DeviceEvent, LongDeviceEvent } from '../model/event.ts';
import type { RandomInput } from './random-input.ts';

/** A part of an image that is a device blob as it stands. */
export interface FilePart {
  readonly offset: number;
  readonly bytes: number;
  /** For errors. */
  readonly path: string;
  readonly section: string;
}

/** Longer blobs are not held, but fetched from the image when they are asked for. */
const HELD_BYTES = 16 * 1024 * 1024;
const NO_FINGERPRINT = new Uint8Array(32);

/**
 * A device blob that is part of a file. A long one is read twice: its digest must be known before its content.
 * @throws LIMIT_EXCEEDED for one that no device can have; TRUNCATED
 */
export async function fileDevice(
  input: RandomInput,
  { name, format, version = '' }: { readonly name: string; readonly format: string; readonly version?: string },
  { offset, bytes, path, section }: FilePart,
): Promise<DeviceEvent | LongDeviceEvent> {
  if (bytes > LIMITS.deviceBytes) {
    throw new TransmigrateError('LIMIT_EXCEEDED', `${path} has ${bytes} bytes, more than a device of an image can`, {
      offset,
      path,
      section,
      data: { bytes, limit: LIMITS.deviceBytes },
    });
  }
  const about = { name, format, version, fingerprint: NO_FINGERPRINT };
  if (bytes <= HELD_BYTES) {
    const content = new Uint8Array(bytes);
    await input.fill(offset, content, path, section);
    return { kind: 'device', ...about, content };
  }
  const hash = new Sha256();
  for await (const step of input.steps(offset, offset + bytes, path, section)) hash.update(step);
  return {
    kind: 'long-device',
    device: { ...about, bytes, sha256: hash.digest() },
    chunks: () => input.steps(offset, offset + bytes, path, section),
  };
}
