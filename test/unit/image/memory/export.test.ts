/** Memory as plain bytes (spec/debug.md 3.3), and as lines of hex. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { exportMapText, exportMemory, wholeRange } from '../../../../src/image/memory/export.ts';
import { Hexdump } from '../../../../src/image/memory/hexdump.ts';
import { FileSink } from '../../../../src/io/file-sink.ts';
import { MemorySink } from '../../../../src/io/memory.ts';
import { FakeMemory, PAGE } from '../../../support/image/fake-image.ts';
import { random } from '../../../support/random.ts';

const directory = mkdtempSync(join(tmpdir(), 'tmig-export-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** Pages 1, 2, 3 (zero), 300 and 301. */
function sample(): FakeMemory {
  const memory = new FakeMemory();
  const generator = random('exported pages');
  for (const pfn of [1, 2, 3, 300, 301]) generator.scramble(memory.page(pfn));
  memory.page(3).fill(0);
  return memory;
}

function flat(memory: FakeMemory, from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(memory.pfnEnd * PAGE);
  for (const [pfn, page] of memory.content) bytes.set(page, pfn * PAGE);
  const all = new Uint8Array(to - from);
  all.set(bytes.subarray(from, to));
  return all;
}

describe('export', () => {
  it('writes the same with holes and without, of any range', async () => {
    const memory = sample();
    const ranges = [
      [0, 302 * PAGE],
      [0, 0],
      [5, 17],
      [PAGE + 5, 3 * PAGE + 9],
      [2 * PAGE - 1, 300 * PAGE + 1],
      [4 * PAGE, 300 * PAGE],
      [301 * PAGE + 4000, 310 * PAGE],
      [400 * PAGE, 401 * PAGE + 7],
    ];
    for (const [i, [from = 0, to = 0]] of ranges.entries()) {
      const range = { from: BigInt(from), to: BigInt(to) };
      const plain = new MemorySink();
      const report = await exportMemory(memory, plain, range);
      assert.deepEqual(plain.bytes(), flat(memory, from, to), `range ${i}`);
      const path = join(directory, `range-${i}`);
      const file = await FileSink.create(path, 'x');
      assert.deepEqual(await exportMemory(memory, file, range), report);
      await file.commit();
      assert.deepEqual(new Uint8Array(readFileSync(path)), plain.bytes(), `file of range ${i}`);
    }
  });

  it('takes no room for what is not there', async () => {
    const path = join(directory, 'sparse');
    const file = await FileSink.create(path, 'x');
    await exportMemory(sample(), file, wholeRange(sample()));
    await file.commit();
    const { size, blocks } = statSync(path);
    assert.equal(size, 302 * PAGE);
    assert.ok(blocks * 512 <= 64 * 1024, `${blocks} blocks`);
  });

  it('counts the pages, and maps what is missing', async () => {
    const memory = sample();
    const report = await exportMemory(memory, new MemorySink(), { from: 5n, to: BigInt(305 * PAGE + 1) });
    assert.deepEqual(JSON.parse([...exportMapText(report)].join('')), {
      pageSize: PAGE,
      from: '0000000000000005',
      to: '0000000000131001',
      presentPages: 5,
      absentPages: 301,
      absent: [
        { firstPfn: 0, pages: 1 },
        { firstPfn: 4, pages: 296 },
        { firstPfn: 302, pages: 4 },
      ],
    });
    const part = await exportMemory(memory, new MemorySink(), { from: 4097n, to: 8193n });
    assert.deepEqual([part.presentPages, part.absentPages, part.absent], [2, 0, []]);
  });

  it('that is cancelled, or whose sink fails, leaves nothing', async () => {
    const before = readdirSync(directory);
    const file = await FileSink.create(join(directory, 'failed'), 'x');
    const work = { signal: AbortSignal.abort() };
    await assert.rejects(exportMemory(sample(), file, wholeRange(sample()), work), { code: 'CANCELLED' });
    await file.abort();
    assert.deepEqual(readdirSync(directory), before);
    const broken = { write: () => Promise.reject(new Error('full')) };
    await assert.rejects(exportMemory(sample(), broken, wholeRange(sample())), /full/);
  });
});

describe('hexdump', () => {
  const dump = (address: bigint, ...parts: Uint8Array[]): string[] => {
    const hexdump = new Hexdump();
    let at = address;
    const lines: string[] = [];
    for (const part of parts) {
      lines.push(...hexdump.lines(at, part));
      at += BigInt(part.length);
    }
    return [...lines, ...hexdump.end(at)];
  };

  it('shows bytes as hex and as text, of which only printable ASCII is', () => {
    const bytes = Uint8Array.from([...Buffer.from('Ab c~'), 0x7f, 0x1b, 0x80, 0xff, ...Buffer.from('0123456789')]);
    assert.deepEqual(dump(0xfff0n, bytes), [
      '000000000000fff0  41 62 20 63 7e 7f 1b 80  ff 30 31 32 33 34 35 36  |Ab c~....0123456|',
      '0000000000010000  37 38 39                                          |789|',
    ]);
  });

  it('folds equal lines, also over parts, and says where it ends', () => {
    const zeros = new Uint8Array(64);
    const expected = ['0000000000000000  ' + '00 '.repeat(8) + ' ' + '00 '.repeat(8) + ' |................|', '*'];
    assert.deepEqual(dump(0n, zeros, zeros), [...expected, '0000000000000080']);
    const changed = new Uint8Array(64);
    changed[48] = 1;
    assert.deepEqual(
      dump(0n, zeros, changed).map((line) => line.slice(0, 16)),
      ['0000000000000000', '*', '0000000000000070'],
    );
  });
});
