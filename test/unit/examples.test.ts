import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { convertFile } from '../../examples/convert.ts';
import { fieldsByStranger, load, thermometerImage } from '../../examples/own-record.ts';
import { TransmigrateError } from '../../src/index.ts';
import { xlFile } from '../support/xen/streams.ts';

const NAME = 'org.example.thermometer';

test("S4: inspect prints a stranger's record field by field", async () => {
  assert.deepEqual(await fieldsByStranger(await thermometerImage(false)), {
    sensor: 'roof',
    flags: '8001',
    readings: [293_150, 293_400, -1],
  });
});

test('S4: a mandatory record of an unknown name is refused by that name; an optional one is skipped', async () => {
  const refusal = load(await thermometerImage(true), []);
  assert.ok(refusal instanceof TransmigrateError);
  assert.equal(refusal.code, 'UNKNOWN_RECORD');
  assert.equal(refusal.data['name'], NAME);
  assert.equal(load(await thermometerImage(false), []), 0);
  assert.equal(load(await thermometerImage(true), [NAME]), 1);
});

test('an image is converted from file to file, and back', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'tmig-example-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = (name: string): string => join(directory, name);
  writeFileSync(path('a.xl'), xlFile());
  assert.equal((await convertFile(path('a.xl'), path('a.tmig'), 'tmig')).exact, true);
  assert.equal((await convertFile(path('a.tmig'), path('b.xl'), 'xl')).exact, true);
  assert.deepEqual(readFileSync(path('b.xl')), Buffer.from(xlFile()));
  await assert.rejects(convertFile(path('a.xl'), path('a.libxl'), 'libxl'), (error) => {
    assert.ok(error instanceof TransmigrateError);
    return error.code === 'CONVERSION_LOSS';
  });
  assert.deepEqual(readdirSync(directory).toSorted(), ['a.tmig', 'a.xl', 'b.xl']);
});
