import type { Finding, Verification } from '../../image/verify.ts';
import { escapeText } from '../escape.ts';
import { asFields, textField } from './fields.ts';
import { formatCount, formatHex, plural, shorten, sizeText } from './format.ts';
import { countsText, imageText } from './image.ts';
import { problemText } from './problem.ts';
import type { Layout, Style } from './style.ts';
import { pairLines, paragraph } from './table.ts';

const LONGEST_NAME = 80;

/** The text of `verify`: the verdict in one line, everything that is wrong, then what was looked at. */
export function* verificationLines(
  names: readonly string[],
  verification: Verification,
  layout: Layout,
): Generator<string> {
  const { errors, warnings, verdict } = verification;
  yield `${layout.style.strong(names.map(escapeText).join(', '))}: ${verdictText(verdict, layout.style)}`;
  yield* findingLines(errors, 'error', layout.style.bad, layout);
  yield* findingLines(warnings, 'warning', layout.style.warning, layout);
  yield* pairLines(factPairs(verification), layout);
}

function verdictText(verdict: Verification['verdict'], style: Style): string {
  if (verdict === 'sound') return style.good('sound');
  return verdict === 'findings'
    ? style.warning('restores, but something is wrong with it')
    : style.bad('broken: it will not restore');
}

function* findingLines(
  findings: readonly Finding[],
  label: string,
  paint: (text: string) => string,
  layout: Layout,
): Generator<string> {
  for (const [i, finding] of findings.entries()) {
    const [first = '', ...more] = paragraph(`${label}: ${problemText(finding)}`, '    ', layout);
    yield `  ${paint(label)}${first.trimStart().slice(label.length)}`;
    yield* more;
    // Damage comes in rows, and the advice is mostly the same.
    if (findings[i + 1]?.next !== finding.next) yield* paragraph(escapeText(finding.next), '    ', layout);
  }
}

function factPairs(verification: Verification): [string, string][] {
  const { preamble, about, counts, bytes, checkpoint, memory, tmem } = verification;
  // Of what is no image there is nothing to say but that.
  if (preamble === null) return [];
  const name = about === null ? '' : shorten(textField(asFields(about), 'name'), LONGEST_NAME);
  const pairs: [string, string][] = [
    ['image', imageText(preamble) + (name === '' ? '' : `, ${name}`)],
    ['read', `${sizeText(bytes)}: ${countsText(counts)}`],
  ];
  const point = checkpoint === null ? 'none: no consistent machine in it' : checkpointText(checkpoint);
  // What goes back to the source never holds a machine.
  if (preamble.direction === 'forward') pairs.push(['checkpoint', point]);
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
