/** Raw memory and states of v86 through the model. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { openImage } from '../../../../src/image/open/open-image.ts';
import { memorySource } from '../../../../src/io/memory.ts';
import { memoryDigest, opened, read, sha256, thereAndBack } from '../../../support/conversion.ts';
import { fixture } from '../../../support/corpus.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

interface State {
  readonly file: string;
  readonly registers: Readonly<Record<string, string>>;
}
const states = JSON.parse(
  readFileSync(new URL('../../../fixtures/v86/states.json', import.meta.url), 'utf8'),
) as State[];
/** Over (pfn, page) of all 16 MiB, as the corpus's manifest has it for both. */
const MEMORY = 'bc39566d86d6afa63e18611f3da22be287a99180f25174823d913a8fc8ae1cac';

for (const { file, registers } of states) {
  test(`${file}: memory and registers as v86 said, and back`, async () => {
    const bytes = fixture(`v86/${file.replace(/\.zst$/, '')}`);
    const ours = await thereAndBack('v86', bytes);
    for (const image of [await opened(bytes), await opened(ours)]) {
      assert.equal(await memoryDigest(image.memory), MEMORY);
      const [vcpu] = image.vcpus;
      for (const name of ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di', 'ip'] as const) {
        assert.equal(vcpu.registers[`r${name}` as 'rax'], BigInt(registers[`e${name}`]), name);
      }
      assert.equal(image.devices[0].format, 'v86-state');
    }
    const { findings, error } = await read('v86', bytes);
    assert.deepEqual([findings, error], [[], undefined]);
    const longer = new Uint8Array(bytes.byteLength + 3);
    longer.set(bytes);
    longer[bytes.byteLength + 1] = 5;
    await thereAndBack('v86', longer);
    assert.deepEqual(
      (await read('v86', longer)).findings.map(({ code, level }) => [code, level]),
      [['TRAILING_DATA', 'broken']],
    );
    for (const end of [0, 3, 15, 16, 4000, 20_000, bytes.byteLength - 1]) {
      assert.equal((await read('v86', bytes.subarray(0, end))).error?.code, 'TRUNCATED', `cut at ${end}`);
    }
  });
}

test('raw memory, in pieces of any length and with a rest', async () => {
  const seed = testSeed();
  const rng = random(seed);
  for (const length of [0, 1, 4095, 4096, 4097, 5 * 4096, 40_000]) {
    const bytes = Uint8Array.from({ length }, () => rng.below(3));
    const ours = await thereAndBack('raw', bytes, `SEED=${seed}, ${length} bytes`);
    const pieces = 1 + rng.below(9000);
    for (const image of [await openImage(memorySource(bytes, 'memory', pieces), { as: 'raw' }), await opened(ours)]) {
      assert.equal(image.memory.pages, Math.floor(length / 4096));
      const all = new Uint8Array(image.memory.pages * 4096);
      for (let pfn = 0; pfn < image.memory.pages; pfn++) {
        await image.memory.readPage(pfn, all.subarray(pfn * 4096));
      }
      assert.equal(sha256(all), sha256(bytes.subarray(0, all.byteLength)), `SEED=${seed}, ${length} bytes`);
    }
    // From a pipe too: it is read in order.
    const { findings, error } = await read('raw', { ...memorySource(bytes, 'pipe', pieces), random: null, size: null });
    assert.equal(error, undefined);
    assert.deepEqual(
      findings.map(({ code, data }) => [code, data['bytes']]),
      length % 4096 === 0 ? [] : [['PARTIAL_PAGE', length % 4096]],
    );
  }
});
