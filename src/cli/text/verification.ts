import type { Finding, Verification } from '../../image/verify.ts';
import { escapeText } from '../escape.ts';
import { asFields, textField } from './fields.ts';
import { formatBytes, formatCount, formatHex, plural } from './format.ts';
import { countsText, imageText } from './image.ts';
import { problemText } from './problem.ts';
import type { Layout, Style } from './style.ts';
import { pairLines } from './table.ts';

/** The text of `verify`: the verdict in one line, everything that is wrong, then what was looked at. */
export function* verificationLines(
  names: readonly string[],
  verification: Verification,
  layout: Layout,
): Generator<string> {
  const { errors, warnings, verdict } = verification;
  yield `${layout.style.strong(names.map(escapeText).join(', '))}: ${verdictText(verdict, layout.style)}`;
  yield* findingLines(errors, layout.style.bad('error'));
  yield* findingLines(warnings, layout.style.warning('warning'));
  // A digest that is cut is worth nothing: here the terminal may wrap.
  yield* pairLines(factPairs(verification), { ...layout, width: Infinity });
}

function verdictText(verdict: Verification['verdict'], style: Style): string {
  if (verdict === 'sound') return style.good('sound');
  return verdict === 'findings'
    ? style.warning('restores, but something is wrong with it')
    : style.bad('broken: it will not restore');
}

function* findingLines(findings: readonly Finding[], label: string): Generator<string> {
  for (const [i, finding] of findings.entries()) {
    yield `  ${label}: ${problemText(finding)}`;
    // Damage comes in rows, and the advice is mostly the same.
    if (findings[i + 1]?.next !== finding.next) yield `    ${escapeText(finding.next)}`;
  }
}

function factPairs(verification: Verification): [string, string][] {
  const { preamble, about, counts, bytes, checkpoint, memory, tmem } = verification;
  const pairs: [string, string][] = [];
  if (preamble !== null) {
    const name = about === null ? '' : textField(asFields(about), 'name');
    pairs.push(['image', imageText(preamble) + (name === '' ? '' : `, ${name}`)]);
  }
  pairs.push(['read', `${formatBytes(bytes)} (${formatCount(bytes)} bytes): ${countsText(counts)}`]);
  const point = checkpoint === null ? 'none: no consistent machine in it' : checkpointText(checkpoint);
  pairs.push(['checkpoint', point]);
  if (memory !== null && memory !== undefined) {
    pairs.push(['memory', `${plural(memory.pages, 'page')}, ${formatCount(memory.zeroPages)} of them zero`]);
    pairs.push(['', `sha256 ${escapeText(memory.sha256)}`]);
  }
  if (tmem !== null && tmem !== undefined) {
    pairs.push(['tmem', `${plural(tmem.pages, 'page')} in ${plural(tmem.pools, 'pool')}`]);
    pairs.push(['', `sha256 ${escapeText(tmem.sha256)}`]);
  }
  return pairs;
}

function checkpointText(checkpoint: NonNullable<Verification['checkpoint']>): string {
  return `${formatCount(checkpoint.number)} at offset ${formatHex(checkpoint.offset)}`;
}
