import type { RangeList } from '../../image/diff/result.ts';
import type { RepairReport } from '../../image/repair/repair-image.ts';
import type { SalvageMap } from '../../image/repair/salvage-map.ts';
import { escapeText } from '../escape.ts';
import { formatHex, formatSize, plural } from './format.ts';
import type { Layout } from './style.ts';
import { pairLines, sectionLines } from './table.ts';
import { paragraph } from './wrap.ts';

/** Places and ranges that are shown; the map has all of them. */
const SHOWN = 10;

type Pair = readonly [name: string, value: string];

/** The text of `repair`: what was written and whether it restores, then what is missing. */
export function* repairLines(
  image: string,
  report: RepairReport & { readonly path: string; readonly bytes: number },
  layout: Layout,
): Generator<string> {
  const { style, width } = layout;
  const { verdict, wasWhole, checkpointAt, leftOut, map } = report;
  const what = verdict === 'restores' ? style.good('written') : style.warning('written as a core: it will not restore');
  yield* paragraph('', `${style.strong(escapeText(report.path))}: ${what}`, 2, width);
  const pairs: Pair[] = [
    ['from', `${escapeText(image)}: ${report.nesting.map(escapeText).join(', ')}`],
    ['size', formatSize(report.bytes)],
  ];
  if (wasWhole) pairs.push(['note', 'nothing was wrong with the image that this mends']);
  if (checkpointAt !== null) pairs.push(['checkpoint', `what stands before byte ${formatHex(checkpointAt)}`]);
  if (report.mode === 'index') pairs.push(['index', 'it is part of the seals: all of it was written as a new stream']);
  if (leftOut.length > 0) pairs.push(['not taken', `${leftOut.join(', ')}, if there was any`]);
  if (map !== null) pairs.push(...contentPairs(map));
  yield* pairLines(pairs, layout);
  if (map !== null) yield* sectionLines('Skipped', pairLines(skippedPairs(map), layout), layout);
}

function contentPairs(map: SalvageMap): Pair[] {
  const { memory, devices, tmem } = map;
  const pairs: Pair[] = [['memory', plural(memory.pages, 'page')]];
  for (const [name, list] of [
    ['missing', memory.missing],
    ['perhaps missing', memory.perhapsMissing],
    ['doubtful', memory.doubtful],
  ] as const) {
    if (list.pages > 0) pairs.push([name, rangesText(list)]);
  }
  pairs.push(['vcpus', String(map.vcpus) + (map.statesDoubtful ? ', their state may be older than the memory' : '')]);
  if (devices.kept.length > 0) pairs.push(['devices', devices.kept.map(escapeText).join(', ')]);
  for (const { name, bytes, found } of devices.lost) {
    pairs.push(['lost device', `${escapeText(name)}: ${found} of ${plural(bytes, 'byte')} were there`]);
  }
  if (tmem !== null) {
    const doubt = tmem.doubtful ? '; pages may be missing, too old, or taken away since' : '';
    pairs.push(['tmem', `${plural(tmem.pages, 'page')} in ${plural(tmem.pools, 'pool')}${doubt}`]);
  }
  if (map.unknownLost) pairs.push(['unknown', 'something was lost, and nothing says what it was']);
  return pairs;
}

function rangesText({ pages, ranges, first }: RangeList): string {
  const named = first.slice(0, SHOWN).map(({ firstPfn, pages: count }) => {
    return count === 1 ? formatHex(firstPfn) : `${formatHex(firstPfn)}-${formatHex(firstPfn + count - 1)}`;
  });
  const rest = ranges - named.length;
  return `${plural(pages, 'page')}: ${named.join(', ')}${rest > 0 ? `, and ${plural(rest, 'range')} more` : ''}`;
}

function skippedPairs({ skipped, skippedCount, mendedAt }: SalvageMap): Pair[] {
  const pairs: Pair[] = [];
  if (mendedAt !== null) pairs.push([formatHex(mendedAt), 'a byte of the preamble was put right']);
  for (const { offset, bytes, code, message, savedPages } of skipped.slice(0, SHOWN)) {
    const saved = savedPages > 0 ? `; ${plural(savedPages, 'page')} of it were saved` : '';
    pairs.push([formatHex(offset), `${plural(bytes, 'byte')}: ${escapeText(message)} (${code})${saved}`]);
  }
  if (skippedCount > SHOWN) pairs.push(['', `and ${plural(skippedCount - SHOWN, 'place')} more`]);
  return pairs;
}
