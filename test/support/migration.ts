/** An offer, a host and a HELLO that fit together, to be changed by tests. */
import type { Hello } from '../../src/migrate/negotiate/hello.ts';
import type { HostCapability, Probe } from '../../src/migrate/negotiate/judge.ts';
import type { MessageOf } from '../../src/migrate/protocol/messages.ts';

export const SOURCE_IDENTITY: string = 'a'.repeat(32);
export const DESTINATION_IDENTITY: string = 'b'.repeat(32);
export const SECRET: string = '5'.repeat(64);
export const SHARED_UUID = '00000000-0000-4000-8000-0000000000ff';

export const OFFER: MessageOf<'OFFER'> = {
  kind: 'OFFER',
  epoch: 7,
  machine: { uuid: '00000000-0000-4000-8000-000000000001', name: 'one' },
  paused: false,
  driver: { name: 'v86', version: '0.5.462', fingerprint: 'f'.repeat(64), format: 'v86' },
  memory: { bytes: 16 * 2 ** 20, pageBytes: 4096, carriedBytes: 8 * 2 ** 20 },
  vcpus: 1,
  deviceBytes: 300_000,
  tmem: {
    pageBytes: 4096,
    persistent: { pages: 1000, bytes: 4_096_000, carriedBytes: 2_000_000 },
    ephemeral: { pages: 10, bytes: 40_960 },
    pools: [
      {
        slot: 0,
        persistent: true,
        shared: false,
        sharers: 0,
        uuid: null,
        precompressed: false,
        pageBytes: 4096,
        pages: 1000,
      },
      {
        slot: 1,
        persistent: true,
        shared: true,
        sharers: 0,
        uuid: SHARED_UUID,
        precompressed: false,
        pageBytes: 4096,
        pages: 0,
      },
    ],
    codecs: ['raw', 'lz4'],
  },
  disks: [
    { name: 'hda', policy: 'digest', bytes: 4096, digest: 'd'.repeat(64) },
    { name: 'hdb', policy: 'shared', bytes: 4096, digest: null },
  ],
  codec: 'zstd',
  records: ['org.example.own'],
  configuration: {},
};

export const HOST: HostCapability = {
  identity: DESTINATION_IDENTITY,
  names: ['two'],
  machines: ['00000000-0000-4000-8000-000000000002'],
  drivers: [{ name: 'v86', versions: ['0.5.462', '0.5.278'], pageBytes: 4096, tmem: true }],
  freeMemoryBytes: 64 * 2 ** 20,
  codecs: ['raw', 'zstd'],
  records: ['org.example.own'],
  tmem: {
    enabled: true,
    freeBytes: 16 * 2 ** 20,
    freeSlots: 1,
    pageBytes: 4096,
    codecs: ['raw', 'lz4', 'zstd'],
    uuids: [],
  },
  closed: null,
  sharedDisks: true,
  freeReservations: 4,
};

export const PROBE: Probe = { fingerprint: 'f'.repeat(64), disks: ['hda', 'hdb'] };

/** What a host says, without what is different for each connection. */
export function helloOf(identity: string): Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'> {
  return {
    protocol: { least: 1, most: 1 },
    host: { identity, name: identity.slice(0, 4), version: '0.1.0' },
    features: [],
    codecs: ['raw', 'zstd'],
    records: [],
    limits: { channels: 1, sealBytes: 4 * 2 ** 20, unacknowledgedSeals: 4 },
    resumable: true,
  };
}
