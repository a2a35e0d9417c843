/**
 * What a test draws its cases from: SEED of the environment. Without it the same cases are tried each time, so that
 * what was green stays green; `SEED=random` looks for others, and a failure prints what was drawn.
 */
export function testSeed(): string {
  const given = process.env['SEED'] ?? '1';
  return given === 'random' ? String(Math.floor(Math.random() * 2 ** 31)) : given;
}
