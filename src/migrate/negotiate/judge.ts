/** Whether a host can take a machine: protocol 4.4 and 4.5 (N1, N2). */
import type { Offer } from '../protocol/messages.ts';
import { reason, type Reason } from './reasons.ts';

/** What a host is and has at this moment, as data. What other migrations have reserved is no longer free. */
export interface HostCapability {
  readonly identity: string;
  /** Names and identities of its guests, and of those that are being moved here. */
  readonly names: readonly string[];
  readonly machines: readonly string[];
  readonly drivers: readonly {
    readonly name: string;
    readonly versions: readonly string[];
    readonly pageBytes: number;
    /** Whether its machines can have tmem. */
    readonly tmem: boolean;
  }[];
  readonly freeMemoryBytes: number;
  readonly codecs: readonly string[];
  readonly records: readonly string[];
  readonly tmem: TmemCapability;
  /** Why its operator lets nothing in; null when machines may come. */
  readonly closed: string | null;
  /** Whether machines may write files of this host that their disks name (M6). */
  readonly sharedDisks: boolean;
  readonly freeReservations: number;
}

export interface TmemCapability {
  readonly enabled: boolean;
  /** What persistent pages may take: free, or held by ephemeral pages that can be evicted. */
  readonly freeBytes: number;
  /** For shared pools: private ones are the client's own. */
  readonly freeSlots: number;
  readonly pageBytes: number;
  readonly codecs: readonly string[];
  /** Of shared pools that are here. */
  readonly uuids: readonly string[];
}

/** What the host found when it looked at an offer: that takes files and a driver, and so is an effect. */
export interface Probe {
  /** Of the machine that it would make, or null when the driver can't make one. */
  readonly fingerprint: string | null;
  /** Names of disks that it has as the offer describes them. */
  readonly disks: readonly string[];
}

/** What a host holds back for a machine that was accepted (N2). */
export interface Need {
  readonly memoryBytes: number;
  readonly tmemBytes: number;
  readonly tmemSlots: number;
  readonly name: string;
}

/** Beside what the pages take: the guest goes on putting while it moves. One part in 8, and 1 MiB (protocol 4.4). */
const TMEM_MARGIN_PART = 8;
const TMEM_MARGIN_BYTES = 1024 * 1024;

/** What a machine needs on this host: tmem as carried when the host knows the pages' codecs, else unpacked. */
export function needOf(offer: Offer, { tmem }: Pick<HostCapability, 'tmem'>): Need {
  const memoryBytes = offer.memory.bytes + offer.deviceBytes;
  const { name } = offer.machine;
  if (offer.tmem === null) return { memoryBytes, tmemBytes: 0, tmemSlots: 0, name };
  const { persistent, codecs, pools } = offer.tmem;
  const known = codecs.every((codec) => tmem.codecs.includes(codec));
  const bytes = known ? persistent.carriedBytes : persistent.bytes;
  const margin = Math.ceil(bytes / TMEM_MARGIN_PART) + TMEM_MARGIN_BYTES;
  const tmemSlots = pools.filter(({ shared }) => shared).length;
  return { memoryBytes, tmemBytes: bytes + margin, tmemSlots, name };
}

/**
 * Every reason why the host can't take the machine; none when it can.
 * @param source identity of the host that offers.
 */
export function judge(offer: Offer, source: string, host: HostCapability, probe: Probe): readonly Reason[] {
  return [
    ...aboutHost(offer, source, host),
    ...aboutDriver(offer, host, probe),
    ...aboutMemory(offer, host),
    ...aboutDisks(offer, host, probe),
    ...aboutTmem(offer, host),
  ];
}

function* aboutHost(offer: Offer, source: string, host: HostCapability): Generator<Reason> {
  const { machine } = offer;
  if (host.closed !== null) yield reason('POLICY', null, host.closed);
  if (host.freeReservations < 1) yield reason('BUSY', 1, host.freeReservations);
  if (source === host.identity) yield reason('IDENTITY', machine.uuid, 'the source is this host');
  else if (host.machines.includes(machine.uuid)) yield reason('IDENTITY', machine.uuid, 'a guest with it');
  if (host.names.includes(machine.name)) yield reason('NAME', machine.name);
  if (!host.codecs.includes(offer.codec)) yield reason('CODEC', offer.codec, [...host.codecs]);
  const unknown = offer.records.filter((name) => !host.records.includes(name));
  if (unknown.length > 0) yield reason('RECORD', unknown, [...host.records]);
}

function* aboutDriver({ driver }: Offer, host: HostCapability, probe: Probe): Generator<Reason> {
  const found = host.drivers.find(({ name }) => name === driver.name);
  if (found === undefined) {
    yield reason(
      'DRIVER',
      driver.name,
      host.drivers.map(({ name }) => name),
    );
  } else if (!found.versions.includes(driver.version)) {
    yield reason('DRIVER_VERSION', driver.version, [...found.versions]);
  } else if (probe.fingerprint !== driver.fingerprint) {
    yield reason('FINGERPRINT', driver.fingerprint, probe.fingerprint);
  }
}

function* aboutMemory(offer: Offer, host: HostCapability): Generator<Reason> {
  const { memoryBytes } = needOf(offer, host);
  if (memoryBytes > host.freeMemoryBytes) yield reason('MEMORY', memoryBytes, host.freeMemoryBytes);
  const found = host.drivers.find(({ name }) => name === offer.driver.name)?.pageBytes;
  const { pageBytes } = offer.memory;
  if (found !== undefined && found !== pageBytes) yield reason('PAGE_SIZE', { memory: pageBytes }, { memory: found });
}

function* aboutDisks({ disks }: Offer, host: HostCapability, probe: Probe): Generator<Reason> {
  for (const { name, policy, digest } of disks) {
    const outside = policy === 'shared' && !host.sharedDisks;
    if (outside) yield reason('DISK', { name, policy }, 'the host lets no machine write to its files');
    else if ((policy === 'digest' || policy === 'shared') && !probe.disks.includes(name)) {
      yield reason('DISK', { name, policy, digest }, null);
    }
  }
}

function* aboutTmem(offer: Offer, host: HostCapability): Generator<Reason> {
  if (offer.tmem === null) return;
  const { pools, pageBytes } = offer.tmem;
  // A pool that others share on the source can't move, whatever the destination has (T7).
  const held = pools.filter(({ persistent, shared, sharers }) => persistent && shared && sharers > 0);
  for (const { slot, sharers } of held) yield reason('SHARED_POOL', { slot }, { sharers });
  const { tmem } = host;
  if (host.drivers.some((driver) => driver.name === offer.driver.name && !driver.tmem)) {
    yield reason('NO_TMEM');
    return;
  }
  if (!tmem.enabled) {
    yield reason('TMEM_DISABLED');
    return;
  }
  if (tmem.pageBytes !== pageBytes) yield reason('PAGE_SIZE', { tmem: pageBytes }, { tmem: tmem.pageBytes });
  for (const { slot, uuid } of pools) {
    if (uuid !== null && tmem.uuids.includes(uuid)) yield reason('SHARED_POOL', { slot, uuid }, 'a pool with its uuid');
  }
  const { tmemBytes, tmemSlots } = needOf(offer, host);
  if (tmemBytes > tmem.freeBytes) yield reason('TMEM_BYTES', tmemBytes, tmem.freeBytes);
  if (tmemSlots > tmem.freeSlots) yield reason('POOL_SLOTS', tmemSlots, tmem.freeSlots);
}
