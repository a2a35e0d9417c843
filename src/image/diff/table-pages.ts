/**
 * Page tables of a core against those of a save (spec/foreign/model.md 2): a core holds frames of the machine where
 * a save holds pfns, and in the hypervisor's own slots what a save leaves out.
 */
import { PAGE_CLASS } from '../../stream/records/ram.ts';

const ENTRY_BYTES = 8;
/** Present bit of an entry, and the lower bits that are flags. */
const PRESENT = 1;
const FLAG_BITS = 0xfff;
/** Upper bits of an entry that are flags: the frame ends with bit 51. */
const HIGH_FLAGS = 0xfff0_0000;

/** Slots of the hypervisor (Xen's public headers): of level 4 of a 64-bit guest, and of level 2 with PAE. */
const HYPERVISOR_SLOTS = {
  level4: { first: 256, end: 272 },
  level2: { first: 428, end: 512 },
} as const;

/** The level of a page table, 1 to 4, or 0 of other classes (stream 7.1). */
export function tableLevel(pageClass: number): number {
  if (pageClass >= PAGE_CLASS.table1 && pageClass <= PAGE_CLASS.table4) return pageClass;
  return pageClass >= PAGE_CLASS.pinned1 && pageClass <= PAGE_CLASS.pinned4 ? pageClass - 8 : 0;
}

/** Compares page tables entry by entry, and counts what it had to do for it. */
export class TablePages {
  readonly #pfnOfFrame: (frame: number) => number;
  readonly #wordBits: 32 | 64;
  /** Offsets in the page of the entries that differed in the last one. */
  readonly offsets: number[] = [];
  pages = 0;
  mapped = 0;
  hypervisor = 0;

  constructor(pfnOfFrame: (frame: number) => number, wordBits: 32 | 64) {
    this.#pfnOfFrame = pfnOfFrame;
    this.#wordBits = wordBits;
  }

  /**
   * Whether two page tables say the same. @param pageClass of the page in the save.
   * @param bytes of a page, a multiple of 8.
   */
  same(core: Uint8Array, coreAt: number, save: Uint8Array, saveAt: number, bytes: number, pageClass: number): boolean {
    this.pages++;
    this.offsets.length = 0;
    const level = tableLevel(pageClass);
    const coreView = new DataView(core.buffer, core.byteOffset + coreAt, bytes);
    const saveView = new DataView(save.buffer, save.byteOffset + saveAt, bytes);
    for (let at = 0; at < bytes; at += ENTRY_BYTES) {
      const saveLow = saveView.getUint32(at, true);
      const saveHigh = saveView.getUint32(at + 4, true);
      let low = coreView.getUint32(at, true);
      let high = coreView.getUint32(at + 4, true);
      if ((low | high) === 0 && (saveLow | saveHigh) === 0) continue;
      if ((saveLow | saveHigh) === 0 && this.#isHypervisors(level, at / ENTRY_BYTES)) {
        this.hypervisor++;
        continue;
      }
      const pfn = (low & PRESENT) === 0 ? -1 : this.#pfnOfFrame((low >>> 12) + (high & ~HIGH_FLAGS) * 2 ** 20);
      if (pfn >= 0) {
        this.mapped++;
        low = ((low & FLAG_BITS) | (pfn << 12)) >>> 0;
        high = ((high & HIGH_FLAGS) | Math.floor(pfn / 2 ** 20)) >>> 0;
      }
      if (low !== saveLow || high !== saveHigh) this.offsets.push(at);
    }
    return this.offsets.length === 0;
  }

  #isHypervisors(level: number, slot: number): boolean {
    const slots =
      level === 4 && this.#wordBits === 64
        ? HYPERVISOR_SLOTS.level4
        : level === 2 && this.#wordBits === 32
          ? HYPERVISOR_SLOTS.level2
          : undefined;
    return slots !== undefined && slot >= slots.first && slot < slots.end;
  }
}
