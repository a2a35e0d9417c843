/** A lexer for as much of TypeScript as the checks look at: which words stand where, and which are only text. */

export interface Token {
  readonly kind: 'word' | 'punct' | 'string' | 'number' | 'regex' | 'template';
  /** The source text; of a string, its value between the quotes. */
  readonly text: string;
  readonly line: number;
}

export interface Lexed {
  readonly tokens: readonly Token[];
  readonly comments: readonly { readonly text: string; readonly line: number }[];
}

/** After one of these words comes an operand, so a slash begins a regular expression. */
const BEFORE_OPERAND = new Set(
  'return typeof case in of delete void throw new else do await yield instanceof'.split(' '),
);

const WORD = /[\p{ID_Start}$_#@][\p{ID_Continue}$]*/uy;
const NUMBER = /\d[\w.]*/y;
const REGEX = /\/(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const TEMPLATE_PIECE = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;

export function lex(source: string): Lexed {
  const tokens: Token[] = [];
  const comments: { text: string; line: number }[] = [];
  /** For each open template substitution, how many braces are open inside it. */
  const substitutions: number[] = [];
  let at = 0;
  let line = 1;
  /** Whether what was read last can be the left side of a division. */
  let operand = false;

  function take(text: string): void {
    at += text.length;
    for (const c of text) if (c === '\n') line++;
  }
  function match(pattern: RegExp): string {
    pattern.lastIndex = at;
    return pattern.exec(source)?.[0] ?? '';
  }
  function push(kind: Token['kind'], whole: string, text = whole): void {
    tokens.push({ kind, text, line });
    take(whole);
  }
  /** Reads from the character after a backtick, or after the brace that ends a substitution. */
  function template(): void {
    push('template', match(TEMPLATE_PIECE));
    if (source.startsWith('${', at)) {
      substitutions.push(0);
      take('${');
      operand = false;
    } else {
      take(source.slice(at, at + 1));
      operand = true;
    }
  }

  if (source.startsWith('#!')) take(source.slice(0, (source.indexOf('\n') + 1 || source.length + 1) - 1));
  while (at < source.length) {
    const c = source[at];
    const open = substitutions.length - 1;
    if (/\s/.test(c)) {
      take(c);
    } else if (source.startsWith('//', at) || source.startsWith('/*', at)) {
      const mark = source[at + 1] === '/' ? '\n' : '*/';
      const end = source.indexOf(mark, at + 2);
      const text = source.slice(at, end < 0 ? source.length : end + (mark === '\n' ? 0 : 2));
      comments.push({ text, line });
      take(text);
    } else if (c === '"' || c === "'") {
      const text = match(c === '"' ? /"(?:[^"\\\n]|\\[^])*"?/y : /'(?:[^'\\\n]|\\[^])*'?/y);
      push('string', text, text.slice(1, -1));
      operand = true;
    } else if (c === '`') {
      take(c);
      template();
    } else if (match(WORD) !== '') {
      const text = match(WORD);
      operand = !BEFORE_OPERAND.has(text);
      push('word', text);
    } else if (match(NUMBER) !== '') {
      push('number', match(NUMBER));
      operand = true;
    } else if (c === '/' && !operand && match(REGEX) !== '') {
      push('regex', match(REGEX));
      operand = true;
    } else if (c === '}' && open >= 0 && substitutions[open] === 0) {
      substitutions.pop();
      take(c);
      template();
    } else {
      if (open >= 0 && c === '{') substitutions[open]++;
      if (open >= 0 && c === '}') substitutions[open]--;
      const pair = source.slice(at, at + 2);
      const text = pair === '=>' || pair === '++' || pair === '--' ? pair : c;
      // `a! / b` and `a++ / b` divide; so does what follows a closing bracket.
      if (text !== '!' && text !== '++' && text !== '--') operand = text === ')' || text === ']' || text === '}';
      push('punct', text);
    }
  }
  return { tokens, comments };
}

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** `url` is `new URL('./file.ts', import.meta.url)`: it starts a file without importing it. */
  readonly how: 'import' | 'url';
}

/** Every module a source names: static and dynamic imports, re-exports, type imports, worker files by URL. */
export function importsOf(tokens: readonly Token[]): Import[] {
  const found: Import[] = [];
  const text = (i: number): string => (tokens[i]?.kind === 'string' ? '' : (tokens[i]?.text ?? ''));
  const add = (i: number, how: Import['how']): void => {
    found.push({ specifier: tokens[i].text, line: tokens[i].line, how });
  };
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i].kind !== 'word' || text(i - 1) === '.') continue;
    if (text(i) === 'import' && tokens[i + 1]?.kind === 'string') {
      add(i + 1, 'import');
    } else if (text(i) === 'import' && text(i + 1) === '(') {
      if (tokens[i + 2]?.kind === 'string') add(i + 2, 'import');
    } else if (text(i) === 'import' || (text(i) === 'export' && /^(type|\*|\{)$/.test(text(i + 1)))) {
      let end = i + 1;
      while (tokens[end]?.kind === 'word' || tokens[end]?.kind === 'string' || /^[{},*]$/.test(text(end))) {
        if (text(end) === 'from' && tokens[end + 1]?.kind === 'string') {
          add(end + 1, 'import');
          break;
        }
        // A declaration that follows is none of this statement's.
        if (end > i + 1 && /^(import|export|const|function|class|interface)$/.test(text(end))) break;
        end++;
      }
    } else if (text(i) === 'new' && text(i + 1) === 'URL' && tokens[i + 3]?.kind === 'string') {
      if (text(i + 4) === ',' && text(i + 5) === 'import' && text(i + 9) === 'url') add(i + 3, 'url');
    }
  }
  return found;
}

/** The line of every place where the words and signs of `wanted` follow each other; `*` stands for any word. */
export function occurrences(tokens: readonly Token[], wanted: readonly string[]): number[] {
  const lines: number[] = [];
  for (let i = 0; i + wanted.length <= tokens.length; i++) {
    const before = tokens[i - 1];
    if (before?.kind === 'punct' && before.text === '.' && wanted[0] !== '<') continue;
    const all = wanted.every((text, j) => {
      const { kind, text: actual } = tokens[i + j];
      if (text === '*') return kind === 'word';
      return (kind === 'word' || kind === 'punct') && actual === text;
    });
    if (all) lines.push(tokens[i].line);
  }
  return lines;
}
