import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Tree } from './checks.ts';

/** Reads every file that git would take: all but what .gitignore names (plain folder names and `*.extension`). */
export function readTree(root: string): Tree {
  const ignored = readFileSync(join(root, '.gitignore'), 'utf8').split('\n').filter(Boolean);
  const folders = new Set(['.git', ...ignored.filter((line) => line.endsWith('/')).map((line) => line.slice(0, -1))]);
  const endings = ignored.filter((line) => line.startsWith('*.')).map((line) => line.slice(1));
  const tree = new Map<string, string>();

  function walk(folder: string): void {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (folders.has(entry.name) || endings.some((ending) => entry.name.endsWith(ending))) continue;
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile()) tree.set(path, textOf(join(root, path)));
    }
  }
  walk('');
  return tree;
}

function textOf(file: string): string {
  const bytes = readFileSync(file);
  return bytes.includes(0) ? '' : bytes.toString('utf8');
}
