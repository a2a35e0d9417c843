import { equalBytes } from '../../bytes/hex.ts';
import { TransmigrateError } from '../../errors.ts';
import { again } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import type { FormatName } from '../identify/layers.ts';
import type { PagesAgainEvent } from '../model/event.ts';
import type { ImageFinding } from '../model/reader.ts';
import type { DirectMemoryBuilder } from '../open/direct-memory.ts';
import type { ImageMemory } from '../open/opened-image.ts';
import { lookingReader } from '../readers/looking-reader.ts';

const SECTION = 'foreign/xen-libxc 11.7';

/**
 * Compares pages that come once more, after VERIFY, with what came before (foreign/xen-libxc 11.7). Nothing is kept of
 * the pages of any image: where they stood is found by reading it a second time, once such a page comes.
 */
export class PagesAgain {
  readonly #format: FormatName;
  readonly #image: ByteSource;
  readonly #signal: AbortSignal | undefined;
  #memory: ImageMemory | undefined;
  #compared = 0;
  #unread = 0;
  #different = 0;
  #first = -1;

  /** @param image as it is read; only what can be read at any place is compared. */
  constructor(format: FormatName, image: ByteSource, signal: AbortSignal | undefined) {
    this.#format = format;
    this.#image = image;
    this.#signal = signal;
  }

  /** @throws READ_FAILED, CANCELLED */
  async add(event: PagesAgainEvent): Promise<void> {
    for (const { firstPfn, pages, source, at } of event.runs()) {
      if (source === null) continue;
      if (this.#image.random === null) {
        this.#unread += pages;
        continue;
      }
      const memory = (this.#memory ??= await this.#before());
      const page = new Uint8Array(memory.pageSize);
      for (let i = 0; i < pages; i++) {
        const start = at + i * memory.pageSize;
        const found = await memory.readPage(firstPfn + i, page);
        this.#compared++;
        const same = found !== 'absent' && equalBytes(page, source.subarray(start, start + memory.pageSize));
        if (!same && this.#different++ === 0) this.#first = firstPfn + i;
      }
    }
  }

  findings(): ImageFinding[] {
    if (this.#different > 0) {
      return [
        {
          code: 'VERIFY_DIFFERS',
          level: 'warning',
          message: `${this.#different} pages are others than those that came before VERIFY`,
          offset: null,
          path: `page 0x${this.#first.toString(16)}`,
          section: SECTION,
          data: { different: this.#different, compared: this.#compared, first: this.#first },
          next: 'Xen only logs it. Memory changed while it was saved: save the machine again.',
        },
      ];
    }
    if (this.#unread === 0) return [];
    return [
      {
        code: 'VERIFY_NOT_COMPARED',
        level: 'strict',
        message: `${this.#unread} pages after VERIFY were not compared: the input can't be read twice`,
        offset: null,
        path: 'VERIFY',
        section: SECTION,
        data: { pages: this.#unread },
        next: 'Copy the image into a file, and verify that.',
      },
    ];
  }

  /** Memory as it was before VERIFY: a reader hands out no page behind it as memory. */
  async #before(): Promise<ImageMemory> {
    const { DirectMemoryBuilder } = await import('../open/direct-memory.ts');
    const reader = await lookingReader(this.#format, again(this.#image), { signal: this.#signal });
    let builder: DirectMemoryBuilder | undefined;
    try {
      for await (const event of reader.events()) {
        if (event.kind === 'head') builder = new DirectMemoryBuilder(event.pageSize);
        if (event.kind === 'pages') builder!.add(event);
      }
    } catch (error) {
      // What is wrong behind VERIFY the reading that this one is for will find.
      const isDamage = error instanceof TransmigrateError && !['READ_FAILED', 'CANCELLED'].includes(error.code);
      if (!isDamage) throw error;
    }
    return builder!.done(this.#image.random!);
  }
}
