import type { ByteOrderName, DomainName, Preamble } from '../stream/preamble.ts';
import type { ImageHead } from './model/event.ts';

/** What machine an image is of, whatever its format: spec/cli-json.md 1. */
export interface HeadJson {
  domainType: DomainName;
  byteOrder: ByteOrderName;
  wordBits: number;
  machine: number;
  pageSize: number;
}

/** The machine's part of a head, or of a preamble of ours. */
export function headJson(head: ImageHead | Preamble): HeadJson {
  const { domainType, byteOrder, wordBits, machine, pageSize } = head;
  return { domainType, byteOrder, wordBits, machine, pageSize };
}
