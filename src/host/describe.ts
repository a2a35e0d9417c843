import { freemem } from 'node:os';
import { CODEC } from '../codec/codec.ts';
import { V86_VERSIONS } from '../machine/v86/versions.ts';
import { PAGE_BYTES, TMEM_LIMITS } from '../tmem/constants.ts';
import type { GuestInfo, HostInfo } from './api.ts';

/** ELF e_machine of a 32-bit x86, and most memory of a machine of v86. */
const EM_386 = 3;
const MOST_MEMORY_BYTES = 2047 * 2 ** 20;

/** What `transmigrate host describe` prints: spec/host-description.md. */
export interface OwnDescription {
  readonly format: 'transmigrate-host';
  readonly version: 1;
  readonly tool: { readonly name: string; readonly version: string };
  readonly drivers: readonly {
    readonly name: string;
    readonly versions: readonly string[];
    readonly domainTypes: readonly string[];
    readonly machines: readonly number[];
    readonly pageSizes: readonly number[];
    readonly deviceFormats: readonly string[];
    readonly memoryBytes: number;
    readonly vcpus: number;
  }[];
  readonly memory: { readonly freeBytes: number };
  readonly tmem: {
    readonly enabled: true;
    readonly freeBytes: number;
    readonly limitBytes: number;
    readonly poolSlots: number;
    readonly pageSizes: readonly number[];
  } | null;
  readonly codecs: readonly string[];
  readonly guests: readonly { readonly name: string; readonly uuid: string }[];
}

/**
 * The description of a host of this package, which runs on this machine. What it cannot know is not in it: which disks
 * could be reached, and what processor v86 shows.
 */
export function describeHost(info: HostInfo, guests: readonly GuestInfo[]): OwnDescription {
  const { tmem } = info;
  return {
    format: 'transmigrate-host',
    version: 1,
    tool: { name: 'transmigrate', version: info.version },
    drivers: [
      {
        name: 'v86',
        versions: V86_VERSIONS.map(({ version }) => version),
        domainTypes: ['emulated', 'emulated-tmem'],
        machines: [EM_386],
        pageSizes: [PAGE_BYTES],
        deviceFormats: ['v86-state'],
        memoryBytes: MOST_MEMORY_BYTES,
        vcpus: 1,
      },
    ],
    memory: { freeBytes: freemem() },
    tmem:
      tmem === null
        ? null
        : {
            enabled: true,
            freeBytes: Math.max(0, tmem.limitBytes - tmem.usedBytes),
            limitBytes: tmem.limitBytes,
            poolSlots: TMEM_LIMITS.poolsOfClient,
            pageSizes: [PAGE_BYTES],
          },
    codecs: Object.keys(CODEC),
    guests: guests.map(({ name, uuid }) => ({ name, uuid })),
  };
}
