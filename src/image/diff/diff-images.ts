import type { Json } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { diffDevices, diffDisks, diffVcpuStates } from './device-diff.ts';
import { diffFacts } from './json-keys.ts';
import { diffMemory } from './memory-diff.ts';
import { holds, PARTS, type Part } from './parts.ts';
import { diffCpuid, diffMsrs } from './policy-diff.ts';
import type { DiffSide, ImageDiff, KeyDiff, MemoryDiff } from './result.ts';
import { diffTmem } from './tmem-diff.ts';
import { diffVcpus } from './vcpu-diff.ts';

/** Ranges, pages, keys and handles that are named, when the caller does not say how many. */
const NAMED = 20;

export interface DiffOptions extends Work {
  /** Most ranges of pages, keys and handles that are named in each list; the counts are whole. Default 20. */
  readonly max?: number;
  /** Also name the places in the first pages that differ. */
  readonly bytes?: boolean;
}

/**
 * Compares two images by what they hold, whatever their formats (spec/cli-json.md 13). Parts that one of the formats
 * has no place for are not compared, and are named; registers only where both know them. Memory is read in order, a
 * batch of each image at a time.
 *
 * @param a stays open, and so does `b`. @throws the errors of damage in either, READ_FAILED, CANCELLED
 */
export async function diffImages(a: OpenedImage, b: OpenedImage, options: DiffOptions = {}): Promise<ImageDiff> {
  const { max: most = NAMED, bytes = false, signal, onProgress } = options;
  const notCompared = PARTS.flatMap((part) => whyNot(part, a, b));
  const compares = (part: Part): boolean => !notCompared.some((one) => one.part === part);
  const memory = compares('memory')
    ? await diffMemory(a.memory, b.memory, {
        most,
        bytes,
        classes: compares('classes'),
        wordBits: wordBitsOf(a, b),
        signal,
        onProgress,
      })
    : null;
  const parts = {
    head: compares('head') ? diffFacts(headFacts(a), headFacts(b)) : [],
    memory,
    vcpus: compares('vcpus') ? diffVcpus(a, b) : null,
    vcpuStates: compares('vcpuStates') ? await diffVcpuStates(a, b) : null,
    cpuid: compares('cpuid') ? diffCpuid(a.cpuid, b.cpuid) : null,
    msrs: compares('msrs') ? diffMsrs(a.msrs, b.msrs) : null,
    devices: compares('devices') ? await diffDevices(a, b, most) : null,
    disks: compares('disks') ? diffDisks(a, b) : null,
    tmem: compares('tmem') ? await diffTmem(a.tmem ?? null, b.tmem ?? null, most, { signal }) : null,
  };
  const differing = PARTS.filter((part) => differs(part, parts));
  if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Comparing was cancelled');
  return {
    same: differing.length === 0,
    a: sideOf(a),
    b: sideOf(b),
    differing,
    notCompared,
    ...parts,
    about: diffAbout(a, b),
  };
}

function whyNot(part: Part, a: OpenedImage, b: OpenedImage): ImageDiff['notCompared'][number][] {
  const [inA, inB] = [holds(a, part), holds(b, part)];
  if (!inA || !inB) {
    const formats = [...new Set([...(inA ? [] : [a.format]), ...(inB ? [] : [b.format])])].join(' and ');
    const side = inA ? 'b' : inB ? 'a' : 'both';
    return [{ part, in: side, why: `images of the format ${formats} have no place for it` }];
  }
  if (part === 'memory' && a.memory.pageSize !== b.memory.pageSize) {
    return [{ part, in: 'both', why: 'their pages have different sizes' }];
  }
  return [];
}

/** What the width of a word is: of the image that holds page tables of pfns, which knows it. */
function wordBitsOf(a: OpenedImage, b: OpenedImage): 32 | 64 {
  return a.memory.pfnOfFrame === undefined ? a.head.wordBits : b.head.wordBits;
}

function headFacts({ head, memory }: OpenedImage): Record<string, Json> {
  const { domainType, byteOrder, wordBits, machine } = head;
  return { domainType, byteOrder, wordBits, machine, pageSize: memory.pageSize };
}

function sideOf({ format, nesting, about }: OpenedImage): DiffSide {
  const { name, uuid } = about;
  return {
    format,
    nesting,
    name: typeof name === 'string' ? name : null,
    uuid: typeof uuid === 'string' ? uuid : null,
  };
}

/** An image that does not say its name is not another machine for that. */
function diffAbout(a: OpenedImage, b: OpenedImage): KeyDiff[] {
  return ['name', 'uuid'].flatMap((key) => {
    const [one, other] = [a.about[key], b.about[key]];
    return one === undefined || other === undefined || one === other ? [] : [{ path: key, a: one, b: other }];
  });
}

type Parts = Pick<
  ImageDiff,
  'head' | 'memory' | 'vcpus' | 'vcpuStates' | 'cpuid' | 'msrs' | 'devices' | 'disks' | 'tmem'
>;

function differs(part: Part, diff: Parts): boolean {
  switch (part) {
    case 'head':
      return diff.head.length > 0;
    case 'memory':
      return diff.memory !== null && memoryDiffers(diff.memory);
    case 'classes':
      return (diff.memory?.classes?.pages ?? 0) > 0;
    case 'vcpus':
      return alone(diff.vcpus) || (diff.vcpus?.both.some(({ registers }) => registers.length > 0) ?? false);
    case 'vcpuStates':
      return alone(diff.vcpuStates) || (diff.vcpuStates?.both.some(({ same }) => !same) ?? false);
    case 'cpuid':
      return alone(diff.cpuid) || (diff.cpuid?.different.length ?? 0) > 0;
    case 'msrs':
      return alone(diff.msrs) || (diff.msrs?.different.length ?? 0) > 0;
    case 'devices':
      return alone(diff.devices) || (diff.devices?.both.some(({ same, facts }) => !same || facts.length > 0) ?? false);
    case 'disks':
      return alone(diff.disks) || (diff.disks?.both.some(({ facts }) => facts.length > 0) ?? false);
    case 'tmem': {
      const { tmem } = diff;
      if (tmem === null) return false;
      const { client, pools, different, onlyA, onlyB } = tmem;
      return client.length + pools.length + different.pages + onlyA.pages + onlyB.pages > 0;
    }
  }
}

function memoryDiffers({ different, onlyA, onlyB }: MemoryDiff): boolean {
  return different.pages + onlyA.pages + onlyB.pages > 0;
}

/** Whether one image has something that the other has not. */
function alone(lists: { readonly onlyA: readonly unknown[]; readonly onlyB: readonly unknown[] } | null): boolean {
  return lists !== null && lists.onlyA.length + lists.onlyB.length > 0;
}
