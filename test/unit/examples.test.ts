import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldsByStranger, load, thermometerImage } from '../../examples/own-record.ts';
import { TransmigrateError } from '../../src/index.ts';

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
