import { XEN_FINDINGS, type Findings, type XenFindingCode } from '../../../foreign/xen-libxc/findings.ts';
import type { FindingLevel, ImageFinding } from '../../model/reader.ts';

/** Findings that Xen does not mind and that nobody who has the image should overlook (foreign/xen-libxc 11.5). */
const WARNINGS: ReadonlySet<XenFindingCode> = new Set(['TRAILING_DATA', 'XENOPSD_QEMU_SIZE']);

/** What the readers of Xen's formats found, as findings of an image. */
export function imageFindings(findings: Findings): ImageFinding[] {
  return findings.kept.map(({ code, verdict, offset, path, section, data }) => ({
    code,
    level: levelOf(code, verdict),
    message: XEN_FINDINGS[code][2],
    offset,
    path,
    section,
    data,
  }));
}

function levelOf(code: XenFindingCode, verdict: 'refused' | 'strict'): FindingLevel {
  if (WARNINGS.has(code)) return 'warning';
  return verdict === 'refused' ? 'broken' : 'strict';
}
