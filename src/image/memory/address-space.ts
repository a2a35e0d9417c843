/** Virtual memory of a saved processor: page tables are walked in the pages of the image (debug 2.2). */
import type { PageCache } from './page-cache.ts';
import type { Paging, PagingMode, PagingUnknown } from './paging.ts';
import type { LevelName, Stop } from './stop.ts';

/** An address that is mapped. */
export interface Mapping {
  readonly mapped: true;
  readonly physical: bigint;
  /** Bytes from there to the end of what the same entry maps. */
  readonly bytesLeft: number;
  /** Bytes that the last entry maps: 4 KiB, 2 MiB, 4 MiB, 1 GiB; 0 without paging. */
  readonly pageBytes: number;
  /** The last entry. */
  readonly entry: bigint;
}

/** One that is not. */
export interface NoMapping {
  readonly mapped: false;
  readonly stop: Stop;
}

export type Translation = Mapping | NoMapping;

interface Level {
  readonly name: LevelName;
  /** The lowest bit of the address that chooses the entry. */
  readonly shift: bigint;
  /** Entries of a table, less one. */
  readonly mask: bigint;
  /** What bit 7 means in an entry that is present. */
  readonly bit7: 'ignored' | 'large' | 'large-with-pse' | 'not-valid';
}

const PTE: Level = { name: 'PTE', shift: 12n, mask: 0x1ffn, bit7: 'ignored' };
const PDE: Level = { name: 'PDE', shift: 21n, mask: 0x1ffn, bit7: 'large' };
const PDPTE: Level = { name: 'PDPTE', shift: 30n, mask: 0x1ffn, bit7: 'large' };
const PML4E: Level = { name: 'PML4E', shift: 39n, mask: 0x1ffn, bit7: 'not-valid' };
const PML5E: Level = { name: 'PML5E', shift: 48n, mask: 0x1ffn, bit7: 'not-valid' };

/** The tables of each mode, from the top (debug 2.1). */
const LEVELS: Readonly<Record<PagingMode, readonly Level[]>> = {
  none: [],
  '32-bit': [
    { name: 'PDE', shift: 22n, mask: 0x3ffn, bit7: 'large-with-pse' },
    { name: 'PTE', shift: 12n, mask: 0x3ffn, bit7: 'ignored' },
  ],
  pae: [{ ...PDPTE, mask: 3n, bit7: 'ignored' }, PDE, PTE],
  '4-level': [PML4E, PDPTE, PDE, PTE],
  '5-level': [PML5E, PML4E, PDPTE, PDE, PTE],
};

const FRAME_SHIFT = 12n;
const FRAME_BYTES = 4096;
const WORD_32 = 2n ** 32n;
const PRESENT = 1n;
const BIT_7 = 0x80n;
/** Bits 12 to 51 of an entry, which name a frame. */
const FRAME_BITS = 0xf_ffff_ffff_f000n;

/** The entry that was read last, and of which address. */
interface LastEntry {
  readonly address: bigint;
  readonly level: LevelName;
  readonly table: bigint;
  readonly entry: bigint;
}

/** The memory that one processor sees. */
export class AddressSpace {
  readonly paging: Paging | PagingUnknown;
  readonly #pages: PageCache;

  /** @param pages may serve many address spaces of the same image. */
  constructor(pages: PageCache, paging: Paging | PagingUnknown) {
    this.#pages = pages;
    this.paging = paging;
  }

  /** Where an address is, or why nowhere. @throws READ_FAILED */
  async translate(address: bigint): Promise<Translation> {
    const { paging } = this;
    if (paging.mode === null) {
      return unmapped({ address, why: 'registers-unknown', registers: paging.registers });
    }
    const wrong = badAddress(address, paging.mode);
    if (wrong !== undefined) return unmapped({ address, why: wrong });
    if (paging.mode === 'none') {
      return { mapped: true, physical: address, bytesLeft: Number(WORD_32 - address), pageBytes: 0, entry: 0n };
    }
    const entryBytes = paging.mode === '32-bit' ? 4 : 8;
    let table = paging.root;
    for (const level of LEVELS[paging.mode]) {
      const at = table + ((address >> level.shift) & level.mask) * BigInt(entryBytes);
      const entry = await this.#entry(address, level.name, at, entryBytes);
      if (typeof entry !== 'bigint') return entry;
      const where = { address, level: level.name, table: at, entry };
      if ((entry & PRESENT) === 0n) return unmapped({ why: 'not-present', ...where });
      const isMarked = (entry & BIT_7) !== 0n;
      if (isMarked && level.bit7 === 'not-valid') return unmapped({ why: 'not-valid', ...where });
      const isLarge = isMarked && (level.bit7 === 'large' || (level.bit7 === 'large-with-pse' && paging.largePages));
      if (level.name === 'PTE' || isLarge) return this.#mapped(where, level, paging.mode);
      const next = this.#physical(entry & FRAME_BITS);
      if (next === undefined) return this.#unknownFrame(where, entry & FRAME_BITS);
      table = next;
    }
    throw new RangeError('the last level of every mode is a PTE');
  }

  /** An entry of a table, or why it can't be read. */
  async #entry(address: bigint, level: LevelName, at: bigint, bytes: number): Promise<bigint | NoMapping> {
    const { pageSize } = this.#pages.memory;
    const pfn = Number(at / BigInt(pageSize));
    const { content, view, error } = await this.#pages.page(pfn);
    const where = { address, level, table: at, pfn };
    if (content === 'absent') return unmapped({ why: 'table-absent', ...where });
    if (error !== null) return unmapped({ why: 'table-damaged', ...where, error });
    const offset = Number(at % BigInt(pageSize));
    return bytes === 4 ? BigInt(view.getUint32(offset, true)) : view.getBigUint64(offset, true);
  }

  #mapped(where: LastEntry, { shift }: Level, mode: PagingMode): Translation {
    const { address, level, entry } = where;
    const within = (1n << shift) - 1n;
    // PSE-36: bits 13 to 20 of an entry of 4 MiB are bits 32 to 39 of the address.
    const high = mode === '32-bit' && level === 'PDE' ? ((entry >> 13n) & 0xffn) << 32n : 0n;
    const base = (entry & FRAME_BITS & ~within) | high;
    const at = base | (address & within);
    const physical = this.#physical(at);
    if (physical === undefined) return this.#unknownFrame(where, at);
    const pageBytes = Number(within + 1n);
    // Frames of the machine that follow each other are pages that need not.
    const unit = this.#pages.memory.pfnOfFrame === undefined ? within : BigInt(FRAME_BYTES - 1);
    return { mapped: true, physical, bytesLeft: Number(unit - (address & unit)) + 1, pageBytes, entry };
  }

  #unknownFrame(where: LastEntry, at: bigint): NoMapping {
    return unmapped({ why: 'frame-unknown', ...where, pfn: Number(at >> FRAME_SHIFT) });
  }

  /** The physical address that an address in page tables stands for; undefined when the image does not know it. */
  #physical(at: bigint): bigint | undefined {
    const { pfnOfFrame } = this.#pages.memory;
    if (pfnOfFrame === undefined) return at;
    const pfn = pfnOfFrame(Number(at >> FRAME_SHIFT));
    return pfn < 0 ? undefined : (BigInt(pfn) << FRAME_SHIFT) | (at & BigInt(FRAME_BYTES - 1));
  }
}

function unmapped(stop: Stop): NoMapping {
  return { mapped: false, stop };
}

function badAddress(address: bigint, mode: PagingMode): 'address-width' | 'not-canonical' | undefined {
  if (mode === '4-level' || mode === '5-level') {
    const bits = mode === '4-level' ? 48 : 57;
    return BigInt.asUintN(64, BigInt.asIntN(bits, address)) === address ? undefined : 'not-canonical';
  }
  return address < WORD_32 ? undefined : 'address-width';
}
