/** The mutants are those that are meant, and text is left alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mutantsOf, mutated } from '../../mutation/mutants.ts';

function resultsOf(source: string): string[] {
  return mutantsOf(source).map((mutant) => mutated(source, mutant));
}

test('operators, conditions, throws, constants and calls are changed, one at a time', () => {
  assert.deepEqual(resultsOf('if (a < 7) throw b(c);').toSorted(), [
    'if (!(a < 7)) throw b(c);',
    'if (a < 7) ;',
    'if (a < 8) throw b(c);',
    'if (a <= 7) throw b(c);',
  ]);
  assert.deepEqual(resultsOf('x; await this.#sink.write(a, f(b)); y = g(c);'), ['x; ; y = g(c);']);
  assert.deepEqual(resultsOf('const a = 0xfffn;'), ['const a = 4096n;']);
  assert.deepEqual(resultsOf('return true;'), ['return false;']);
});

test('comments, texts, types and declarations are left alone', () => {
  const source = [
    '// if (a < 1) throw b',
    '/** a === 2 */',
    "const text = 'a && 3';",
    'const name = `${a - 4} > 5`;',
    'const map: Map<string, Set<bigint>> = make();',
    '}',
    'method(a: string): void {}',
    'u64(x);',
  ].join('\n');
  assert.deepEqual(resultsOf(source), [source.slice(0, -'u64(x);'.length) + ';']);
});
