import type { JsonObject } from '../bytes/bounded-json.ts';
import type { Machine, TmemService } from '../machine/machine.ts';
import type { ImageClaims } from '../migrate/restore/image-claims.ts';
import type { CreateChoice } from './api.ts';

/** A machine that was made, and what to say of it in an image so that it can be made again. */
export interface Made {
  readonly machine: Machine;
  readonly configuration: JsonObject;
  /** The largest device blob that makes sense for it. */
  readonly mostDeviceBytes: number;
}

export interface DriverKind {
  readonly name: string;
  /** Without the build behind each. */
  readonly versions: readonly string[];
  readonly pageBytes: number;
  /** About how large the device state of a machine is. */
  readonly deviceBytes: number;
  /** Whether its machines can have tmem. */
  readonly tmem: boolean;
}

/** Makes machines for a host. */
export interface Driver {
  /** What machines it makes, for hosts that offer theirs (N1). */
  readonly kinds: readonly DriverKind[];
  /** A machine that is about to boot, paused. @param tmem null: the guest has none. */
  create(choice: CreateChoice, tmem: TmemService | null): Promise<Made>;
  /**
   * An empty machine for what an image claims to hold, paused.
   * @throws DRIVER_VERSION, MACHINE_CONFIG, DISK_MISMATCH
   */
  forImage(claims: ImageClaims, tmem: TmemService | null): Promise<Made>;
}

/** About how large the device state of a machine is; 0 when its driver does not say. */
export function deviceBytesOf(
  { kinds }: Pick<Driver, 'kinds'>,
  { capabilities }: Pick<Machine, 'capabilities'>,
): number {
  return kinds.find(({ name }) => name === capabilities.driver)?.deviceBytes ?? 0;
}
