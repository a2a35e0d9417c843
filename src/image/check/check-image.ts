import type { Json } from '../../bytes/bounded-json.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import type { DriverDescription, HostDescription } from './host-description.ts';
import { needsOf, type ImageNeeds } from './needs.ts';
import { cpuidNeeds, msrNeeds } from './policy-needs.ts';

/** Why an image does not run on a host: the names that a migration's refusal has too (N1). */
export const REFUSALS = [
  'no-tmem',
  'tmem-disabled',
  'tmem-bytes',
  'tmem-slots',
  'page-size',
  'shared-pool',
  'codec',
  'driver',
  'driver-version',
  'fingerprint',
  'memory',
  'disk',
  'name',
  'identity',
  'policy',
] as const;
export type RefusalReason = (typeof REFUSALS)[number];

/** A reason, as data and as text. */
export interface Refusal {
  readonly reason: RefusalReason;
  /** One sentence: what does not fit. */
  readonly message: string;
  /** What can be done. */
  readonly remedy: string;
  readonly need: Json;
  readonly have: Json;
}

/** The result of {@link checkImage}: spec/cli-json.md 14. */
export interface ImageCheck {
  /** Whether nothing stands against it. */
  readonly fits: boolean;
  readonly host: string | null;
  readonly reasons: readonly Refusal[];
  /** What the description of the host, or the image, does not say, and so was not judged. */
  readonly unknown: readonly { readonly what: RefusalReason; readonly why: string }[];
  readonly needs: ImageNeeds;
}

export interface CheckOptions {
  /** It is to take the place of the machine that it was saved of, with its uuid; else it becomes a clone. */
  readonly sameIdentity?: boolean;
  /** The name that it is to have on the host, when not its own. */
  readonly name?: string | undefined;
}

/**
 * Whether an image will run on a host, by what both say: every reason against it, each with its remedy. Nothing is
 * moved or started.
 * @throws the errors of damage in tmem, READ_FAILED
 */
export async function checkImage(
  image: OpenedImage,
  host: HostDescription,
  options: CheckOptions = {},
): Promise<ImageCheck> {
  const needs = await needsOf(image);
  const check = new Check(needs, host);
  check.driver(image);
  check.memory();
  check.tmem();
  check.codecs();
  check.disks();
  check.guests(options);
  check.policy(image);
  return check.done();
}

class Check {
  readonly #needs: ImageNeeds;
  readonly #host: HostDescription;
  readonly #reasons: Refusal[] = [];
  readonly #unknown: { what: RefusalReason; why: string }[] = [];
  /** The driver that is for it, when there is one. */
  #driver: DriverDescription | undefined;

  constructor(needs: ImageNeeds, host: HostDescription) {
    this.#needs = needs;
    this.#host = host;
  }

  done(): ImageCheck {
    return {
      fits: this.#reasons.length === 0,
      host: this.#host.name ?? null,
      reasons: this.#reasons,
      unknown: this.#unknown,
      needs: this.#needs,
    };
  }

  #refuse(reason: RefusalReason, message: string, remedy: string, need: Json, have: Json): void {
    this.#reasons.push({ reason, message, remedy, need, have });
  }

  #unsaid(what: RefusalReason, why: string): void {
    this.#unknown.push({ what, why });
  }

  driver({ format, kind }: OpenedImage): void {
    const { driver, domainType, machine, vcpus, deviceFormats } = this.#needs;
    if (kind === 'core' || format === 'xen-core' || format === 'elf-core' || format === 'raw') {
      const remedy = 'Look at it with `transmigrate inspect`; run a save of the machine instead.';
      this.#refuse('driver', 'It is a core: it holds no machine that can go on', remedy, 'save', 'core');
      return;
    }
    const { drivers } = this.#host;
    if (driver === null) return this.#unsaid('driver', 'the image does not say what ran it');
    if (drivers === undefined) return this.#unsaid('driver', 'the description names no drivers');
    const found = drivers.find(({ name }) => name === driver.name);
    if (found === undefined) {
      const have = drivers.map(({ name }) => name);
      const remedy = `Choose a host that runs ${driver.name}.`;
      this.#refuse('driver', `The host does not run machines of ${driver.name}`, remedy, driver.name, have);
      return;
    }
    this.#driver = found;
    this.#version(found);
    this.#oneOf('driver', 'A domain of type', domainType, found.domainTypes);
    this.#oneOf('driver', 'A machine of type', machine, found.machines);
    for (const one of deviceFormats) this.#oneOf('driver', 'Device state in the format', one, found.deviceFormats);
    this.#oneOf('page-size', 'A machine with pages of', this.#needs.pageSize, found.pageSizes);
    if (found.vcpus !== undefined && vcpus > found.vcpus) {
      const remedy = 'Choose a host that gives a machine more processors.';
      this.#refuse('driver', `It has ${vcpus} processors, more than a machine can have`, remedy, vcpus, found.vcpus);
    }
    const { fingerprint } = this.#needs;
    if (fingerprint !== null && found.fingerprints !== undefined && !found.fingerprints.includes(fingerprint)) {
      const remedy = 'Make a machine with the configuration that the image names: same version, devices and disks.';
      this.#refuse('fingerprint', 'No such device configuration is there', remedy, fingerprint, [
        ...found.fingerprints,
      ]);
    }
  }

  #version(found: DriverDescription): void {
    const { name, version } = this.#needs.driver!;
    const { versions, takesOlder = false } = found;
    if (version === null)
      return this.#unsaid('driver-version', `the image does not say which version of ${name} ran it`);
    if (versions === undefined) return this.#unsaid('driver-version', `the description names no versions of ${name}`);
    const plain = plainVersion(version);
    const fits = versions.some((one) =>
      takesOlder ? compareVersions(plainVersion(one), plain) >= 0 : plainVersion(one) === plain,
    );
    if (fits) return;
    const remedy = takesOlder
      ? `Bring the host to ${name} ${plain} or newer.`
      : `Use a host that carries ${name} ${plain}; an image restores only in the version that wrote it.`;
    this.#refuse('driver-version', `The host has no ${name} that takes images of ${version}`, remedy, version, [
      ...versions,
    ]);
  }

  #oneOf<T extends string | number>(
    reason: RefusalReason,
    what: string,
    need: T,
    have: readonly T[] | undefined,
  ): void {
    if (have === undefined || have.includes(need)) return;
    const remedy = `Choose a host that takes it; this one takes ${have.join(', ')}.`;
    this.#refuse(reason, `${what} ${need} does not run there`, remedy, need, [...have]);
  }

  memory(): void {
    const { memoryBytes } = this.#needs;
    const most = this.#driver?.memoryBytes;
    if (most !== undefined && memoryBytes > most) {
      const remedy = 'Choose a host whose machines can have more memory.';
      this.#refuse(
        'memory',
        `It has ${memoryBytes} bytes of memory, more than a machine can have`,
        remedy,
        memoryBytes,
        most,
      );
    }
    const free = this.#host.memory?.freeBytes;
    if (free === undefined) return this.#unsaid('memory', 'the description does not say how much memory is free');
    if (memoryBytes <= free) return;
    const remedy = `Free ${memoryBytes - free} bytes more on the host, or choose another.`;
    this.#refuse('memory', `It has ${memoryBytes} bytes of memory, and ${free} are free`, remedy, memoryBytes, free);
  }

  tmem(): void {
    const need = this.#needs.tmem;
    if (need === null) return;
    const { tmem } = this.#host;
    if (tmem === undefined) return this.#unsaid('no-tmem', 'the description does not say whether the host has tmem');
    if (tmem === null) {
      const remedy = 'Choose a host that has tmem: `transmigrate host run --tmem SIZE`.';
      this.#refuse('no-tmem', 'It uses tmem, and the host has none', remedy, true, false);
      return;
    }
    if (!tmem.enabled) {
      const remedy = 'Enable tmem on the host.';
      this.#refuse('tmem-disabled', 'It uses tmem, which is not enabled on the host', remedy, true, false);
      return;
    }
    this.#tmemBytes(need, tmem.freeBytes);
    if (tmem.poolSlots !== undefined && need.pools > tmem.poolSlots) {
      const remedy = 'Let the guest give up pools before it is saved, or choose another host.';
      this.#refuse(
        'tmem-slots',
        `It has ${need.pools} pools, and there are fewer slots`,
        remedy,
        need.pools,
        tmem.poolSlots,
      );
    }
    for (const size of need.pageSizes) this.#oneOf('page-size', 'A pool with pages of', size, tmem.pageSizes);
    if (need.sharedPools.length > 0 && tmem.sharedPools === undefined) {
      this.#unsaid('shared-pool', 'the description does not say which shared pools are there');
    }
    const taken = need.sharedPools.filter((uuid) => tmem.sharedPools?.includes(uuid) === true);
    if (taken.length === 0) return;
    const remedy = 'Let the guests on the host leave the pool first: its pages are not those of the image.';
    this.#refuse(
      'shared-pool',
      'A shared persistent pool of it is there already',
      remedy,
      [...need.sharedPools],
      taken,
    );
  }

  #tmemBytes(need: NonNullable<ImageNeeds['tmem']>, free: number | undefined): void {
    if (need.pages === 0) return;
    if (free === undefined) return this.#unsaid('tmem-bytes', 'the description does not say how much tmem is free');
    if (need.bytes <= free) return;
    if (need.storedBytes <= free) {
      return this.#unsaid('tmem-bytes', 'its pages fit only as they are stored: it depends on how the host compresses');
    }
    const remedy = `Give tmem ${need.storedBytes - free} bytes more: \`transmigrate host run --tmem SIZE\`.`;
    const message = `Its tmem pages have ${need.storedBytes} bytes as they are stored, and ${free} are free`;
    this.#refuse('tmem-bytes', message, remedy, need.storedBytes, free);
  }

  codecs(): void {
    const { codecs } = this.#host;
    if (codecs === undefined) return;
    const missing = this.#needs.codecs.filter(
      (codec) => codec !== 'zero' && codec !== 'raw' && !codecs.includes(codec),
    );
    if (missing.length === 0) return;
    const remedy = 'Write the image with another codec, or use a newer transmigrate there.';
    this.#refuse('codec', `It is stored with ${missing.join(', ')}`, remedy, missing, [...codecs]);
  }

  disks(): void {
    const { digests, locators } = this.#host.disks ?? {};
    for (const { name, policy, sha256, locator } of this.#needs.disks) {
      const need = { name, policy, sha256, locator };
      if (policy === 'digest') {
        if (digests === undefined) this.#unsaid('disk', `disk ${name}: the description names no digests`);
        else if (!digests.includes(sha256 ?? '')) {
          const remedy = 'Copy the disk there, unchanged.';
          this.#refuse('disk', `Disk ${name} with the digest that the image names is not there`, remedy, need, null);
        }
      } else if (policy === 'shared') {
        if (locators === undefined) this.#unsaid('disk', `disk ${name}: the description names no disks`);
        else if (!locators.includes(locator)) {
          const remedy = `Make ${locator} reachable from the host.`;
          this.#refuse('disk', `Disk ${name} lies outside the image, at ${locator}`, remedy, need, null);
        }
      }
    }
  }

  guests({ sameIdentity = false, name = this.#needs.name ?? undefined }: CheckOptions): void {
    const { guests } = this.#host;
    const { uuid } = this.#needs;
    if (guests === undefined) return this.#unsaid('name', 'the description does not say which guests are there');
    if (name !== undefined && guests.some((guest) => guest.name === name)) {
      const remedy = 'Give it another name with `transmigrate restore --name NAME`.';
      this.#refuse('name', `A guest ${name} is there already`, remedy, name, name);
    }
    if (sameIdentity && uuid !== null && guests.some((guest) => guest.uuid?.toLowerCase() === uuid)) {
      const remedy = 'Leave --same-identity away to make a clone, or destroy the other one.';
      this.#refuse('identity', 'A guest with its identity is there already', remedy, uuid, uuid);
    }
  }

  policy({ cpuid, msrs }: OpenedImage): void {
    const { policy } = this.#host;
    if (cpuid === null && msrs === null) return;
    if (cpuid !== null && policy?.cpuid === undefined) this.#unsaid('policy', 'the description has no CPUID policy');
    if (msrs !== null && policy?.msrs === undefined) this.#unsaid('policy', 'the description has no MSR policy');
    const needs = [
      ...(cpuid !== null && policy?.cpuid !== undefined ? cpuidNeeds(cpuid, policy.cpuid) : []),
      ...(msrs !== null && policy?.msrs !== undefined ? msrNeeds(msrs, policy.msrs) : []),
    ];
    for (const { what, features, need, have } of needs) {
      const named = features.length === 0 ? '' : `: ${features.join(' ')}`;
      const remedy = 'Start the guest anew with a policy that both hosts can give, or choose a host with the features.';
      this.#refuse('policy', `It was shown more than the host has in ${what}${named}`, remedy, need, have);
    }
  }
}

/** Without the build that stands behind it. */
function plainVersion(version: string): string {
  return version.split('+', 1)[0];
}

/** By their numbers, from the first on. */
function compareVersions(a: string, b: string): number {
  const [one, other] = [a, b].map((version) => (version.match(/\d+/g) ?? []).map(Number));
  for (let i = 0; i < Math.max(one.length, other.length); i++) {
    const difference = (one[i] ?? 0) - (other[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
