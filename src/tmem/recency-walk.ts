/** A walk through a client's ephemeral pages, from the oldest to the youngest, while they come, go and move. */
import { PAGE } from './page-table.ts';
import type { Records } from './records.ts';

export class RecencyWalk {
  readonly #pages: Records;
  readonly #head: number;
  /** The page that was come to last; the head of the list before the first one. */
  #last: number;

  /** @param head of the client's own list. */
  constructor(pages: Records, head: number) {
    this.#pages = pages;
    this.#head = head;
    this.#last = head;
  }

  /** The page after those that were taken; 0 when there is none now: what is put later is younger. */
  get next(): number {
    const page = this.#pages.get(this.#last, PAGE.ownNext);
    return page === this.#head ? 0 : page;
  }

  /** Goes on to the page that `next` gave. */
  take(page: number): void {
    this.#last = page;
  }

  /** A page is about to leave its place in the list. */
  leaves(page: number): void {
    if (page === this.#last) this.#last = this.#pages.get(page, PAGE.ownPrevious);
  }

  restart(): void {
    this.#last = this.#head;
  }
}
