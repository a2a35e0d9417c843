/** Single changes to a source that a test should notice. It relies on the formatter: operators have spaces around. */

export interface Mutant {
  /** Where the change begins, and how long what it replaces is. */
  readonly at: number;
  readonly length: number;
  readonly replacement: string;
  readonly line: number;
  readonly kind: 'operator' | 'condition' | 'throw' | 'constant' | 'call';
}

const SWAPS: readonly (readonly [from: string, to: string])[] = [
  [' < ', ' <= '],
  [' <= ', ' < '],
  [' > ', ' >= '],
  [' >= ', ' > '],
  [' === ', ' !== '],
  [' !== ', ' === '],
  [' && ', ' || '],
  [' || ', ' && '],
  [' + ', ' - '],
  [' - ', ' + '],
];

/** Comments and texts, which are not mutated: nothing depends on what a message says. */
const TEXT = /\/\/[^\n]*|\/\*[^]*?\*\/|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[^])*`/g;
const NUMBER = /(?<![\w$.])(?:0x[\da-f_]+|\d[\d_]*)n?(?![\w$.])/g;
const CALL = /(?:await )?(?:this\.)?[#\w$]+(?:[!?]?\.#?[\w$]+)*\(/y;

/** All mutants of a source, in order. */
export function mutantsOf(source: string): Mutant[] {
  const code = source.replaceAll(TEXT, (text) => text.replaceAll(/[^\n]/g, '"'));
  const found: Mutant[] = [];
  const add = (kind: Mutant['kind'], at: number, length: number, replacement: string): void => {
    found.push({ kind, at, length, replacement, line: code.slice(0, at).split('\n').length });
  };
  for (const [from, to] of SWAPS) {
    for (let at = code.indexOf(from); at >= 0; at = code.indexOf(from, at + 1)) add('operator', at, from.length, to);
  }
  for (const { index } of code.matchAll(/\bif \(/g)) {
    const start = index + 4;
    const end = closing(code, start - 1);
    add('condition', start, end - start, `!(${source.slice(start, end)})`);
  }
  for (const { index } of code.matchAll(/\bthrow /g)) {
    const end = statementEnd(code, index);
    add('throw', index, end - index, '');
  }
  for (const { index, 0: text } of code.matchAll(NUMBER)) {
    const big = text.endsWith('n');
    const next = BigInt(text.replaceAll(/[_n]/g, '')) + 1n;
    add('constant', index, text.length, big ? `${next}n` : `${next}`);
  }
  for (const { index, 0: text } of code.matchAll(/\b(?:true|false)\b(?=[;,)])/g)) {
    add('constant', index, text.length, text === 'true' ? 'false' : 'true');
  }
  for (const { index, 0: before } of code.matchAll(/(?:[;{})]|\belse)\s+(?=[\w#$])/g)) {
    const start = index + before.length;
    CALL.lastIndex = start;
    const call = CALL.exec(code);
    if (call === null || /^(?:if|for|while|switch|return|function|super)\b/.test(call[0])) continue;
    // Only a whole statement, so no method of a class and no part of an expression.
    const end = closing(code, start + call[0].length - 1) + 1;
    if (code[end] === ';') add('call', start, end - start, '');
  }
  return found.toSorted((a, b) => a.at - b.at || a.length - b.length);
}

/** Applies a mutant. */
export function mutated(source: string, { at, length, replacement }: Mutant): string {
  return source.slice(0, at) + replacement + source.slice(at + length);
}

/** Where the bracket closes that opens at `at`. */
function closing(code: string, at: number): number {
  let depth = 0;
  for (let i = at; i < code.length; i++) {
    if ('([{'.includes(code[i])) depth++;
    else if (')]}'.includes(code[i]) && --depth === 0) return i;
  }
  return code.length;
}

/** Where the semicolon is that ends the statement at `at`. */
function statementEnd(code: string, at: number): number {
  let depth = 0;
  for (let i = at; i < code.length; i++) {
    if ('([{'.includes(code[i])) depth++;
    else if (')]}'.includes(code[i])) depth--;
    else if (code[i] === ';' && depth === 0) return i;
  }
  return code.length;
}
