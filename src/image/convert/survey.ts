import { hasData } from '../../stream/records/ram.ts';
import type { ImageEvent } from '../model/event.ts';

/** Names of stream-local records that are kept; the others are counted. */
const NAMES_KEPT = 64;

/** Notices, event by event, what an open image does not show: what an image holds beside its last state. */
export class Survey {
  /** Pages with content, each time they came. */
  pages = 0;
  checkpoints = 0;
  tmemPools = 0;
  tmemPages = 0;
  tmemClients = 0;
  /** Parts of ORIGIN. */
  originParts = 0;
  /** Optional records of later versions, whose meaning nobody here knows. */
  unknownRecords = 0;
  /** Classes of pages (stream 7.1) that came, also of pages that came again later. */
  readonly classes = new Set<number>();
  /** Stream-local records, by the name that their DICTIONARY gives. */
  readonly ownRecords = new Set<string>();

  /** Takes an event in; its pages are gone through, which can be done once. */
  add(event: ImageEvent): void {
    if (event.kind === 'pages') {
      for (const { pages, pageClass } of event.runs()) this.addPages(pages, pageClass);
    } else this.addOther(event);
  }

  addPages(pages: number, pageClass: number): void {
    if (hasData(pageClass)) this.pages += pages;
    this.classes.add(pageClass);
  }

  /** An event that is no pages. */
  addOther(event: ImageEvent): void {
    switch (event.kind) {
      case 'checkpoint':
        this.checkpoints++;
        break;
      case 'tmem':
        if (event.record.kind === 'TMEM_CLIENT') this.tmemClients++;
        else if (event.record.kind === 'TMEM_POOL') this.tmemPools++;
        else if (event.record.kind === 'TMEM_PAGES') this.tmemPages += event.record.count;
        break;
      case 'own-record':
        if (event.record.kind === 'UNKNOWN') this.unknownRecords++;
        else if (event.record.kind === 'LOCAL' && this.ownRecords.size < NAMES_KEPT) {
          this.ownRecords.add(event.record.dictionary.name);
        }
        break;
      case 'origin':
        this.originParts++;
        break;
      default:
        break;
    }
  }
}
