/** Why a destination refuses a machine, as data: protocol 4.5 (N1). The table is closed. */
import type { Json } from '../../bytes/bounded-json.ts';

/** Each reason with what it says to people. */
export const REASONS = {
  PROTOCOL: 'the two hosts have no version of the protocol in common',
  POLICY: 'the host takes no machines now',
  BUSY: 'the host holds as many reservations as it may',
  IDENTITY: 'the machine is on this host already, or the host is the source itself',
  NAME: 'another guest has the name',
  DRIVER: 'the host has no such driver',
  DRIVER_VERSION: 'the host does not have the version of the driver that writes the device state',
  FINGERPRINT: "the host's machine would have other devices",
  MEMORY: 'the host has too little memory left',
  PAGE_SIZE: 'the host has pages of another size',
  CODEC: 'the host does not know the codec',
  RECORD: 'the host does not know a record that the machine can not be without',
  DISK: 'the host does not have a disk of the machine',
  NO_TMEM: 'the machines of the driver can have no tmem on the host',
  TMEM_DISABLED: 'tmem is switched off on the host',
  TMEM_BYTES: 'too little is left for the pages in persistent pools',
  POOL_SLOTS: 'the host has too few slots for shared pools left',
  SHARED_POOL: 'a shared pool can not move',
} as const;
export type ReasonCode = keyof typeof REASONS;

export interface Reason {
  readonly code: ReasonCode;
  readonly text: string;
  /** What the machine needs, and what there is. */
  readonly needed?: Json;
  readonly found?: Json;
}

export function reason(code: ReasonCode, needed?: Json, found?: Json): Reason {
  return {
    code,
    text: REASONS[code],
    ...(needed !== undefined && { needed }),
    ...(found !== undefined && { found }),
  };
}
