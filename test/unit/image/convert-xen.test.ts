/** Images of Xen to ours and back, on images that Xen made. */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import type { FormatName } from '../../../src/index.ts';
import { converted, machineOf, refused, sha256 } from '../../support/convert.ts';
import { EXPECTED, imageBytes, missing } from '../../support/xen/corpus.ts';

/** Whole images: what is not here is a direction of a wire that holds no image, or cut. */
const IMAGES = Object.keys(EXPECTED).filter((name) => /\.(?:xl|libxc|migrate)$/.test(name));
const REMUS = 'xen-4.17-pv-tiny64-4m.remus';

function formatOf(name: string): FormatName {
  return name.endsWith('.libxc') ? 'xen-libxc' : 'xl';
}

for (const name of IMAGES) {
  describe(name, { skip: missing(name) }, () => {
    const bytes = (): Uint8Array => imageBytes(name);

    it('becomes one of ours and the same bytes again', async () => {
      const ours = await converted(bytes(), { to: 'tmig' });
      assert.equal(ours.result.exact, true);
      assert.deepEqual(ours.result.losses, []);
      const { result, bytes: back } = await converted(ours.bytes, { to: formatOf(name) });
      assert.equal(result.exact, true);
      assert.equal(sha256(back), EXPECTED[name].sha256);
      assert.ok(result.pages >= EXPECTED[name].memory!.final_pages);
      // What ours keeps is carried on from one of ours to the next.
      const again = await converted(ours.bytes, { to: 'tmig', codec: 1 });
      assert.equal(again.result.exact, true);
      assert.equal(sha256((await converted(again.bytes, { to: formatOf(name) })).bytes), EXPECTED[name].sha256);
    });

    it('without the framing is the same machine, in ours and when it is made anew', async () => {
      const ours = await converted(bytes(), { to: 'tmig', origin: false });
      assert.equal(ours.result.exact, false);
      const machine = await machineOf(bytes());
      assert.equal(machine['memory'], EXPECTED[name].memory!.final_memory_sha256);
      assert.deepEqual(await machineOf(ours.bytes), machine);
      const { result, bytes: anew } = await converted(ours.bytes, { to: formatOf(name) });
      assert.equal(result.exact, false);
      assert.deepEqual(result.losses, []);
      assert.deepEqual(await machineOf(anew), machine);
    });

    // The large one takes its time, and is of no other kind.
    const skip = EXPECTED[name].size > 64 * 1024 * 1024;
    it('is made anew from itself, without its own bytes', { skip }, async () => {
      const { result, bytes: anew } = await converted(bytes(), { to: formatOf(name), origin: false });
      assert.equal(result.exact, false);
      assert.deepEqual(await machineOf(anew), await machineOf(bytes()));
    });
  });
}

test('a layer is given out as its bytes are, from the image and from ours', async () => {
  const name = 'xen-4.17-pv-tiny64-4m.xl';
  const { libxc, libxl, size } = EXPECTED[name];
  const bytes = imageBytes(name);
  const ours = (await converted(bytes, { to: 'tmig' })).bytes;
  const whole: Readonly<Record<string, Uint8Array>> = {
    'xen-libxc': bytes.subarray(libxc!.offset, libxl!.at(-1)![2]),
    libxl: bytes.subarray(libxl![0][2] - 16, size),
  };
  for (const from of [bytes, ours]) {
    for (const to of ['xen-libxc', 'libxl'] as const) {
      await assert.rejects(converted(from, { to }), refused('CONVERSION_LOSS'));
      const { result, bytes: layer } = await converted(from, { to, allowLoss: true });
      assert.equal(sha256(layer), sha256(whole[to]), to);
      assert.equal(result.exact, true);
      assert.deepEqual(
        result.losses.map(({ what, name: lost }) => [what, lost]),
        [['device', 'xl-config.json']],
      );
    }
  }
});

test('an image of XCP-ng is made of one of xl and back, and what has no place is named', async () => {
  const name = 'xen-4.17-hvm-seabios-8m-physmap.xl';
  const bytes = imageBytes(name);
  await assert.rejects(converted(bytes, { to: 'xenopsd' }), (error: { data?: { losses?: { name: string }[] } }) => {
    assert.deepEqual(
      error.data?.losses?.map((loss) => loss.name),
      ['xl-config.json', 'emulator-2-0-xenstore'],
    );
    return true;
  });
  const xenopsd = await converted(bytes, { to: 'xenopsd', allowLoss: true });
  const machine = await machineOf(xenopsd.bytes);
  const before = await machineOf(bytes);
  for (const key of ['memory', 'classes', 'vcpus', 'states', 'cpuid', 'msrs']) {
    assert.deepEqual(machine[key], before[key], key);
  }
  const [was, is] = [before['devices'], machine['devices']] as Record<string, unknown[]>[];
  assert.deepEqual(is['xenopsd-QEMU_TRAD'].slice(2), was['emulator-2-0'].slice(2), 'the state of QEMU');
  assert.deepEqual(is['hvm-context'], was['hvm-context']);
  // Back: the metadata have no place, and xl must be given a configuration.
  const back = await converted(xenopsd.bytes, { to: 'xl', allowLoss: true });
  assert.deepEqual(
    back.result.losses.map(({ what, name: lost }) => [what, lost]),
    [
      ['device', 'xenopsd-XENOPS'],
      ['configuration', 'xl-config'],
    ],
  );
  const again = (await machineOf(back.bytes))['devices'] as Record<string, unknown[]>;
  assert.deepEqual(again['emulator-2-0'], was['emulator-2-0']);
});

test('version 2 has no policies: they are lost by name', async () => {
  const bytes = imageBytes('xen-4.17-hvm-seabios-16m.xl');
  const { result, bytes: v2 } = await converted(bytes, { to: 'xen-libxc-v2', allowLoss: true });
  assert.deepEqual(
    result.losses.map(({ what }) => what),
    ['cpuid', 'msrs', 'device', 'device'],
  );
  const [machine, before] = [await machineOf(v2), await machineOf(bytes)];
  assert.equal(machine['memory'], before['memory']);
  assert.deepEqual([machine['cpuid'], machine['msrs']], [null, null]);
  assert.equal((await converted(v2, { to: 'xen-libxc-v2' })).result.from, 'xen-libxc-v2');
});

describe('a checkpointed stream that is cut', { skip: missing(REMUS) }, () => {
  const checkpoint = EXPECTED[REMUS].checkpoints!.at(-1)!;

  it('is refused, and counts to its last checkpoint when that is asked for', async () => {
    const bytes = imageBytes(REMUS);
    for (const to of ['tmig', 'xl', 'xen-libxc'] as const) {
      await assert.rejects(converted(bytes, { to, allowLoss: true }), refused('TRUNCATED'));
    }
    for (const to of ['tmig', 'xl'] as const) {
      const { bytes: whole } = await converted(bytes, { to, toCheckpoint: true });
      const machine = await machineOf(whole);
      assert.equal(machine['memory'], checkpoint.memory);
      assert.deepEqual(machine, await machineOf(bytes, true));
    }
  });

  it('keeps what stood behind the checkpoint', async () => {
    const bytes = imageBytes(REMUS);
    const ours = await converted(bytes, { to: 'tmig', toCheckpoint: true });
    assert.equal(sha256((await converted(ours.bytes, { to: 'xl' })).bytes), sha256(bytes));
    // Made anew it is the machine of the checkpoint.
    const anew = await converted(ours.bytes, { to: 'xl', origin: false, toCheckpoint: true });
    assert.equal((await machineOf(anew.bytes))['memory'], checkpoint.memory);
  });

  it('of ours too', async () => {
    const ours = (await converted(imageBytes(REMUS), { to: 'tmig', toCheckpoint: true })).bytes;
    const cut = ours.subarray(0, ours.byteLength - 3000);
    await assert.rejects(converted(cut, { to: 'tmig' }), refused('TRUNCATED'));
    const { result, bytes } = await converted(cut, { to: 'tmig', toCheckpoint: true });
    assert.equal((await machineOf(bytes))['memory'], checkpoint.memory);
    assert.equal(result.exact, false);
  });
});
