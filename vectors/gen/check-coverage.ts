// What the set of vectors must have: enough of them, and each requirement from both sides.
import type { Vector } from './lib/vector.ts';

const fewest = 140;
const requirements = Array.from({ length: 14 }, (_, place) => `S${place + 1}`);

const isBroken = (vector: Vector): boolean => vector.expect['verdict'] === 'broken';

export function coverageProblems(vectors: Vector[]): string[] {
  const problems: string[] = [];
  if (vectors.length < fewest) problems.push(`${vectors.length} vectors; at least ${fewest} are wanted`);
  for (const requirement of requirements) {
    const about = vectors.filter((vector) => vector.requirements.includes(requirement));
    if (!about.some((vector) => !isBroken(vector))) problems.push(`${requirement}: no positive vector`);
    if (!about.some(isBroken)) problems.push(`${requirement}: no negative vector`);
  }
  for (const vector of vectors) {
    if (!/^[a-z0-9]+(-[a-z0-9]+)*$/.test(vector.name)) problems.push(`${vector.name}: not a name for a vector`);
    const largest = Math.max(...vector.files.map((file) => file.length));
    if (largest > 500_000) problems.push(`${vector.name}: ${largest} bytes are too many`);
  }
  return problems;
}

/** How many vectors of each kind there are by requirement, as a Markdown table. */
export function coverageTable(vectors: Vector[]): string {
  const names = [...new Set(vectors.flatMap((vector) => vector.requirements))].sort((left, right) =>
    left[0] === right[0] ? Number(left.slice(1)) - Number(right.slice(1)) : left < right ? -1 : 1,
  );
  const rows = names.map((name) => {
    const about = vectors.filter((vector) => vector.requirements.includes(name));
    const broken = about.filter(isBroken).length;
    return `| ${name} | ${about.length - broken} | ${broken} |`;
  });
  return ['| requirement | sound or findings | broken |', '|---|---|---|', ...rows].join('\n');
}
