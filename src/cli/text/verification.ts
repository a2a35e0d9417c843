import type { Finding, Verification } from '../../image/verify.ts';
import { classOfCode } from '../../errors.ts';
import { escapeText } from '../escape.ts';
import { asFields, textField } from './fields.ts';
import { formatCount, formatHex, formatSize, plural } from './format.ts';
import { countsText, foreignText, imageText, nestingText } from './image.ts';
import { problemText } from './problem.ts';
import type { Layout, Style } from './style.ts';
import { pairLines } from './table.ts';
import { paragraph } from './wrap.ts';

/** The text of `verify`: the verdict in one line, everything that is wrong, then what was looked at. */
export function* verificationLines(
  names: readonly string[],
  verification: Verification,
  layout: Layout,
): Generator<string> {
  const { errors, warnings } = verification;
  const { style, width } = layout;
  const name = style.strong(names.map(escapeText).join(', '));
  yield* paragraph('', `${name}: ${verdictText(verification, style)}`, 2, width);
  yield* findingLines(errors, style.bad('error'), width);
  yield* findingLines(warnings, style.warning('warning'), width);
  // Of what is no image at all there are no facts.
  if (verification.format !== 'unknown' && verification.bytes > 0)
    yield* pairLines(factPairs(verification, names), layout);
}

function verdictText({ verdict, errors, format }: Verification, style: Style): string {
  if (verdict === 'sound') return style.good(format === 'xl-back' ? 'sound; no machine is in it' : 'sound');
  if (verdict === 'findings') return style.warning('restores, but something is wrong with it');
  const code = errors[0]?.code;
  if (code === 'NOT_AN_IMAGE') return style.bad('not an image');
  const isTooNew = code !== undefined && classOfCode(code) === 'unsupported';
  return style.bad(isTooNew ? 'not supported: it will not restore here' : 'broken: it will not restore');
}

function* findingLines(findings: readonly Finding[], label: string, width: number): Generator<string> {
  for (const [i, finding] of findings.entries()) {
    yield* paragraph(`  ${label}: `, problemText(finding), 4, width);
    // Damage comes in rows, and the advice is mostly the same.
    if (findings[i + 1]?.next !== finding.next) yield* paragraph('    ', escapeText(finding.next), 4, width);
  }
}

function factPairs(verification: Verification, names: readonly string[]): [string, string][] {
  const { preamble, about, counts, bytes, checkpoint, memory, tmem } = verification;
  const pairs: [string, string][] = [];
  if (preamble !== null) {
    const name = about === null ? '' : textField(asFields(about), 'name');
    pairs.push(['image', imageText(preamble) + (name === '' ? '' : `, ${name}`)]);
  } else {
    pairs.push(['image', foreignText(verification.format, verification.head, about)]);
  }
  if (verification.nesting.length > 1) pairs.push(['layers', nestingText(verification.nesting)]);
  pairs.push(['read', formatSize(bytes)]);
  pairs.push(['content', countsText(counts, names.length > 1 ? ` in ${names.length} channels` : '')]);
  if (checkpoint !== null) pairs.push(['checkpoint', checkpointText(checkpoint, names)]);
  // Images of others are whole machines without one.
  else if (preamble !== null) pairs.push(['checkpoint', 'none: no consistent machine in it']);
  if (verification.lettersIgnored > 0) {
    const count = plural(verification.lettersIgnored, 'finding');
    pairs.push(['ignored', `${count} of the letter of the specification: see them with --strict`]);
  }
  if (memory !== null && memory !== undefined) {
    pairs.push(['memory', `${plural(memory.pages, 'page')}, ${formatCount(memory.zeroPages)} of them zero`]);
    pairs.push(['  sha256', escapeText(memory.sha256)]);
  }
  if (tmem !== null && tmem !== undefined) {
    pairs.push(['tmem', `${plural(tmem.pages, 'page')} in ${plural(tmem.pools, 'pool')}`]);
    pairs.push(['  sha256', escapeText(tmem.sha256)]);
  }
  return pairs;
}

function checkpointText(checkpoint: NonNullable<Verification['checkpoint']>, names: readonly string[]): string {
  const where = names.length > 1 ? ` of ${escapeText(names[0] ?? '')}` : '';
  return `${formatCount(checkpoint.number)} at offset ${formatHex(checkpoint.offset)}${where}`;
}
