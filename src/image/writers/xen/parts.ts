/** What a libxc stream is made of beside its pages, from an image of the model (spec/foreign/model.md 3). */
import { DOMAIN_TYPE, LIBXC_LIMITS, LIBXC_TYPE, RECORD_HEADER_BYTES } from '../../../foreign/xen-libxc/constants.ts';
import { libxcHeader, type LibxcHeader } from '../../../foreign/xen-libxc/headers.ts';
import { decodeLibxcBody, encodeLibxcBody, type LibxcBody } from '../../../foreign/xen-libxc/records.ts';
import { encodeCpuidPolicy, encodeMsrPolicy } from '../../../foreign/xen-libxc/policy.ts';
import { lengthForWidth } from '../../../foreign/xen-libxc/rules.ts';
import { TransmigrateError } from '../../../errors.ts';
import type { FormatName } from '../../identify/layers.ts';
import { DEVICE_FORMAT, VCPU_STATE } from '../../model/event.ts';
import type { OpenedDevice, OpenedImage } from '../../open/opened-image.ts';
import { unfit } from './unfit.ts';

/** A record that can be written. */
export type MadeRecord = Exclude<LibxcBody, { kind: 'UNKNOWN' }>;

/** The version of Xen that is named where the image names none: what the writers were checked with. */
const XEN_VERSION = { xenMajor: 4, xenMinor: 17 } as const;

/** A record that stands nowhere yet. */
const NO_FRAME = { sequence: 0, offset: 0, length: 0, padding: null } as const;

/** Records of a vCPU by kind of state, in the order in which Xen writes them (foreign/xen-libxc 7). */
const VCPU_RECORDS = [
  [VCPU_STATE.xenPvBasic, 'X86_PV_VCPU_BASIC'],
  [VCPU_STATE.xenPvExtended, 'X86_PV_VCPU_EXTENDED'],
  [VCPU_STATE.xenPvXsave, 'X86_PV_VCPU_XSAVE'],
  [VCPU_STATE.xenPvMsrs, 'X86_PV_VCPU_MSRS'],
] as const;

/** A libxc stream without its pages. */
export interface LibxcParts {
  readonly header: LibxcHeader;
  readonly pv: boolean;
  /** Before memory: static data, and where the table of frames of a PV guest is. */
  readonly before: readonly MadeRecord[];
  /** After memory. */
  readonly after: readonly MadeRecord[];
  /** Optional records of others, before END. */
  readonly optional: readonly { readonly type: number; readonly content: Uint8Array }[];
  /** The highest pfn that a PV stream may name; Infinity for others. */
  readonly lastPfn: number;
}

/**
 * Gathers the parts, in the order of the letter (foreign/xen-libxc 11.2 and 12.1).
 * @throws IMAGE_UNFIT with what is missing; LENGTH_MISMATCH for blobs that are no such records; the image's errors
 */
export async function libxcParts(format: FormatName, image: OpenedImage, version: 2 | 3): Promise<LibxcParts> {
  const { domainType } = image.head;
  if (domainType !== 'pv' && domainType !== 'hvm' && domainType !== 'pvh') {
    throw unfit(format, `its domain type is ${domainType}, and Xen's are pv, hvm and pvh`, ['domain'], SECTION.domain);
  }
  if (image.head.pageSize !== 4096) {
    throw unfit(format, `its pages have ${image.head.pageSize} bytes`, ['pages of 4096 bytes'], SECTION.domain);
  }
  const pv = domainType === 'pv';
  if (image.memory.pfnOfFrame !== undefined) {
    const what = 'its page tables and registers name frames of the machine that dumped it, and it was not suspended';
    throw unfit(format, what, ['pfns in page tables'], SECTION.pages);
  }
  const blobs = new Blobs(image);
  const staticData: MadeRecord[] = [];
  if (version === 3) {
    // A policy without entries says nothing, and is refused (foreign/xen-libxc 10).
    if ((image.cpuid?.length ?? 0) > 0) {
      staticData.push({ kind: 'X86_CPUID_POLICY', content: encodeCpuidPolicy(image.cpuid!) });
    }
    if ((image.msrs?.length ?? 0) > 0) {
      staticData.push({ kind: 'X86_MSR_POLICY', content: encodeMsrPolicy(image.msrs!) });
    }
    staticData.push(empty('STATIC_DATA_END'));
  }
  const header = libxcHeader({ version, domainType: pv ? DOMAIN_TYPE.pv : DOMAIN_TYPE.hvm, ...xenVersion(image) });
  const tsc = await blobs.record('tsc-info', DEVICE_FORMAT.xenTscInfo, 'X86_TSC_INFO');
  const common = { header, pv, optional: await blobs.optional() };
  if (!pv) {
    const context = await blobs.record('hvm-context', DEVICE_FORMAT.xenHvmContext, 'HVM_CONTEXT');
    if (context === undefined) throw unfit(format, 'it has no HVM context', ['hvm-context'], SECTION.context);
    const params = await blobs.record('hvm-params', DEVICE_FORMAT.xenHvmParams, 'HVM_PARAMS');
    return { ...common, before: staticData, after: defined([tsc, params, context]), lastPfn: Infinity };
  }
  const info = await blobs.record('pv-info', DEVICE_FORMAT.xenPvInfo, 'X86_PV_INFO');
  const frames = await blobs.record('p2m-frames', DEVICE_FORMAT.xenP2mFrames, 'X86_PV_P2M_FRAMES');
  const shared = await blobs.record('shared-info', DEVICE_FORMAT.xenSharedInfo, 'SHARED_INFO');
  const vcpus = pvVcpus(image);
  const missing = [
    ...(info === undefined ? ['pv-info'] : []),
    ...(frames === undefined ? ['p2m-frames'] : []),
    ...(shared === undefined ? ['shared-info'] : []),
    ...(vcpus.some((record) => record.vcpu === 0 && record.kind === 'X86_PV_VCPU_BASIC') ? [] : ['vcpu 0']),
  ];
  if (missing.length > 0) throw unfit(format, `it has no ${missing.join(', ')}`, missing, SECTION.pv);
  checkWidth(format, [info!, frames!, ...vcpus]);
  return {
    ...common,
    before: [info!, ...staticData, frames!],
    after: defined([tsc, shared, ...vcpus]),
    lastPfn: frames!.kind === 'X86_PV_P2M_FRAMES' ? frames!.endPfn : Infinity,
  };
}

const SECTION = {
  domain: 'foreign/xen-libxc 2',
  pages: 'foreign/xen-libxc 12.3',
  context: 'foreign/xen-libxc 9',
  pv: 'foreign/xen-libxc 12.1',
  width: 'foreign/xen-libxc 6',
} as const;

/** A record without fields. */
export function empty(kind: 'END' | 'STATIC_DATA_END'): MadeRecord {
  return { kind, rest: new Uint8Array(0) };
}

function defined<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}

/** Of Xen that saved the image, as `inspect` shows it: `4.17`, or `converted-1` (foreign/xen-libxc 2). */
function xenVersion(image: OpenedImage): { xenMajor: number; xenMinor: number } {
  const source = image.about['source'];
  const versions = typeof source === 'object' && source !== null && 'versions' in source ? source['versions'] : null;
  const text = typeof versions === 'object' && versions !== null && 'xen' in versions ? versions['xen'] : '';
  const found = /^(\d{1,9}|converted)[.-](\d{1,9})/.exec(typeof text === 'string' ? text : '');
  if (found === null) return XEN_VERSION;
  return { xenMajor: found[1] === 'converted' ? 0 : Number(found[1]), xenMinor: Number(found[2]) };
}

/** Refuses state that is not of a guest of the width that pv-info says (foreign/xen-libxc 6 and 7). */
function checkWidth(format: FormatName, records: readonly MadeRecord[]): void {
  const [info] = records;
  const [width, levels] = info.kind === 'X86_PV_INFO' ? [info.guestWidth, info.ptLevels] : [0, 0];
  if (!((width === 8 && levels === 4) || (width === 4 && levels === 3))) {
    throw unfit(format, `its pv-info has words of ${width} bytes and ${levels} levels`, ['pv-info'], SECTION.width);
  }
  for (const record of records) {
    const length = encodeLibxcBody(record, true).byteLength;
    const expected = lengthForWidth({ type: LIBXC_TYPE[record.kind], ...NO_FRAME }, record, width) ?? length;
    if (expected === length) continue;
    const what = `its ${record.kind} has ${length} bytes, and a guest with words of ${width} bytes has ${expected}`;
    throw unfit(format, what, [record.kind], SECTION.width);
  }
}

type VcpuRecord = Extract<MadeRecord, { readonly vcpu: number }>;

/** The records of all vCPUs: one vCPU after the other, as Xen writes them. */
function pvVcpus(image: OpenedImage): VcpuRecord[] {
  const numbers = [...new Set(image.vcpuStates.map(({ vcpu }) => vcpu))];
  return numbers.flatMap((vcpu) =>
    VCPU_RECORDS.flatMap(([stateKind, kind]) =>
      image.vcpuStates
        .filter((state) => state.vcpu === vcpu && state.stateKind === stateKind)
        .map(({ content }) => decoded(kind, withHead(vcpu, content), `vcpu ${vcpu}/${kind}`) as VcpuRecord),
    ),
  );
}

function withHead(vcpu: number, context: Uint8Array): Uint8Array {
  const body = new Uint8Array(8 + context.byteLength);
  new DataView(body.buffer).setUint32(0, vcpu, true);
  body.set(context, 8);
  return body;
}

/** A body from its bytes, checked as Xen's reader would check it. @throws LENGTH_MISMATCH with the path */
function decoded(kind: MadeRecord['kind'], body: Uint8Array, path: string): MadeRecord {
  const frame = { ...NO_FRAME, type: LIBXC_TYPE[kind], length: body.byteLength };
  try {
    return decodeLibxcBody(frame, body, true) as MadeRecord;
  } catch (error) {
    throw error instanceof TransmigrateError ? error.with({ path }) : error;
  }
}

/** The device blobs of an image, fetched when they are asked for. */
class Blobs {
  readonly #devices: readonly OpenedDevice[];

  constructor(image: OpenedImage) {
    this.#devices = image.devices;
  }

  /** The record that a blob is; undefined where there is none, or an empty one. */
  async record(name: string, format: string, kind: MadeRecord['kind']): Promise<MadeRecord | undefined> {
    const device = this.#devices.find((one) => one.name === name && one.format === format);
    if (device === undefined || device.bytes === 0) return undefined;
    return decoded(kind, await contentOfDevice(device), `device ${name}`);
  }

  async optional(): Promise<{ type: number; content: Uint8Array }[]> {
    const records: { type: number; content: Uint8Array }[] = [];
    for (const device of this.#devices) {
      const type = /^libxc-([89a-f][0-9a-f]{7})$/.exec(device.name)?.[1];
      if (device.format !== DEVICE_FORMAT.xenOptional || type === undefined) continue;
      records.push({ type: Number.parseInt(type, 16), content: await contentOfDevice(device) });
    }
    return records;
  }
}

/** All of a blob, which is to be a record: as long as one may be. @throws LIMIT_EXCEEDED, the errors of the image */
export async function contentOfDevice(device: OpenedDevice): Promise<Uint8Array> {
  const most = LIBXC_LIMITS.recordBytes - RECORD_HEADER_BYTES;
  if (device.bytes > most) {
    throw new TransmigrateError('LIMIT_EXCEEDED', `Device ${device.name} has ${device.bytes} bytes`, {
      path: `device ${device.name}`,
      section: 'foreign/xen-libxc 3',
      data: { limit: most },
    });
  }
  const content = new Uint8Array(device.bytes);
  let used = 0;
  for await (const chunk of device.chunks()) {
    content.set(chunk, used);
    used += chunk.byteLength;
  }
  if (used === device.bytes) return content;
  throw new TransmigrateError('LENGTH_MISMATCH', `Device ${device.name} has ${used} bytes, and says ${device.bytes}`, {
    path: `device ${device.name}`,
  });
}
