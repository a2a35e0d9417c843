import assert from 'node:assert/strict';
import { test } from 'node:test';
import { thermometerImage } from '../../../examples/own-record.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { memorySource } from '../../../src/io/memory.ts';

const NAME = 'org.example.thermometer';

test('S4: verify names what a restore must know', async () => {
  const mandatory = memorySource(await thermometerImage(true));
  const found = await verifyImage([mandatory]);
  assert.equal(found.verdict, 'findings');
  assert.deepEqual(
    found.warnings.map(({ code, data }) => [code, data]),
    [['UNKNOWN_RECORD', { name: NAME }]],
  );
  assert.equal((await verifyImage([mandatory], { knows: new Set([NAME]) })).verdict, 'sound');
  assert.equal((await verifyImage([mandatory], { knows: new Set(['org.example.other']) })).verdict, 'findings');
});

test('S4: an optional record needs nobody who knows it', async () => {
  assert.equal((await verifyImage([memorySource(await thermometerImage(false))])).verdict, 'sound');
});
