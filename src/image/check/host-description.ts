/** What a host can run, as data: spec/host-description.md. */
import { parseJsonObject, type Json, type JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { CpuidLeaf, Msr } from '../../stream/records/vcpu.ts';
import { escapePointer } from '../diff/pointer.ts';

/** Longest description, its depth, and most entries of a list (spec/host-description.md 1). */
const LIMITS = { bytes: 1024 * 1024, depth: 32, entries: 65_536 } as const;
/** What the key `format` says, and the version that is read here. */
const FORMAT = 'transmigrate-host';
const VERSION = 1;

/** What runs machines on a host. What is absent is not known. */
export interface DriverDescription {
  readonly name: string;
  /** Versions whose images it takes. */
  readonly versions?: readonly string[] | undefined;
  /** It takes images of all versions up to the newest that is listed, as Xen and QEMU do. */
  readonly takesOlder?: boolean | undefined;
  readonly domainTypes?: readonly string[] | undefined;
  /** ELF machine numbers. */
  readonly machines?: readonly number[] | undefined;
  readonly pageSizes?: readonly number[] | undefined;
  readonly deviceFormats?: readonly string[] | undefined;
  /** Of device configurations that can be made: hexadecimal digits. */
  readonly fingerprints?: readonly string[] | undefined;
  /** Most memory of a machine, and most processors. */
  readonly memoryBytes?: number | undefined;
  readonly vcpus?: number | undefined;
}

export interface HostTmemDescription {
  readonly enabled: boolean;
  readonly freeBytes?: number | undefined;
  /** Pools that a guest can have. */
  readonly poolSlots?: number | undefined;
  readonly pageSizes?: readonly number[] | undefined;
  /** Uuids of shared pools that are there. */
  readonly sharedPools?: readonly string[] | undefined;
}

/** A host. What is absent is not known, and is not judged. */
export interface HostDescription {
  readonly name?: string | undefined;
  readonly drivers?: readonly DriverDescription[] | undefined;
  readonly memory?: { readonly freeBytes?: number | undefined } | undefined;
  /** null: the host has no tmem. */
  readonly tmem?: HostTmemDescription | null | undefined;
  readonly codecs?: readonly string[] | undefined;
  readonly policy?:
    | { readonly cpuid?: readonly CpuidLeaf[] | undefined; readonly msrs?: readonly Msr[] | undefined }
    | undefined;
  readonly disks?:
    | { readonly digests?: readonly string[] | undefined; readonly locators?: readonly string[] | undefined }
    | undefined;
  readonly guests?: readonly { readonly name: string; readonly uuid?: string | undefined }[] | undefined;
}

/** Reads a description to its end. @throws HOST_INVALID with the path of what is wrong, READ_FAILED */
export async function readHostDescription(source: ByteSource): Promise<HostDescription> {
  const bytes = new Uint8Array(LIMITS.bytes);
  let used = 0;
  for await (const piece of source.pieces()) {
    if (used + piece.byteLength > bytes.byteLength) {
      throw invalid(`${source.name} is longer than the ${LIMITS.bytes} bytes that a description may have`, '');
    }
    bytes.set(piece, used);
    used += piece.byteLength;
  }
  return parseHostDescription(bytes.subarray(0, used), source.name);
}

/** @param name of the input, for messages. @throws HOST_INVALID with the path of what is wrong */
export function parseHostDescription(bytes: Uint8Array, name: string): HostDescription {
  let object: JsonObject;
  try {
    object = parseJsonObject(bytes, LIMITS.depth, { offset: 0, path: name, section: 'host-description' });
  } catch (cause) {
    if (!(cause instanceof TransmigrateError)) throw cause;
    throw invalid(`${name} is no description of a host: ${cause.message}`, '', cause);
  }
  const root = new Node(object, '');
  if (root.text('format') !== FORMAT) throw invalid(`${name} is no description of a host`, '/format');
  const version = root.count('version');
  if (version !== VERSION) throw invalid(`A description of another version than ${VERSION}`, '/version');
  const memory = root.child('memory');
  const policy = root.child('policy');
  const disks = root.child('disks');
  const tmem = root.child('tmem');
  return {
    name: root.text('name'),
    drivers: root.children('drivers')?.map(driverOf),
    memory: memory === undefined ? undefined : { freeBytes: memory.count('freeBytes') },
    tmem: root.isNull('tmem') ? null : tmem === undefined ? undefined : tmemOf(tmem),
    codecs: root.texts('codecs'),
    policy:
      policy === undefined
        ? undefined
        : { cpuid: policy.children('cpuid')?.map(leafOf), msrs: policy.children('msrs')?.map(msrOf) },
    disks: disks === undefined ? undefined : { digests: disks.texts('digests'), locators: disks.texts('locators') },
    guests: root.children('guests')?.map((guest) => ({ name: guest.needed('name'), uuid: guest.text('uuid') })),
  };
}

function driverOf(node: Node): DriverDescription {
  return {
    name: node.needed('name'),
    versions: node.texts('versions'),
    takesOlder: node.flag('takesOlder'),
    domainTypes: node.texts('domainTypes'),
    machines: node.counts('machines'),
    pageSizes: node.counts('pageSizes'),
    deviceFormats: node.texts('deviceFormats'),
    fingerprints: node.texts('fingerprints'),
    memoryBytes: node.count('memoryBytes'),
    vcpus: node.count('vcpus'),
  };
}

function tmemOf(node: Node): HostTmemDescription {
  const enabled = node.flag('enabled');
  if (enabled === undefined) throw invalid('It must say whether tmem is enabled', `${node.path}/enabled`);
  return {
    enabled,
    freeBytes: node.count('freeBytes'),
    poolSlots: node.count('poolSlots'),
    pageSizes: node.counts('pageSizes'),
    sharedPools: node.texts('sharedPools'),
  };
}

/** As `inspect` prints a leaf: hexadecimal digits (spec/cli-json.md 3). */
function leafOf(node: Node): CpuidLeaf {
  const [leaf, subleaf, eax, ebx, ecx, edx] = ['leaf', 'subleaf', 'eax', 'ebx', 'ecx', 'edx'].map((key) =>
    Number(node.hex(key, 8)),
  );
  return { leaf, subleaf, eax, ebx, ecx, edx };
}

function msrOf(node: Node): Msr {
  return { index: Number(node.hex('index', 8)), flags: 0, value: node.hex('value', 16) };
}

/** An object of the description, and where it stands. */
class Node {
  readonly #object: JsonObject;
  readonly path: string;

  constructor(object: JsonObject, path: string) {
    this.#object = object;
    this.path = path;
  }

  #get(key: string): Json | undefined {
    return Object.hasOwn(this.#object, key) ? this.#object[key] : undefined;
  }

  #wrong(key: string, what: string): TransmigrateError {
    return invalid(`${key} must be ${what}`, `${this.path}/${escapePointer(key)}`);
  }

  isNull(key: string): boolean {
    return this.#get(key) === null;
  }

  text(key: string): string | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === 'string') return value;
    throw this.#wrong(key, 'a string');
  }

  needed(key: string): string {
    const value = this.text(key);
    if (value === undefined) throw this.#wrong(key, 'there, and a string');
    return value;
  }

  flag(key: string): boolean | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.#wrong(key, 'true or false');
  }

  count(key: string): number | undefined {
    const value = this.#get(key);
    if (value === undefined || isCount(value)) return value;
    throw this.#wrong(key, 'an integer from 0 on');
  }

  hex(key: string, digits: number): bigint {
    const value = this.needed(key);
    if (/^[0-9a-f]+$/i.test(value) && value.length <= digits) return BigInt(`0x${value}`);
    throw this.#wrong(key, `at most ${digits} hexadecimal digits`);
  }

  #list(key: string): readonly Json[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.length <= LIMITS.entries) return value;
    throw this.#wrong(key, `a list of at most ${LIMITS.entries}`);
  }

  texts(key: string): readonly string[] | undefined {
    return this.#list(key)?.map((value) => {
      if (typeof value !== 'string') throw this.#wrong(key, 'a list of strings');
      return value;
    });
  }

  counts(key: string): readonly number[] | undefined {
    return this.#list(key)?.map((value) => {
      if (!isCount(value)) throw this.#wrong(key, 'a list of integers from 0 on');
      return value;
    });
  }

  child(key: string): Node | undefined {
    const value = this.#get(key);
    if (value === undefined || value === null) return undefined;
    if (isObject(value)) return new Node(value, `${this.path}/${escapePointer(key)}`);
    throw this.#wrong(key, 'an object');
  }

  children(key: string): readonly Node[] | undefined {
    return this.#list(key)?.map((value, i) => {
      if (!isObject(value)) throw this.#wrong(key, 'a list of objects');
      return new Node(value, `${this.path}/${escapePointer(key)}/${i}`);
    });
  }
}

function isCount(value: Json): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(what: string, path: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('HOST_INVALID', what, {
    ...(path !== '' && { path }),
    ...(cause !== undefined && { cause }),
  });
}
