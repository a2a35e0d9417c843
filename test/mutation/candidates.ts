/** The mutants that are tried: where they are, which of them are programs, and how they are called. */
import { globSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { mutantsOf, mutated, type Mutant } from './mutants.ts';

export interface Candidate extends Mutant {
  /** Path from the root of the checkout. */
  readonly file: string;
}

export const ROOT = join(import.meta.dirname, '../..');

/** A source as JavaScript, each character where it was; undefined when it is no program. */
export function stripped(source: string): string | undefined {
  try {
    return stripTypeScriptTypes(source);
  } catch {
    return undefined;
  }
}

/** Types leave blanks behind. */
function bare(program: string): string {
  return program.replaceAll(/\s+/g, ' ');
}

/** All mutants of `src/stream` in files whose path contains `part`. */
export function candidates(part = ''): Candidate[] {
  const files = globSync('src/stream/**/*.ts', { cwd: ROOT }).filter((file) => file.includes(part));
  return files.toSorted().flatMap((file) => {
    const source = readFileSync(join(ROOT, file), 'utf8');
    const program = stripped(source);
    return mutantsOf(source)
      .filter((mutant) => {
        // What stands in a type alone is gone before anything runs.
        const changed = stripped(mutated(source, mutant));
        return changed !== undefined && bare(changed) !== bare(program!);
      })
      .map((mutant) => ({ ...mutant, file }));
  });
}

/** What a mutant does, in one line and without its place, so that it is still found when lines move. */
export function changeOf(candidate: Candidate): string {
  const source = readFileSync(join(ROOT, candidate.file), 'utf8');
  const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();
  const before = oneLine(source.slice(candidate.at, candidate.at + candidate.length));
  const start = source.lastIndexOf('\n', candidate.at) + 1;
  const ends = source.indexOf('\n', candidate.at + candidate.length);
  const line = source.slice(start, ends < 0 ? source.length : ends);
  // The same line may hold the same operator twice, so what is shown is the line as it becomes.
  const becomes = mutated(line, { ...candidate, at: candidate.at - start });
  return `${before} -> ${oneLine(candidate.replacement) || 'nothing'} as: ${oneLine(becomes)}`;
}
