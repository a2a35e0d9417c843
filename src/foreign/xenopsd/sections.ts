/** The framing of suspend images of XCP-ng and XenServer (spec/foreign/xenopsd.md). */
import { FieldsOut } from '../xen-libxc/fields.ts';

/** What an image begins with (foreign/xenopsd 1). Both have 15 bytes. */
export const XENOPSD_SIGNATURE = { bytes: 15, structured: 'XenSavedDomv2-\n', legacy: 'XenSavedDomain\n' } as const;

/** Bytes of the header of a section: tag and length, both u64 and little-endian (foreign/xenopsd 2). */
export const XENOPSD_HEADER_BYTES = 16;

/** Tags of sections (foreign/xenopsd 2). */
export const XENOPSD_TAG = {
  XENOPS: 0xf,
  LIBXC: 0xf0,
  LIBXL: 0xf1,
  LIBXC_LEGACY: 0xf2,
  QEMU_TRAD: 0xf00,
  QEMU_XEN: 0xf01,
  DEMU: 0xf10,
  VARSTORED: 0xf11,
  SWTPM0: 0xf12,
  SWTPM: 0xf13,
  END_OF_IMAGE: 0xffff,
} as const;

export type XenopsdTag = keyof typeof XENOPSD_TAG;

const TAGS = new Map<number, XenopsdTag>(Object.entries(XENOPSD_TAG).map(([name, tag]) => [tag, name as XenopsdTag]));

export const XENOPSD_LIMITS = {
  /** Bytes of a section with a length: far above all that are written (foreign/xenopsd 2). */
  sectionBytes: 128 * 1024 * 1024,
  /** What xenopsd itself takes as state of QEMU (foreign/xenopsd 2). */
  qemuBytes: 1024 * 1024,
  /** Depth and atoms of the metadata (foreign/xenopsd 3). */
  metadataDepth: 32,
  metadataNodes: 100_000,
} as const;

export function xenopsdTag(tag: number): XenopsdTag | undefined {
  return TAGS.get(tag);
}

/** The bytes of a signature. */
export function encodeXenopsdSignature(format: 'structured' | 'legacy' = 'structured'): Uint8Array {
  return Uint8Array.from(XENOPSD_SIGNATURE[format], (character) => character.codePointAt(0)!);
}

/** The bytes of the header of a section. */
export function encodeXenopsdHeader(tag: XenopsdTag, length: bigint | number): Uint8Array {
  return new FieldsOut(XENOPSD_HEADER_BYTES, true).u64(BigInt(XENOPSD_TAG[tag])).u64(BigInt(length)).done();
}
