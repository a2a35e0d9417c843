/** What a record of Xen's formats says, for a listing: each in its own words. */
import type { JsonObject } from '../../../bytes/bounded-json.ts';
import { LIBXC_SECTION, libxcTypeName, XEN_PAGE_BYTES } from '../../../foreign/xen-libxc/constants.ts';
import type { PageBatch } from '../../../foreign/xen-libxc/pages.ts';
import type { LibxcRecord } from '../../../foreign/xen-libxc/records.ts';
import { libxlSection, type LibxlRecord } from '../../../foreign/xen-libxl/records.ts';
import type { Trailing } from '../../../foreign/xen-libxc/piece-reader.ts';
import type { NativeRecord } from '../../model/reader.ts';
import { MESSAGE_BYTES, type XlBackEvent } from '../../../foreign/xl/messages.ts';
import type { XenEvent } from './event.ts';

/** The listing's row for an event; undefined for a part of a record that was listed with its first. */
export function nativeOf(event: XenEvent | XlBackEvent | Trailing): NativeRecord | undefined {
  switch (event.layer) {
    case 'end':
      return row('end', 'TRAILING', event.offset, event.bytes.byteLength, 'foreign/xen-libxc 5', {});
    case 'wire':
      return row('wire', event.kind, event.offset, MESSAGE_BYTES[event.kind].byteLength, 'foreign/xl 3', {
        ...(event.status !== undefined && { status: event.status }),
      });
    case 'xl': {
      const { mandatoryFlags, optionalFlags, optionalData, configFormat } = event;
      const fields = { mandatoryFlags, optionalFlags, configFormat, configBytes: event.config?.byteLength ?? null };
      return row('xl', 'HEADER', event.offset, optionalData.byteLength, 'foreign/xl 1', fields);
    }
    case 'xenopsd':
      return event.kind === 'SIGNATURE'
        ? row('xenopsd', 'SIGNATURE', event.offset, 0, 'foreign/xenopsd 1', { format: event.format })
        : row('xenopsd', event.kind, event.offset, event.content?.byteLength ?? 0, 'foreign/xenopsd 2', {});
    case 'libxl':
      if (event.kind === 'HEADER') {
        const { options, fromLegacy } = event;
        return row('libxl', 'HEADER', event.offset, 0, 'foreign/xen-libxl 1', { options, fromLegacy });
      }
      return framed('libxl', event, libxlSection(event.frame.type), libxlFields(event));
    case 'libxc':
      return libxcRow(event);
  }
}

function libxcRow(event: Extract<XenEvent, { layer: 'libxc' }>): NativeRecord | undefined {
  if (event.kind === 'HEADER') {
    const { version, domainType, pageShift, xenMajor, xenMinor } = event;
    const fields = { version, domainType, pageShift, xen: `${xenMajor}.${xenMinor}` };
    return row('libxc', 'HEADER', event.offset, 0, 'foreign/xen-libxc 1', fields);
  }
  if (event.kind === 'PAGE_DATA') {
    if (event.first > 0) return undefined;
    return framed('libxc', event, LIBXC_SECTION.PAGE_DATA, pageFields(event));
  }
  const section = LIBXC_SECTION[libxcTypeName(event.frame.type) ?? 'UNKNOWN'];
  return framed('libxc', event, section, libxcFields(event));
}

function pageFields(batch: PageBatch): JsonObject {
  const { count, frame } = batch;
  const withData = Math.floor((frame.length - 8 - 8 * count) / XEN_PAGE_BYTES);
  return { entries: count, withData, firstPfn: batch.pfn(0), lastPfn: batch.pfn(count - 1) };
}

function libxcFields(record: LibxcRecord): JsonObject {
  switch (record.kind) {
    case 'X86_PV_INFO':
      return { guestWidth: record.guestWidth, ptLevels: record.ptLevels };
    case 'X86_PV_P2M_FRAMES':
      return { startPfn: record.startPfn, endPfn: record.endPfn, frames: record.frames.length };
    case 'X86_PV_VCPU_BASIC':
    case 'X86_PV_VCPU_EXTENDED':
    case 'X86_PV_VCPU_XSAVE':
    case 'X86_PV_VCPU_MSRS':
      return { vcpu: record.vcpu, contextBytes: record.context.byteLength };
    case 'X86_TSC_INFO':
      return {
        mode: record.mode,
        khz: record.khz,
        nsec: String(record.nsec),
        incarnation: record.incarnation,
      };
    case 'HVM_PARAMS':
      return { params: record.count };
    case 'CHECKPOINT_DIRTY_PFN_LIST':
      return { pfns: record.pfns.length };
    default:
      return {};
  }
}

function libxlFields(record: LibxlRecord): JsonObject {
  switch (record.kind) {
    case 'EMULATOR_CONTEXT':
    case 'EMULATOR_XENSTORE_DATA':
      return { emulator: record.emulator, index: record.index, contentBytes: record.content.byteLength };
    case 'CHECKPOINT_STATE':
      return { state: record.state };
    default:
      return {};
  }
}

function framed(
  layer: string,
  record: Pick<LibxcRecord, 'frame'> & { readonly kind: string },
  section: string,
  fields: JsonObject,
): NativeRecord {
  const { type, offset, length } = record.frame;
  const name = record.kind === 'UNKNOWN' ? `type 0x${type.toString(16)}` : record.kind;
  return row(layer, name, offset, length, section, fields);
}

function row(
  layer: string,
  name: string,
  offset: number,
  bytes: number,
  section: string,
  fields: JsonObject,
): NativeRecord {
  return { layer, name, offset, bytes, section, fields };
}
