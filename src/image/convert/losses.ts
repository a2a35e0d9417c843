/** What an image has and a format has no place for (spec/foreign/model.md 5). */
import { TransmigrateError } from '../../errors.ts';
import { PAGE_CLASS } from '../../stream/records/ram.ts';
import type { OpenedDevice, OpenedImage } from '../open/opened-image.ts';
import type { FormatHolds, HeldDevices } from '../writers/holds.ts';
import type { Survey } from './survey.ts';

/** What kind of thing is lost. */
export type LossKind =
  | 'vcpu'
  | 'vcpu-state'
  | 'cpuid'
  | 'msrs'
  | 'device'
  | 'disk'
  | 'tmem'
  | 'own-record'
  | 'page-class'
  | 'checkpoints'
  | 'about'
  | 'origin'
  | 'configuration';

/** One thing that a conversion leaves out. JSON-safe. */
export interface ConversionLoss {
  readonly what: LossKind;
  /** Which of them: the name of a device, the number of a vCPU. */
  readonly name: string;
  /** Why there is no place for it, as the end of a sentence. */
  readonly why: string;
}

/** Most losses that are named; an image that has more is not better understood by more. */
const LOSSES_NAMED = 1000;

/** What an image is compared by. */
export interface Compared {
  readonly image: OpenedImage;
  readonly survey: Survey;
  readonly holds: FormatHolds;
  /** The state at the last checkpoint was asked for: then that others are left out is no loss. */
  readonly toCheckpoint: boolean;
}

/** All that would be lost, in the order of the model. */
export function conversionLosses(compared: Compared): ConversionLoss[] {
  const all = [
    ...processorLosses(compared),
    ...deviceLosses(compared),
    ...tmemLosses(compared),
    ...memoryLosses(compared),
    ...aboutLosses(compared),
  ];
  return all.slice(0, LOSSES_NAMED);
}

/** @throws CONVERSION_LOSS with `data.losses`, when there are any and that is not allowed */
export function refuseLosses(format: string, losses: readonly ConversionLoss[], allowLoss: boolean): void {
  if (losses.length === 0 || allowLoss) return;
  const names = losses.slice(0, 4).map(({ what, name }) => `${what} ${name}`);
  const more = losses.length > names.length ? ` and ${losses.length - names.length} more` : '';
  throw new TransmigrateError('CONVERSION_LOSS', `${format} has no place for ${names.join(', ')}${more}`, {
    section: 'foreign/model 5.3',
    data: { format, losses },
  });
}

function processorLosses({ image, holds }: Compared): ConversionLoss[] {
  const { format } = holds;
  const losses: ConversionLoss[] = [];
  if (!holds.vcpus) {
    for (const { vcpu } of image.vcpus) {
      losses.push({ what: 'vcpu', name: String(vcpu), why: `${format} has no processors` });
    }
  }
  for (const { vcpu, stateKind } of image.vcpuStates) {
    if (holds.vcpuStates === null || holds.vcpuStates.includes(stateKind)) continue;
    const name = `${vcpu}, kind 0x${stateKind.toString(16)}`;
    losses.push({ what: 'vcpu-state', name, why: `${format} has no such state of processors` });
  }
  if (!holds.cpuid && (image.cpuid?.length ?? 0) > 0) {
    losses.push({ what: 'cpuid', name: 'policy', why: `${format} has no CPUID policy` });
  }
  if (!holds.msrs && (image.msrs?.length ?? 0) > 0) {
    losses.push({ what: 'msrs', name: 'policy', why: `${format} has no MSR policy` });
  }
  return losses;
}

function deviceLosses({ image, holds }: Compared): ConversionLoss[] {
  const { format } = holds;
  const losses: ConversionLoss[] = [];
  for (const device of image.devices) {
    if (holdsDevice(holds.devices, device)) continue;
    losses.push({ what: 'device', name: device.name, why: `${format} has no place for ${device.format}` });
  }
  if (!holds.disks) {
    for (const { name } of image.disks) losses.push({ what: 'disk', name, why: `${format} does not name disks` });
  }
  return losses;
}

/** Whether one of these places is for this device. */
export function holdsDevice(held: readonly HeldDevices[] | null, { name, format }: OpenedDevice): boolean {
  if (held === null) return true;
  return held.some(
    (one) =>
      one.format === format &&
      (one.names === undefined ||
        one.names.some((other) => (other.endsWith('*') ? name.startsWith(other.slice(0, -1)) : other === name))),
  );
}

function tmemLosses({ survey, holds }: Compared): ConversionLoss[] {
  const losses: ConversionLoss[] = [];
  const { tmemClients, tmemPools, tmemPages } = survey;
  if (!holds.tmem && tmemClients + tmemPools > 0) {
    const name = `pools: ${tmemPools}, pages: ${tmemPages}`;
    losses.push({ what: 'tmem', name, why: `${holds.format} has no transcendent memory` });
  }
  if (!holds.ownRecords) {
    for (const name of survey.ownRecords) {
      losses.push({ what: 'own-record', name, why: `${holds.format} has no records of one's own` });
    }
  }
  return [...losses, ...unknownLosses(survey)];
}

/** Optional records that are not known can't be carried over, into whichever format. */
export function unknownLosses({ unknownRecords }: Survey): ConversionLoss[] {
  if (unknownRecords === 0) return [];
  return [{ what: 'own-record', name: `${unknownRecords} unknown`, why: 'nobody here knows what they say' }];
}

/** Classes of pages by what is said of them. */
const CLASSES: readonly (readonly [name: string, classes: readonly number[]])[] = [
  ['page tables', [1, 2, 3, 4, PAGE_CLASS.pinned1, PAGE_CLASS.pinned2, PAGE_CLASS.pinned3, PAGE_CLASS.pinned4]],
  ['allocated', [PAGE_CLASS.allocated]],
  ['broken', [PAGE_CLASS.broken]],
  ['ballooned', [PAGE_CLASS.ballooned]],
];
const ABSENT: readonly (readonly [name: string, classes: readonly number[]])[] = [
  ['not present', [PAGE_CLASS.notPresent]],
];

function memoryLosses({ survey, holds, toCheckpoint }: Compared): ConversionLoss[] {
  const losses: ConversionLoss[] = [];
  if (holds.pageClasses !== 'all') {
    for (const [name, classes] of holds.pageClasses === 'none' ? [...CLASSES, ...ABSENT] : CLASSES) {
      if (!classes.some((one) => survey.classes.has(one))) continue;
      losses.push({ what: 'page-class', name, why: `${holds.format} does not tell such pages from others` });
    }
  }
  if (!holds.checkpoints && survey.checkpoints > 1 && !toCheckpoint) {
    const name = `all but the last of ${survey.checkpoints}`;
    losses.push({ what: 'checkpoints', name, why: `${holds.format} is written with its last state alone` });
  }
  return losses;
}

/** What ABOUT alone says: a configuration that is a device blob says the same, and is compared as that. */
function aboutLosses({ image, holds }: Compared): ConversionLoss[] {
  const losses: ConversionLoss[] = [];
  const hasConfiguration = image.devices.some(({ format }) => format === 'xl-config');
  for (const key of ['name', 'uuid', 'configuration']) {
    if (image.about[key] === undefined || holds.about.includes(key) || hasConfiguration) continue;
    losses.push({ what: 'about', name: key, why: `${holds.format} does not say it` });
  }
  const { wants } = holds;
  if (wants !== undefined && !image.devices.some(({ format }) => format === wants.device)) {
    losses.push({ what: 'configuration', name: wants.device, why: wants.why });
  }
  return losses;
}
