import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERRORS, EXIT, TransmigrateError } from '../../src/errors.ts';

const spec = readFileSync(new URL('../../spec/errors.md', import.meta.url), 'utf8');

test('spec/errors.md lists exactly the codes of the table, with their classes', () => {
  const rows = [...spec.matchAll(/^\| `([A-Z_]+)` \| (\w+) \|/gm)].map((row) => [row[1], row[2]]);
  assert.deepEqual(
    rows,
    Object.entries(ERRORS).map(([code, entry]) => [code, entry.class]),
  );
});

test('spec/errors.md gives the exit code of every class', () => {
  for (const [name, code] of Object.entries(EXIT)) {
    if (name !== 'ok') assert.match(spec, new RegExp(`^\\| ${name} \\| ${code} \\|`, 'm'));
  }
});

test('an error survives as JSON with everything it carries', () => {
  const error = new TransmigrateError('FIELD_VALUE', 'It is 9', {
    offset: 128,
    path: 'record 0 (ABOUT)',
    section: '6.1',
    guestAt: 'source',
    data: { found: 9 },
    cause: new Error('below'),
  });
  assert.deepEqual(JSON.parse(JSON.stringify(error)), {
    code: 'FIELD_VALUE',
    message: 'It is 9',
    next: ERRORS.FIELD_VALUE.next,
    offset: 128,
    path: 'record 0 (ABOUT)',
    section: '6.1',
    guestAt: 'source',
    data: { found: 9 },
    cause: 'below',
  });
  assert.equal(error.exitCode, 10);
  assert.equal(new TransmigrateError('UNKNOWN_RECORD', 'x', { next: 'Do this.' }).next, 'Do this.');
});
