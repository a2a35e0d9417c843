/** The checks: each takes a tree of files and returns what is wrong in it. */

import { posix } from 'node:path';
import {
  AMBIENT,
  BANNED,
  BANNED_DIRECTIVES,
  BROWSER_FOLDERS,
  EFFECTS,
  FILE_LIMIT,
  FOREIGN_TO_THE_PROJECT,
  IMPORT_TABLE,
  LINE_LIMIT,
  LONG_FILES,
  OUTSIDE,
  PURE_FOLDERS,
  REQUIREMENTS,
  ROOTS,
  WORKER_ENTRIES,
} from './rules.ts';
import { importsOf, lex, occurrences, type Import, type Lexed } from './lex.ts';

/** Every committed file by its path from the root of the repository; a binary file has the text ''. */
export type Tree = ReadonlyMap<string, string>;

export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export type Check = (tree: Tree) => Finding[];

const CODE = /\.(?:ts|mts|cts|js|mjs|cjs)$/;
const TYPESCRIPT = /\.[mc]?ts$/;
const SOURCE = /\.(?:ts|mts|cts|js|mjs|cjs|py|sh)$/;
const NAMED = /\.(?:ts|mts|cts|js|mjs|cjs|py|sh|asm|wat|html|css|md)$/;
const KEBAB = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9-]+)*$/;
const ES5_BANNED = ['const', 'let', 'class', 'import', 'export', 'async', 'await', 'yield'];

const lexedBySource = new Map<string, Lexed>();

function lexed(source: string): Lexed {
  let result = lexedBySource.get(source);
  if (result === undefined) {
    result = lex(source);
    lexedBySource.set(source, result);
  }
  return result;
}

function inFolder(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function isFixture(path: string): boolean {
  return path.includes('/fixtures/');
}

function* files(tree: Tree, pattern: RegExp): Generator<[path: string, source: string]> {
  for (const [path, source] of tree) if (pattern.test(path) && !isFixture(path)) yield [path, source];
}

function* srcFiles(tree: Tree): Generator<[path: string, source: string]> {
  for (const entry of files(tree, CODE)) if (inFolder(entry[0], 'src')) yield entry;
}

/** The row of the import table that a path belongs to: the longest key that holds it. */
export function rowOf(path: string): string | undefined {
  return Object.keys(IMPORT_TABLE)
    .filter((key) => inFolder(path, key))
    .toSorted((a, b) => b.length - a.length)[0];
}

/** Every row that `row` may import, itself included. */
export function allowedRows(row: string): Set<string> {
  const allowed = new Set([row]);
  for (const known of allowed) for (const next of IMPORT_TABLE[known] ?? []) allowed.add(next);
  return allowed;
}

interface Edge extends Import {
  /** The path in the tree of the file that is named. */
  readonly target: string;
}

function localImports(path: string, source: string): Edge[] {
  return importsOf(lexed(source).tokens)
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map((found) => ({ ...found, target: posix.join(posix.dirname(path), found.specifier) }));
}

/** The name of the package in a bare specifier: `@scope/name/file` is `@scope/name`. */
function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

export const importTable: Check = (tree) => {
  const findings: Finding[] = [];
  for (const [path, source] of files(tree, CODE)) {
    const row = inFolder(path, 'src') ? rowOf(path) : undefined;
    const outside = Object.keys(OUTSIDE).find((folder) => inFolder(path, folder));
    if (inFolder(path, 'src') && row === undefined) {
      findings.push({ path, line: 1, message: 'no row of the import table holds this file' });
      continue;
    }
    const allowed = row === undefined ? new Set(OUTSIDE[outside ?? '']) : allowedRows(row);
    for (const { target, line } of localImports(path, source)) {
      if (CODE.test(target) && !tree.has(target)) {
        findings.push({ path, line, message: `imports ${target}, which does not exist` });
      } else if (inFolder(target, 'src') && (row !== undefined || outside !== undefined)) {
        if (!allowed.has(rowOf(target) ?? '')) findings.push({ path, line, message: `may not import ${target}` });
      } else if (row !== undefined && CODE.test(target)) {
        findings.push({ path, line, message: `imports ${target}, which is no part of the package` });
      }
    }
  }
  return findings;
};

export const noCircles: Check = (tree) => {
  const findings: Finding[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const trail: string[] = [];
  function visit(path: string): void {
    state.set(path, 'open');
    trail.push(path);
    for (const { target, line, how } of localImports(path, tree.get(path) ?? '')) {
      if (how === 'url' || !tree.has(target) || !CODE.test(target)) continue;
      if (state.get(target) === 'open') {
        const circle = [...trail.slice(trail.indexOf(target)), target];
        findings.push({ path, line, message: `closes a circle: ${circle.join(' -> ')}` });
      } else if (!state.has(target)) {
        visit(target);
      }
    }
    trail.pop();
    state.set(path, 'done');
  }
  for (const [path] of files(tree, CODE)) if (!state.has(path)) visit(path);
  return findings;
};

/** `node:` modules and packages: only declared ones, and in a folder that runs in a browser only in its adapter. */
export const platformImports: Check = (tree) => {
  const findings: Finding[] = [];
  const manifest = JSON.parse(tree.get('package.json') ?? '{}') as Record<string, Record<string, string> | undefined>;
  const shipped = { ...manifest['dependencies'], ...manifest['optionalDependencies'] };
  const development = { ...shipped, ...manifest['devDependencies'] };
  for (const [path, source] of files(tree, CODE)) {
    const inSrc = inFolder(path, 'src');
    const folder = Object.keys(BROWSER_FOLDERS).find((key) => inFolder(path, key));
    const browser = folder !== undefined && !isAdapter(path, BROWSER_FOLDERS[folder]);
    const pure = isPure(path) && path !== BROWSER_FOLDERS[folder ?? ''];
    for (const { specifier, line } of importsOf(lexed(source).tokens)) {
      if (specifier.startsWith('.')) continue;
      const name = packageOf(specifier);
      if (browser) {
        const adapter = BROWSER_FOLDERS[folder];
        findings.push({ path, line, message: `imports ${specifier}: in ${folder} only ${adapter} may` });
      } else if (pure && specifier.startsWith('node:')) {
        findings.push({ path, line, message: `imports ${specifier}: it must be handed in` });
      } else if (!specifier.startsWith('node:')) {
        const known = Object.hasOwn(inSrc ? shipped : development, name) || (!inSrc && name === 'transmigrate');
        if (!known) findings.push({ path, line, message: `imports ${name}, which package.json does not declare` });
      }
    }
    if (!browser) continue;
    for (const wanted of [['Buffer'], ['process', '.'], ['require', '(']]) {
      for (const line of occurrences(lexed(source).tokens, wanted)) {
        findings.push({ path, line, message: `uses ${wanted[0]}, which browsers do not have` });
      }
    }
  }
  return findings;
};

/** The one file of a folder that may know where it runs, or its twin for browsers. */
function isAdapter(path: string, adapter: string): boolean {
  return path === adapter || path === adapter.replace(/\.ts$/, '.browser.ts');
}

function isPure(path: string): boolean {
  return PURE_FOLDERS.some((f) => inFolder(path, f)) && !EFFECTS.some((f) => inFolder(path, f));
}

export const ambient: Check = (tree) => {
  const findings: Finding[] = [];
  for (const [path, source] of srcFiles(tree)) {
    if (!isPure(path)) continue;
    for (const wanted of AMBIENT) {
      for (const line of occurrences(lexed(source).tokens, wanted)) {
        findings.push({ path, line, message: `uses ${wanted.join('')}: it must be handed in` });
      }
    }
  }
  return findings;
};

export const banned: Check = (tree) => {
  const findings: Finding[] = [];
  for (const [path, source] of files(tree, TYPESCRIPT)) {
    const { tokens, comments } = lexed(source);
    for (const { tokens: wanted, instead } of BANNED) {
      for (const line of occurrences(tokens, wanted)) {
        findings.push({ path, line, message: `${wanted.join(' ')}: write ${instead}` });
      }
    }
    for (const { text, line } of comments) {
      const directive = BANNED_DIRECTIVES.find((word) => new RegExp(`^(?://|/\\*)[\\s*]*${word}\\b`).test(text));
      if (directive !== undefined) findings.push({ path, line, message: `${directive}: mend the type instead` });
    }
  }
  return findings;
};

export const lineLength: Check = (tree) => {
  const findings: Finding[] = [];
  for (const [path, source] of files(tree, SOURCE)) {
    for (const [i, text] of source.split('\n').entries()) {
      const { length } = text;
      if (length > LINE_LIMIT) findings.push({ path, line: i + 1, message: `${length} characters in a line` });
    }
  }
  return findings;
};

export function fileSizeWith(exceptions: Readonly<Record<string, string>>): Check {
  return (tree) => {
    const findings: Finding[] = [];
    const long = new Set<string>();
    for (const [path, source] of srcFiles(tree)) {
      const lines = source.split('\n').length - 1;
      if (lines <= FILE_LIMIT) continue;
      long.add(path);
      if (!Object.hasOwn(exceptions, path)) findings.push({ path, line: lines, message: `${lines} lines: split it` });
    }
    for (const path of Object.keys(exceptions)) {
      if (!long.has(path)) findings.push({ path, line: 1, message: 'is excepted as long, and is not' });
    }
    return findings;
  };
}

export const fileSize = fileSizeWith(LONG_FILES);

export const names: Check = (tree) => {
  const findings: Finding[] = [];
  for (const [path] of files(tree, NAMED)) {
    const segments = path.split('/');
    if (segments.some((segment) => segment.startsWith('.'))) continue;
    const wrong = segments.find((segment) => {
      if (/^[A-Z]+\.md$/.test(segment)) return false;
      return !KEBAB.test(segment.endsWith('.py') ? segment.replaceAll('_', '-') : segment);
    });
    if (wrong !== undefined) findings.push({ path, line: 1, message: `the name ${wrong} is not kebab-case` });
  }
  return findings;
};

export const deadFiles: Check = (tree) => {
  const reached = new Set([...ROOTS, ...WORKER_ENTRIES].filter((path) => tree.has(path)));
  if (reached.size === 0) return [];
  for (const path of reached) {
    for (const { target } of localImports(path, tree.get(path) ?? '')) if (tree.has(target)) reached.add(target);
  }
  const findings: Finding[] = [];
  for (const [path] of srcFiles(tree)) {
    if (!reached.has(path)) findings.push({ path, line: 1, message: `nothing reaches it from ${ROOTS.join(' or ')}` });
  }
  return findings;
};

export const machineNames: Check = (tree) => {
  const findings: Finding[] = [];
  for (const [path, source] of tree) {
    if (!FOREIGN_TO_THE_PROJECT.some((pattern) => pattern.test(source))) continue;
    for (const [i, text] of source.split('\n').entries()) {
      const found = FOREIGN_TO_THE_PROJECT.map((pattern) => pattern.exec(text)?.[0]).find((m) => m !== undefined);
      if (found !== undefined) findings.push({ path, line: i + 1, message: `names a machine or a registry: ${found}` });
    }
  }
  return findings;
};

/** Requirement ids that must be cited, by the specification, a vector or a test that is not this one. */
export const citations: Check = (tree) => {
  const cited = new Set<string>();
  for (const [path, source] of tree) {
    if (!['spec', 'test', 'vectors'].some((f) => inFolder(path, f)) || inFolder(path, 'test/tidy')) continue;
    for (const [id] of source.matchAll(/\b[A-Z]\d{1,2}\b/g)) cited.add(id);
  }
  return Object.entries(REQUIREMENTS).flatMap(([state, ids]) =>
    ids
      .filter((id) => !cited.has(id))
      .map((id) => ({ path: 'spec', line: 1, message: `no citation of requirement ${id} (${state})` })),
  );
};

/** The launcher is read by whatever Node there is, so it keeps to the oldest syntax. */
export const launcher: Check = (tree) => {
  const path = 'bin/transmigrate';
  const { tokens } = lexed(tree.get(path) ?? '');
  return tokens
    .filter(({ kind, text }) => {
      if (kind === 'template') return true;
      return kind === 'word' ? ES5_BANNED.includes(text) : kind === 'punct' && text === '=>';
    })
    .map(({ kind, text, line }) => ({ path, line, message: `${kind} ${text}: not ES5` }));
};
