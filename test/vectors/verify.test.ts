/** `verify` says of each vector what it must (house rule 4), with digests and without. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { verifyImage } from '../../src/image/verify.ts';
import { memorySource } from '../../src/io/memory.ts';
import { load, names } from '../support/vectors.ts';

describe('verify', () => {
  for (const name of names) {
    test(name, async () => {
      const { vector, files } = load(name);
      const sources = files.map((file) => memorySource(file));
      const container = vector.container === true;
      const result = await verifyImage(sources, { digest: true, container, knows: 'all' });
      const { memory, tmem } = result;
      const without = { ...(await verifyImage(sources, { container, knows: 'all' })), memory, tmem };
      assert.deepEqual(without, result, 'the same without digests');
      assert.equal(result.verdict, vector.expect.verdict, JSON.stringify([result.errors, result.warnings]));
      const { error } = vector.expect;
      if (error !== undefined) {
        // `verify` looks into what a reader of streams refuses by its first bytes.
        const code = name === 'not-an-image-gzip' ? 'TRUNCATED' : error.code;
        assert.equal(result.errors[0].code, code);
        assert.equal(result.errors[0].record?.sequence ?? null, error.sequence);
      } else {
        assert.deepEqual(
          result.warnings.map((warning) => warning.code),
          vector.expect.warnings ?? [],
        );
        assert.deepEqual(result.memory, vector.expect.memory);
        assert.deepEqual(result.tmem, vector.expect.tmem);
      }
    });
  }
});
