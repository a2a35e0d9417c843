/** What a guest needs elsewhere (N1), and the same as a claim from which a machine is made: protocol 4.3. */
import { toHex } from '../../bytes/hex.ts';
import { CODEC } from '../../codec/codec.ts';
import { DISK_POLICY, type DiskPolicy } from '../../machine/machine.ts';
import type { Offer } from '../../migrate/protocol/messages.ts';
import type { ImageClaims } from '../../migrate/restore/image-claims.ts';
import { PAGE_BYTES } from '../../tmem/constants.ts';
import type { ClientStatistics } from '../../tmem/statistics.ts';
import type { Guest } from '../guest.ts';

/** ELF e_machine of a 32-bit x86. */
const EM_386 = 3;

/** Names of disk policies in messages, by the machine's numbers. */
const POLICIES: Readonly<Record<DiskPolicy, Offer['disks'][number]['policy']>> = {
  [DISK_POLICY.inBlob]: 'inside-device',
  [DISK_POLICY.readOnly]: 'digest',
  [DISK_POLICY.tmem]: 'tmem',
  [DISK_POLICY.external]: 'shared',
};

/** Names of all codecs that this build knows. */
export const CODEC_NAMES: readonly string[] = Object.keys(CODEC);

/** A version without the build behind it. */
export function release(version: string): string {
  return version.split('+', 1)[0];
}

/** @param tmem what the guest has in it, or null. @param deviceBytes about how large its devices are. */
export function offerOf(
  guest: Guest,
  epoch: number,
  codec: string,
  tmem: ClientStatistics | null,
  deviceBytes: number,
): Offer {
  const { driver, version, fingerprint, deviceFormat, pageBytes, pages, vcpus } = guest.machine.capabilities;
  const bytes = pages * pageBytes;
  return {
    epoch,
    machine: { uuid: guest.uuid, name: guest.name },
    paused: guest.state === 'paused',
    driver: { name: driver, version: release(version), fingerprint: toHex(fingerprint), format: deviceFormat },
    // Which pages are zero is only known once they were looked at.
    memory: { bytes, pageBytes, carriedBytes: bytes },
    vcpus,
    deviceBytes,
    tmem: tmem === null ? null : tmemOf(tmem),
    disks: guest.machine.disks.map((disk) => ({
      name: disk.name,
      policy: POLICIES[disk.policy],
      bytes: disk.bytes,
      digest: disk.digest === null ? null : toHex(disk.digest),
    })),
    codec,
    records: guest.own.mandatory(),
    configuration: guest.configuration,
  };
}

function tmemOf({ pools }: ClientStatistics): NonNullable<Offer['tmem']> {
  const sum = (persistent: boolean, of: (pool: ClientStatistics['pools'][number]) => number): number =>
    pools.reduce((total, pool) => total + (pool.persistent === persistent ? of(pool) : 0), 0);
  const pages = sum(true, (pool) => pool.pages);
  const ephemeral = sum(false, (pool) => pool.pages);
  return {
    pageBytes: PAGE_BYTES,
    persistent: { pages, bytes: pages * PAGE_BYTES, carriedBytes: sum(true, (pool) => pool.storedBytes) },
    ephemeral: { pages: ephemeral, bytes: sum(false, (pool) => pool.storedBytes) },
    pools: pools.map(({ slot, persistent, shared, clients, uuid, precompressed, pages: count }) => ({
      slot,
      persistent,
      shared,
      sharers: Math.max(clients.length - 1, 0),
      uuid: uuid ?? null,
      precompressed,
      pageBytes: PAGE_BYTES,
      pages: count,
    })),
    codecs: [...CODEC_NAMES],
  };
}

/** What a machine is made by, of an offer: as an image claims it. */
export function claimsOf({ machine, driver, memory, tmem, configuration }: Offer): ImageClaims {
  return {
    name: machine.name,
    uuid: machine.uuid,
    driver: driver.name,
    driverVersion: driver.version,
    memoryBytes: memory.bytes,
    pageBytes: memory.pageBytes,
    byteOrder: 'little',
    architecture: EM_386,
    tmem: tmem !== null,
    configuration,
  };
}
