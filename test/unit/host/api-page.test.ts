import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { bootSchema, createSchema, restoreSchema, saveSchema } from '../../../src/host/api.ts';
import { ROUTES } from '../../../src/host/server.ts';

const page = readFileSync(new URL('../../../spec/host-api.md', import.meta.url), 'utf8');

test('spec/host-api.md lists the routes of the server, in its order', () => {
  const listed = Array.from(page.matchAll(/^\| `([A-Z]+ \/[^`]*)` \|/gm), ([, route]) => route);
  assert.deepEqual(listed, Object.keys(ROUTES));
});

test('it names every key of every request', () => {
  const section = (number: number): string => page.split(/^## /m).find((part) => part.startsWith(`${number} `))!;
  const keys = {
    3: [...Object.keys(createSchema.shape), ...bootSchema.options.flatMap((option) => Object.keys(option.shape))],
    4: Object.keys(saveSchema.shape),
    5: Object.keys(restoreSchema.shape),
  };
  for (const [number, names] of Object.entries(keys)) {
    for (const name of names) assert.match(section(Number(number)), new RegExp(`\\b${name}\\b`), `${number}: ${name}`);
  }
});
