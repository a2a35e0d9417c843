/**
 * Imports the tests again and again, each time with fresh copies of what is mutated and of all that imports it. What
 * mutants cannot reach is loaded once.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { takeCollected } from './collected.ts';
import { ROOT, stripped, type Candidate } from './candidates.ts';
import { mutated } from './mutants.ts';

/** Everything that may import `src/stream`. */
const FRESH = ['src/stream/', 'src/image/', 'src/index.ts', 'test/'].map(
  (path) => pathToFileURL(join(ROOT, path)).href,
);
const COLLECTED = new URL('./collected.ts', import.meta.url).href;

/** Sources as JavaScript, by path: they are stripped once. */
const sources = new Map<string, string>();
let mutant: { readonly path: string; readonly source: string } | undefined;
let graph = 0;

registerHooks({
  resolve(specifier, context, next) {
    const query = context.parentURL === undefined ? '' : new URL(context.parentURL).search;
    if (!query.startsWith('?graph=')) return next(specifier, context);
    if (specifier === 'node:test') return { url: COLLECTED + query, shortCircuit: true };
    const resolved = next(specifier, context);
    return FRESH.some((start) => resolved.url.startsWith(start))
      ? { ...resolved, url: resolved.url + query }
      : resolved;
  },
  load(url, context, next) {
    if (!url.includes('?graph=')) return next(url, context);
    const path = fileURLToPath(url);
    if (path === mutant?.path) return { format: 'module', source: mutant.source, shortCircuit: true };
    let source = sources.get(path);
    if (source === undefined) {
      source = stripped(readFileSync(path, 'utf8'))!;
      sources.set(path, source);
    }
    return { format: 'module', source, shortCircuit: true };
  },
});

/** Starts a graph of its own, with a mutant in it or without. */
export function beginGraph(candidate?: Candidate): void {
  graph++;
  if (candidate === undefined) {
    mutant = undefined;
    return;
  }
  const path = join(ROOT, candidate.file);
  mutant = { path, source: stripped(mutated(readFileSync(path, 'utf8'), candidate))! };
}

/** Imports a test file into the current graph. @returns its tests. */
export async function testsOf(file: string): Promise<Map<string, () => Promise<void> | void>> {
  const query = `?graph=${graph}`;
  await import(pathToFileURL(join(ROOT, file)).href + query);
  const collected = (await import(COLLECTED + query)) as { takeCollected: typeof takeCollected };
  return collected.takeCollected();
}
