/** Bytes at an address, physical or virtual: as many as are there, and why no more. */
import type { AddressSpace } from './address-space.ts';
import { damageOf, type PageCache } from './page-cache.ts';
import type { Stop } from './stop.ts';

/** What reading came to. */
export interface MemoryRead {
  /** Bytes that were read, from the beginning of the buffer. */
  readonly bytes: number;
  /** Why no more; null when all were read. */
  readonly stop: Stop | null;
}

/** Addresses are below this. */
const ADDRESS_END = 2n ** 64n;

/**
 * Reads physical memory.
 * @param into takes the bytes; what follows those that were read may be cleared.
 * @throws READ_FAILED; damage of a page is a reason to stop.
 */
export async function readPhysical(pages: PageCache, address: bigint, into: Uint8Array): Promise<MemoryRead> {
  const { memory } = pages;
  const pageSize = BigInt(memory.pageSize);
  let done = 0;
  while (done < into.byteLength) {
    const at = address + BigInt(done);
    const pfn = Number(at / pageSize);
    const offset = Number(at % pageSize);
    const part = into.subarray(done, done + memory.pageSize - offset);
    const stop =
      part.byteLength === memory.pageSize ? await whole(pages, pfn, part) : await some(pages, pfn, offset, part);
    if (stop !== null) return { bytes: done, stop: { address: at, ...stop } };
    done += part.byteLength;
  }
  return { bytes: done, stop: null };
}

type PageStop = Omit<Stop, 'address'> | null;

/** A part of a page. It may soon be followed by another. */
async function some(pages: PageCache, pfn: number, offset: number, into: Uint8Array): Promise<PageStop> {
  const { content, bytes, error } = await pages.page(pfn);
  if (error !== null) return { why: 'page-damaged', pfn, error };
  if (content === 'absent') return { why: 'page-absent', pfn };
  into.set(bytes.subarray(offset, offset + into.byteLength));
  return null;
}

/** A whole page goes to its place without a copy, and past the cache: it is a long range that is read. */
async function whole({ memory }: PageCache, pfn: number, into: Uint8Array): Promise<PageStop> {
  if (pfn >= memory.pfnEnd) return { why: 'page-absent', pfn };
  try {
    return (await memory.readPage(pfn, into)) === 'absent' ? { why: 'page-absent', pfn } : null;
  } catch (error) {
    return { why: 'page-damaged', pfn, error: damageOf(error) };
  }
}

/**
 * Reads virtual memory. @param into takes the bytes.
 * @throws READ_FAILED
 */
export async function readVirtual(
  pages: PageCache,
  space: AddressSpace,
  address: bigint,
  into: Uint8Array,
): Promise<MemoryRead> {
  let done = 0;
  while (done < into.byteLength) {
    const at = address + BigInt(done);
    if (at >= ADDRESS_END) return { bytes: done, stop: { address: at, why: 'not-canonical' } };
    const found = await space.translate(at);
    if (!found.mapped) return { bytes: done, stop: found.stop };
    const part = into.subarray(done, done + Math.min(found.bytesLeft, into.byteLength - done));
    const { bytes, stop } = await readPhysical(pages, found.physical, part);
    done += bytes;
    if (stop !== null) return { bytes: done, stop: { ...stop, address: address + BigInt(done) } };
  }
  return { bytes: done, stop: null };
}
