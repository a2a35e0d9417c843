/** How pages that a machine gave are written: as runs, in order. */
import type { PageBatch } from '../../machine/machine.ts';
import type { StreamWriter } from '../../stream/writer.ts';
import type { Ledger } from './live.ts';

/** How many pages from `at` on follow each other. */
function runLength(pfns: Uint32Array, at: number): number {
  let length = 1;
  while (at + length < pfns.length && pfns[at + length] === pfns[at] + length) length++;
  return length;
}

/** Writes all pages of a range: those of the batch, and that the others are zero. */
export async function writeRange(
  writer: StreamWriter,
  { pfns, bytes }: PageBatch,
  first: number,
  end: number,
): Promise<void> {
  const { pageSize } = writer.preamble;
  let at = first;
  for (let i = 0; i < pfns.length;) {
    const from = pfns[i];
    const length = runLength(pfns, i);
    if (from > at) await writer.zero(at, from - at);
    await writer.ram(from, length, bytes, i * pageSize);
    at = from + length;
    i += length;
  }
  if (at < end) await writer.zero(at, end - at);
}

/** Writes the pages of the batch, and that these others are zero. Both lists rise, and have no page in common. */
export async function writeChanged(writer: StreamWriter, { pfns, bytes }: PageBatch, zero: Uint32Array): Promise<void> {
  const { pageSize } = writer.preamble;
  for (let i = 0, z = 0; i < pfns.length || z < zero.length;) {
    if (z < zero.length && (i === pfns.length || zero[z] < pfns[i])) {
      const length = runLength(zero, z);
      await writer.zero(zero[z], length);
      z += length;
    } else {
      const length = runLength(pfns, i);
      await writer.ram(pfns[i], length, bytes, i * pageSize);
      i += length;
    }
  }
}

/** Tells a ledger of pages. */
export function enterPages(ledger: Ledger | undefined, pfns: Uint32Array): void {
  if (ledger === undefined) return;
  for (let i = 0; i < pfns.length;) {
    const length = runLength(pfns, i);
    ledger.pages(pfns[i], length);
    i += length;
  }
}
