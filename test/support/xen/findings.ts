/** What our reader of Xen's formats finds wrong with an image: by Xen's own measure and by the letter. */
import type { XenFindingCode } from '../../../src/foreign/xen-libxc/findings.ts';
import { pieceReaderOf, type XenFormat } from '../../../src/image/readers/xen/xen-reader.ts';

/** The codes, sorted. The image must be whole. */
export function xenFindings(format: XenFormat, bytes: Uint8Array): XenFindingCode[] {
  const reader = pieceReaderOf(format);
  reader.feed(bytes);
  let event = reader.read();
  while (event !== undefined) event = reader.read();
  reader.finish();
  return [...reader.findings.counts.keys()].toSorted();
}
