/** `memory` and `gdb`, as somebody types them, on an image that is a few pages. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PassThrough } from 'node:stream';
import { after, describe, it } from 'node:test';
import { parseListen } from '../../../src/cli/gdb-listen.ts';
import { parseAddress, parseCount, parseLength, parseRange } from '../../../src/cli/memory/numbers.ts';
import { run } from '../../../src/cli/run.ts';
import { TransmigrateError } from '../../../src/errors.ts';
import { latin1, textPacket } from '../../../src/image/gdb/packet.ts';
import { FakeMemory, fakeImage, fakeVcpu, PAGE } from '../../support/image/fake-image.ts';
import { fakeWorld, type FakeOptions, type FakeWorld } from './fake.ts';

const directory = mkdtempSync(join(tmpdir(), 'tmig-memory-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const spec = readFileSync(new URL('../../../spec/cli-json.md', import.meta.url), 'utf8');

/** Page 1: a PML4 that maps the lowest 4 KiB to page 5. Pages 5 and 6 hold a text over their edge. */
function sample(): FakeMemory {
  const memory = new FakeMemory();
  memory.put64(0x1000, 0x2003n);
  memory.put64(0x2000, 0x3003n);
  memory.put64(0x3000, 0x4003n);
  memory.put64(0x4000, 0x5003n);
  memory.put(0x5ff8, latin1('over the edge\u001b'));
  memory.put(0x6800, latin1('w\0i\0d\0e\0'));
  return memory;
}

interface Ran extends FakeWorld {
  readonly code: number;
  readonly image: ReturnType<typeof fakeImage>;
  /** What openImage was asked for. */
  readonly asked: unknown[];
}

async function runOn(argv: readonly string[], options: FakeOptions = {}, memory = sample()): Promise<Ran> {
  const vcpus = [fakeVcpu({ cr0: 0x8000_0001n, cr3: 0x1000n, cr4: 0x20n, efer: 0x500n, rip: 0x10n }, { vcpu: 1 })];
  const image = fakeImage(memory, { vcpus });
  const asked: unknown[] = [];
  const world = fakeWorld({
    ...options,
    library: {
      openImage: (_source, choice) => {
        asked.push(choice?.toCheckpoint, choice?.as);
        return Promise.resolve(image);
      },
      ...options.library,
    },
  });
  const code = await run(argv, world.context);
  assert.equal(image.closed, asked.length / 2, 'the image was closed');
  return { ...world, code, image, asked };
}

/** Runs with --json, and checks that the specification names the keys in this paragraph of section 11. */
async function json(paragraph: string, argv: readonly string[]): Promise<Record<string, unknown>> {
  const { out, err } = await runOn([...argv, '--json']);
  const printed = out.text === '' ? err.text : out.text;
  const object = JSON.parse(printed) as Record<string, unknown>;
  const [, text = ''] = spec.split(`**${paragraph} `);
  const known = new Set(text.slice(0, text.search(/^- \*\*|(?!)/m)).match(/[a-zA-Z0-9]+/g));
  for (const key of Object.keys(object))
    assert.ok(known.has(key), `spec/cli-json.md ${paragraph} does not name ${key}`);
  return object;
}

describe('numbers', () => {
  it('are decimal or hex, lengths with units', () => {
    assert.equal(parseAddress('0xFFFFffff81000000'), 0xffff_ffff_8100_0000n);
    assert.equal(parseAddress('4096'), 4096n);
    assert.equal(parseLength('0x10'), 16);
    assert.equal(parseLength('4K'), 4096);
    assert.equal(parseLength('0x10M'), 2 ** 24);
    assert.equal(parseLength('2GiB'), 2 ** 31);
    assert.deepEqual(parseRange('0x1000-8192'), { from: 4096n, to: 8192n });
    assert.deepEqual(parseRange('0x1000+4K'), { from: 4096n, to: 8192n });
    assert.deepEqual(parseRange('5-5'), { from: 5n, to: 5n });
    assert.equal(parseCount('12'), 12);
  });

  it('that make no sense are refused', () => {
    const wrong: readonly (readonly [(text: string) => unknown, readonly string[]])[] = [
      [parseAddress, ['', '-1', 'ffff', '0x', '0x10000000000000000', '1.5', '1K']],
      [parseLength, ['', '-1', 'K', '1.5K', '0xfffffffffffffffff', '9007199254740993', '1P']],
      [parseRange, ['', '5', '8-5', '1-2-3', '1+', '-1', 'a-b']],
      [parseCount, ['', '-1', '1.5', '0x1', '1234567890123456']],
      [
        parseListen,
        ['', 'x', '1.2.3.4:1', '0.0.0.0:1', ':::1', '[::]:1', '127.0.0.1:', '127.0.0.1:65536', 'a.b:1', '[::1]'],
      ],
    ];
    for (const [parse, texts] of wrong) {
      for (const text of texts) {
        assert.throws(
          () => parse(text),
          (error) => error instanceof TransmigrateError && error.code === 'USAGE',
          text,
        );
      }
    }
    assert.throws(() => parseAddress('ffff'), { next: 'If it is hex, write 0xffff.' });
  });

  it('of a place to listen are those of this machine', () => {
    assert.deepEqual(parseListen('1234'), { host: '127.0.0.1', port: 1234 });
    assert.deepEqual(parseListen('localhost:0'), { host: '127.0.0.1', port: 0 });
    assert.deepEqual(parseListen('127.0.0.2:65535'), { host: '127.0.0.2', port: 65_535 });
    assert.deepEqual(parseListen('[::1]:1'), { host: '::1', port: 1 });
  });
});

describe('memory read', () => {
  it('prints physical memory, with the image in front or behind', async () => {
    const expected = '0000000000005ff8  6f 76 65 72 20 74 68 65  20 65 64 67 65 1b        |over the edge.|\n';
    for (const argv of [
      ['memory', 'read', 'x', '0x5ff8', '14'],
      ['memory', 'x', 'read', '0x5ff8', '14'],
      ['memory', '-', 'read', '0x5ff8', '14'],
      ['-q', 'memory', 'x', 'read', '0x5ff8', '14'],
    ]) {
      const { code, out, err } = await runOn(argv);
      assert.equal(out.text, expected, err.text);
      assert.equal(code, 0);
    }
  });

  it('stops where nothing is, prints what there is, and says why', async () => {
    const { code, out, err } = await runOn(['memory', 'read', 'x', '0x6ff0', '64']);
    assert.equal(code, 1);
    assert.match(out.text, /^0000000000006ff0 {2}(?:00 ){8} (?:00 ){8} \|\.{16}\|\n$/);
    assert.match(
      err.text,
      /^transmigrate: Only 16 bytes of 64 bytes can be read\. 0x7000: page 0x7 is not in the image \(M/,
    );
    const none = await runOn(['memory', 'read', 'x', '0', '1']);
    assert.match(none.err.text, /Nothing can be read\. 0x0: page 0x0 is not in the image \(MEMORY_ABSENT\)/);
  });

  it('goes through page tables', async () => {
    const line = /^0000000000000ff8 {2}6f 76 65 72/;
    for (const option of [['--virtual'], ['--vcpu', '1'], ['--cr3', '0x1000'], ['--paging', '4-level']]) {
      const { out, err } = await runOn(['memory', 'read', 'x', '0xff8', '8', ...option]);
      assert.match(out.text, line, `${option.join(' ')} ${err.text}`);
    }
    const { code, err } = await runOn(['memory', 'read', 'x', '0xff8', '8', '--vcpu', '0']);
    assert.equal(code, 2);
    assert.match(err.text, /The image has no vCPU 0: it has only 1 \(USAGE\)/);
    const unmapped = await runOn(['memory', 'read', 'x', '0xff8', '8', '--paging', 'pae', '--cr3', '0x3000']);
    assert.match(unmapped.err.text, /0xff8: the PTE at physical 0x5000 is 0x0: not present/);
  });

  it('--raw gives the bytes, --json an object', async () => {
    const { out, context } = await runOn(['memory', 'read', 'x', '0x5ff8', '4', '--raw']);
    assert.equal(out.text, 'over');
    assert.equal(context.exitCode, 0);
    assert.deepEqual(await json('12.1', ['memory', 'read', 'x', '0x5ff8', '4']), {
      ok: true,
      space: 'physical',
      paging: null,
      address: '0000000000005ff8',
      requested: 4,
      bytes: 4,
      data: '6f766572',
      stop: null,
    });
    const stopped = await json('12.1', ['memory', 'read', 'x', '0xffe', '4', '--virtual']);
    assert.deepEqual([stopped['ok'], stopped['paging'], stopped['bytes']], [false, '4-level', 2]);
    assert.equal((stopped['stop'] as Record<string, unknown>)['why'], 'not-present');
    const long = await runOn(['memory', 'read', 'x', '0', '17M', '--json']);
    assert.equal(long.code, 2);
  });

  it('reads more than fits into one part', async () => {
    const memory = sample();
    for (let pfn = 16; pfn < 16 + 100; pfn++) memory.page(pfn).fill(pfn);
    const { out } = await runOn(['memory', 'read', 'x', '0x10000', '400K'], {}, memory);
    const lines = out.text.trimEnd().split('\n');
    assert.equal(lines.length, 201);
    assert.deepEqual(
      lines.slice(-3).map((line) => line.slice(0, 24)),
      ['0000000000073000  73 73 ', '*', '0000000000074000'],
    );
  });
});

describe('memory find', () => {
  it('prints addresses, of text over the edge of a page too', async () => {
    const { code, out } = await runOn(['memory', 'x', 'find', '--text', 'the edge']);
    assert.equal(out.text, '0x5ffd\n');
    assert.equal(code, 0);
    assert.equal((await runOn(['memory', 'find', 'x', '--utf16', 'wide'])).out.text, '0x6800\n');
    assert.equal((await runOn(['memory', 'find', 'x', '--hex', '65 64 67 65 1B'])).out.text, '0x6001\n');
    assert.equal((await runOn(['memory', 'find', 'x', '--text', 'e', '--count'])).out.text, '5\n');
    assert.equal((await runOn(['memory', 'find', 'x', '--text', 'e', '--max', '2'])).out.text, '0x5ffa\n0x5fff\n');
    assert.equal(
      (await runOn(['memory', 'find', 'x', '--text', 'e', '--start', '0x6002', '--max', '1'])).out.text,
      '0x6004\n',
    );
  });

  it('ends with 1 when there is nothing, and with 2 when it is not clear what is wanted', async () => {
    const { code, out, err } = await runOn(['memory', 'find', 'x', '--text', 'nowhere']);
    assert.deepEqual([code, out.text, err.text], [1, '', '']);
    for (const wrong of [
      [],
      ['--text', 'a', '--hex', '00'],
      ['--hex', '0'],
      ['--hex', 'zz'],
      ['--text', ''],
      ['--max', 'x'],
    ]) {
      assert.equal((await runOn(['memory', 'find', 'x', ...wrong])).code, 2, wrong.join(' '));
    }
  });

  it('--json says whether that is all', async () => {
    const all = await json('12.2', ['memory', 'find', 'x', '--text', 'e']);
    assert.deepEqual(all, {
      ok: true,
      count: 5,
      whole: true,
      matches: ['0000000000005ffa', '0000000000005fff', '0000000000006001', '0000000000006004', '0000000000006806'],
    });
    const some = await json('12.2', ['memory', 'find', 'x', '--text', 'e', '--max', '1', '--count']);
    assert.deepEqual(some, { ok: true, count: 1, whole: false });
  });
});

describe('memory export', () => {
  it('writes a file and the map of what is missing', async () => {
    const path = join(directory, 'all.raw');
    const map = join(directory, 'map.json');
    const { code, out, asked } = await runOn([
      'memory',
      'x',
      'export',
      path,
      '--map',
      map,
      '--to-checkpoint',
      '--from',
      'raw',
    ]);
    assert.equal(code, 0);
    assert.deepEqual(asked, [true, 'raw']);
    assert.match(out.text, /all\.raw: 28 KiB \(28,672 bytes\), 6 pages present, 1 page absent\n$/);
    const bytes = readFileSync(path);
    assert.equal(bytes.length, 7 * PAGE);
    assert.equal(bytes.toString('latin1', 0x5ff8, 0x5ff8 + 13), 'over the edge');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(JSON.parse(readFileSync(map, 'utf8')), {
      pageSize: PAGE,
      from: '0000000000000000',
      to: '0000000000007000',
      presentPages: 6,
      absentPages: 1,
      absent: [{ firstPfn: 0, pages: 1 }],
    });
  });

  it('writes a range to standard output, and says the rest elsewhere', async () => {
    const { out, err } = await runOn(['memory', 'export', 'x', '-', '--range', '0x5ff8+13']);
    assert.equal(out.text, 'over the edge');
    assert.equal(err.text, 'standard output: 13 bytes, 2 pages present, 0 pages absent\n');
    const object = await json('12.3', ['memory', 'export', 'x', join(directory, 'j'), '--range', '0-0x1001']);
    assert.deepEqual(object, {
      ok: true,
      path: join(directory, 'j'),
      bytes: '4097',
      pageSize: PAGE,
      from: '0000000000000000',
      to: '0000000000001001',
      presentPages: 1,
      absentPages: 1,
    });
  });

  it('that fails leaves neither a file nor a map, and what was there as it was', async () => {
    const memory = sample();
    memory.batches = async function* () {
      yield { firstPfn: 0, pages: 1, pageClass: 0, bytes: new Uint8Array(PAGE) };
      throw new TransmigrateError('UNIT_CHECKSUM', 'damaged');
    };
    const old = join(directory, 'old');
    writeFileSync(old, 'old');
    const before = readdirSync(directory);
    const refused = await runOn(['memory', 'export', 'x', old], { files: [old] });
    assert.equal(refused.code, 15);
    assert.match(refused.err.text, /it is there already \(WRITE_FAILED\)\n.*--force/);
    const argv = ['memory', 'export', 'x', old, '--force', '--map', join(directory, 'no-map')];
    const { code } = await runOn(argv, { files: [old] }, memory);
    assert.equal(code, 10);
    assert.deepEqual(readdirSync(directory), before);
    assert.equal(readFileSync(old, 'utf8'), 'old');
    const nowhere = await runOn(['memory', 'export', 'x', join(directory, 'no', 'where')]);
    assert.equal(nowhere.code, 15);
  });

  it('that is cancelled leaves nothing', async () => {
    const memory = sample();
    const world: { cancel?: AbortController } = {};
    memory.batches = async function* () {
      yield { firstPfn: 0, pages: 1, pageClass: 0, bytes: new Uint8Array(PAGE) };
      world.cancel!.abort();
      yield { firstPfn: 1, pages: 1, pageClass: 0, bytes: new Uint8Array(PAGE) };
    };
    const before = readdirSync(directory);
    const argv = ['memory', 'export', 'x', join(directory, 'cancelled'), '--map', join(directory, 'no-map')];
    const made = fakeWorld({ library: { openImage: () => Promise.resolve(fakeImage(memory)) } });
    world.cancel = made.cancel;
    assert.equal(await run(argv, made.context), 130);
    assert.match(made.err.text, /cancelled \(CANCELLED\)/);
    assert.deepEqual(readdirSync(directory), before);
  });

  it('asks for a range when the image claims a page at the end of everything', async () => {
    const memory = sample();
    memory.page(2 ** 40);
    const path = join(directory, 'huge');
    const { code, err } = await runOn(['memory', 'export', 'x', path], {}, memory);
    assert.equal(code, 2);
    assert.match(err.text, /The last page of this image ends at 0x10000000001000.*\nSay with --range/);
    assert.equal(existsSync(path), false);
  });
});

describe('gdb', () => {
  it('speaks over standard input and output', async () => {
    const questions = ['?', 'mff8,4', 'D', 'T1'].map((text) => Buffer.from(textPacket(text)).toString('latin1'));
    const world = await runWithInput(['gdb', 'x'], questions.join('+'));
    assert.equal(world.code, 0);
    assert.equal(world.out.text, '+$T05thread:2;#d8+$6f766572#dd+$OK#9a');
  });

  it('wants gdb at the other end, an image that is a file, and one with vCPUs', async () => {
    const terminal = await runOn(['gdb', 'x'], { stdinIsTerminal: true });
    assert.equal(terminal.code, 2);
    assert.match(terminal.err.text, /target remote \| transmigrate gdb FILE/);
    assert.equal((await runOn(['gdb', '-'])).code, 2);
    for (const argv of [
      ['gdb', 'x'],
      ['gdb', 'x', '--listen', '0'],
    ]) {
      const { code, err } = await runWithInput(argv, '', []);
      assert.equal(code, 11);
      assert.match(err.text, /The image has no registers of vCPUs for a debugger \(IMAGE_UNFIT\)/);
    }
  });

  it('listens for one debugger after the other until Ctrl-C', async () => {
    const cancel = new AbortController();
    const world = fakeWorld({
      library: { openImage: () => Promise.resolve(fakeImage(sample(), { vcpus: [fakeVcpu({})] })) },
    });
    const context = { ...world.context, signal: cancel.signal };
    const running = run(['gdb', 'x', '--listen', '127.0.0.1:0'], context);
    let port: string | undefined;
    while (port === undefined) {
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
      port = /^gdb: target remote 127\.0\.0\.1:(\d+)\n/.exec(world.err.text)?.[1];
    }
    for (const [question, answer] of [
      ['$T1#85', '+$OK#9a'],
      ['$qC#b4$k#6b', '+$QC1#c5+'],
    ]) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.setEncoding('latin1');
      let said = '';
      socket.on('data', (text: string) => (said += text));
      socket.write(question ?? '');
      while (said.length < (answer ?? '').length) await once(socket, 'data');
      assert.equal(said, answer);
      socket.destroy();
    }
    cancel.abort();
    assert.equal(await running, 0);
  });
});

const VCPUS = [fakeVcpu({ cr0: 0x8000_0001n, cr3: 0x1000n, cr4: 0x20n, efer: 0x500n }, { vcpu: 1 })];

/** The same with something on standard input, to its end. */
async function runWithInput(argv: readonly string[], input: string, vcpus = VCPUS) {
  const world = fakeWorld({ library: { openImage: () => Promise.resolve(fakeImage(sample(), { vcpus })) } });
  (world.context.stdin as PassThrough).end(input);
  return { ...world, code: await run(argv, world.context) };
}
