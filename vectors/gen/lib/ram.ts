// RAM records (section 7).
import { cat, crc, hex, hexOf, sha256, u16, u32, u64, u8, zeros } from './bytes.ts';
import { known } from './channel.ts';
import type { Rec } from './channel.ts';
import { codecNumber } from './content.ts';
import type { Packed } from './content.ts';

export type Extent = { first: number; pages: number; class?: number; reserved?: number };
export type Unit = Packed & {
  wrong?: { stored?: number; checksumFlip?: number; pages?: number; codec?: number };
  reserved?: number;
};

export type RamPatch = {
  pageSize?: number;
  extents?: number;
  units?: number;
  pages?: number;
  head?: number;
  headCrcFlip?: number;
  reserved?: number;
  /** Sets the bits of the bitmap's last byte that no page has. */
  spareBits?: number;
  /** Bytes between the units and the head checksum that nothing names; the head length counts them. */
  room?: number;
  tail?: Buffer;
};

const withData = (value: number): boolean => value < 0x80;

/**
 * A batch: extents, which of its data pages (by position) are zero, and units over the others.
 * Content is what the units' originals say, so that nothing is read back from the bytes.
 */
export function ram(extents: Extent[], zero: number[], units: Unit[], patch: RamPatch = {}): Rec {
  const pageSize = patch.pageSize ?? 4096;
  const pfns = extents.flatMap((extent) =>
    withData(extent.class ?? 0) ? Array.from({ length: extent.pages }, (_, page) => extent.first + page) : [],
  );
  const total = extents.reduce((sum, extent) => sum + extent.pages, 0);
  const bitmap = zeros(Math.ceil(pfns.length / 64) * 8);
  for (const bit of zero) bitmap[bit >> 3] = bitmap[bit >> 3] | (1 << (bit & 7));
  if (patch.spareBits !== undefined) bitmap[bitmap.length - 1] = bitmap[bitmap.length - 1] | patch.spareBits;
  const head = 24 + 16 * extents.length + bitmap.length + 16 * units.length + (patch.room ?? 0);
  const front = cat(
    u32(patch.extents ?? extents.length),
    u32(patch.units ?? units.length),
    u32(patch.pages ?? total),
    u32(patch.head ?? head),
    u32(0),
    u32(patch.reserved ?? 0),
    ...extents.map((extent) =>
      cat(u64(extent.first), u32(extent.pages), u8(extent.class ?? 0), Buffer.alloc(3, extent.reserved ?? 0)),
    ),
    bitmap,
    ...units.map((unit) => unitRow(unit, pageSize)),
    zeros(patch.room ?? 0),
  );
  // The checksum stands at offset 16, and covers the head with itself as zero.
  front.writeUInt32LE((crc(front) ^ (patch.headCrcFlip ?? 0)) >>> 0, 16);
  const content = cat(...units.map((unit) => unit.content));
  const body = cat(front, ...units.map((unit) => unit.stored), patch.tail ?? zeros(0));
  return {
    ...known('RAM'),
    body,
    fields: {
      pages: total,
      extents: extents.map((extent) => ({ first: extent.first, pages: extent.pages, class: extent.class ?? 0 })),
      zeroPages: zero.length,
      units: units.map((unit) => ({
        codec: unit.codec,
        pages: unit.content.length / pageSize,
        stored: unit.stored.length,
        checksum: hexOf(crc(unit.stored), 8),
      })),
      content: hex(sha256(content)),
    },
    tally: { ramPages: pfns.length, ramZeroPages: zero.length, ramAbsentPages: total - pfns.length },
    listing: {
      pages: total,
      low: BigInt(Math.min(...extents.map((extent) => extent.first))),
      high: BigInt(Math.max(...extents.map((extent) => extent.first + extent.pages - 1))),
    },
    apply: (machine) => {
      const zeroBits = new Set(zero);
      let next = 0;
      pfns.forEach((pfn, bit) => {
        if (zeroBits.has(bit)) machine.setPage(pfn, zeros(pageSize));
        else machine.setPage(pfn, content.subarray(next, (next += pageSize)));
      });
      for (const extent of extents) {
        if (withData(extent.class ?? 0)) continue;
        for (let page = 0; page < extent.pages; page++) machine.dropPage(extent.first + page);
      }
    },
  };
}

function unitRow(unit: Unit, pageSize: number): Buffer {
  const wrong = unit.wrong ?? {};
  return cat(
    u32(wrong.stored ?? unit.stored.length),
    u32((crc(unit.stored) ^ (wrong.checksumFlip ?? 0)) >>> 0),
    u16(wrong.pages ?? unit.content.length / pageSize),
    u8(wrong.codec ?? codecNumber[unit.codec]),
    u8(unit.reserved ?? 0),
    u32(unit.reserved ?? 0),
  );
}
