/** The pages that were read last: page tables above all, and what a debugger looks at byte by byte. */
import { ERRORS, TransmigrateError } from '../../errors.ts';
import type { ImageMemory, PageContent } from '../open/opened-image.ts';

/** A page, or why it can't be read. */
export interface CachedPage {
  readonly content: PageContent | 'damaged';
  /** All zeros unless it is `data`. Belongs to the cache. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Why it is damaged. */
  readonly error: TransmigrateError | null;
}

/** Pages that are kept: 1 MiB. A walk of a range needs a handful. */
const PAGES_KEPT = 256;

/** Reads pages of an image, and keeps the last ones. */
export class PageCache {
  readonly memory: ImageMemory;
  /** In the order in which they were used, the last one last. */
  readonly #pages = new Map<number, CachedPage>();
  readonly #kept: number;

  constructor(memory: ImageMemory, kept = PAGES_KEPT) {
    this.memory = memory;
    this.#kept = kept;
  }

  /** How many are kept now; for tests. */
  get size(): number {
    return this.#pages.size;
  }

  /** A page; one that is damaged is said, not thrown. @throws READ_FAILED and what is no damage. */
  async page(pfn: number): Promise<CachedPage> {
    const known = this.#pages.get(pfn);
    if (known !== undefined) {
      this.#pages.delete(pfn);
      this.#pages.set(pfn, known);
      return known;
    }
    const page = await this.#read(pfn);
    if (this.#pages.size >= this.#kept)
      for (const oldest of this.#pages.keys()) {
        this.#pages.delete(oldest);
        break;
      }
    this.#pages.set(pfn, page);
    return page;
  }

  async #read(pfn: number): Promise<CachedPage> {
    const bytes = new Uint8Array(this.memory.pageSize);
    const view = new DataView(bytes.buffer);
    if (pfn >= this.memory.pfnEnd) return { content: 'absent', bytes, view, error: null };
    try {
      return { content: await this.memory.readPage(pfn, bytes), bytes, view, error: null };
    } catch (error) {
      return { content: 'damaged', bytes, view, error: damageOf(error) };
    }
  }
}

/** Damage of the image, which one page may have and the next not. @throws what is anything else */
export function damageOf(error: unknown): TransmigrateError {
  if (error instanceof TransmigrateError && ['format', 'unsupported'].includes(ERRORS[error.code].class)) return error;
  throw error;
}
