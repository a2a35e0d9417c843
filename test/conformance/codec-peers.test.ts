/**
 * The codecs against the programs and libraries that everybody else uses: the `lz4` and `zstd` commands, and liblzo2
 * by way of Python's ctypes. On Debian: apt-get install lz4 zstd liblzo2-2 python3. A peer that is not installed is
 * skipped, with the reason.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { CODEC, codecName, decodeInto, encodeInto, type CodecId } from '../../src/codec/codec.ts';
import { lzo1xDecompress } from '../../src/codec/lzo1x.ts';
import { randomBytes, repeats, same, seeded, shapes, text } from '../unit/codec/shapes.ts';

const MOST = 64 * 1024 * 1024;

function run(command: string, args: readonly string[], input: Uint8Array): Buffer {
  const result = spawnSync(command, args, { input, maxBuffer: MOST });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}: ${String(result.stderr)}`);
  return result.stdout;
}

function missing(command: string): string | undefined {
  const found = spawnSync(command, ['--version']).status === 0;
  return found ? undefined : `the command ${command} is not installed`;
}

function encoded(codec: CodecId, original: Uint8Array, level?: number): Uint8Array {
  const out = new Uint8Array(original.length + (original.length >> 3) + 64);
  const length = encodeInto(codec, original, out, level);
  assert.ok(length >= 0);
  return out.slice(0, length);
}

function assertDecodes(codec: CodecId, stored: Uint8Array, original: Uint8Array, what: string): void {
  const out = new Uint8Array(original.length);
  decodeInto(codec, stored, out);
  assert.ok(same(out, original), `${codecName(codec)}: ${what}`);
}

/** A few hundred KiB of machine code. */
function machineCode(): Uint8Array {
  const program = readFileSync(process.execPath);
  const start = program.length >> 1;
  return new Uint8Array(program.subarray(start, start + 600_000));
}

/** What all peers are tried on: every shape in sizes around the limits of the formats, and some real code. */
function contents(): [name: string, content: Uint8Array][] {
  const sizes = [1, 3, 4, 5, 12, 13, 18, 19, 238, 239, 4096, 70_000];
  const all = sizes.flatMap((size) =>
    shapes(size, size).map(([name, bytes]): [string, Uint8Array] => [`${name} of ${size}`, bytes]),
  );
  return [...all, ['code', machineCode().subarray(0, 200_000)]];
}

// LZ4 frames (lz4_Frame_format.md): a 7-byte header here, then blocks with their length before them, then a zero.

const LZ4_HEADER = 7;
const LZ4_UNCOMPRESSED = 0x80000000;

interface Lz4Block {
  readonly compressed: boolean;
  readonly bytes: Uint8Array;
}

function lz4Blocks(frame: Buffer): Lz4Block[] {
  assert.equal(frame.readUInt32LE(0), 0x184d2204);
  assert.equal(frame[4], 0x60, 'version 1, independent blocks, no checksums, no sizes');
  const blocks: Lz4Block[] = [];
  let at = LZ4_HEADER;
  for (;;) {
    const field = frame.readUInt32LE(at);
    at += 4;
    if (field === 0) break;
    const length = field % LZ4_UNCOMPRESSED;
    blocks.push({ compressed: field < LZ4_UNCOMPRESSED, bytes: frame.subarray(at, at + length) });
    at += length;
  }
  assert.equal(at, frame.length);
  return blocks;
}

test('lz4: reads the blocks of the lz4 command, at every level', (t) => {
  const reason = missing('lz4');
  if (reason !== undefined) return t.skip(reason);
  const content = Buffer.concat([machineCode(), text(150_000, 1), repeats(150_000, 2), new Uint8Array(100_000)]);
  for (const level of ['-1', '-3', '-9', '-12', '--fast=9']) {
    const blocks = lz4Blocks(run('lz4', [level, '-B4', '--no-frame-crc', '-q', '-c'], content));
    let at = 0;
    for (const { compressed, bytes } of blocks) {
      const original = content.subarray(at, at + 65_536);
      assertDecodes(compressed ? CODEC.lz4 : CODEC.raw, bytes, original, `${level} at ${at}`);
      at += original.length;
    }
    assert.equal(at, content.length);
    assert.ok(blocks.some(({ compressed }) => compressed));
  }
});

test('lz4: the lz4 command reads our blocks', (t) => {
  const reason = missing('lz4');
  if (reason !== undefined) return t.skip(reason);
  // The header's checksum is an xxHash; taking the header of a frame with the same flags spares computing it.
  const header = run('lz4', ['-B4', '--no-frame-crc', '-q', '-c'], text(100, 1)).subarray(0, LZ4_HEADER);
  const parts: Uint8Array[] = [header];
  const originals: Uint8Array[] = [];
  for (const [, content] of contents()) {
    for (let at = 0; at < content.length; at += 65_536) {
      const original = content.subarray(at, at + 65_536);
      const stored = encoded(CODEC.lz4, original);
      // A frame's block may not be longer than the block size, so that such an original is stored as it is.
      const raw = stored.length > 65_536;
      const field = Buffer.alloc(4);
      field.writeUInt32LE(raw ? original.length + LZ4_UNCOMPRESSED : stored.length);
      parts.push(field, raw ? original : stored);
      originals.push(original);
    }
  }
  parts.push(Buffer.alloc(4));
  const back = run('lz4', ['-d', '-q', '-c'], Buffer.concat(parts));
  assert.ok(same(back, Buffer.concat(originals)));
});

test('zstd: reads the frames of the zstd command, at every level', (t) => {
  const reason = missing('zstd');
  if (reason !== undefined) return t.skip(reason);
  const all = [
    ['code', machineCode()],
    ['text', text(150_000, 1)],
    ['random', randomBytes(70_000, 2)],
  ] as const;
  for (const [name, content] of all) {
    for (const level of ['--fast=5', '-1', '-3', '-9', '-19']) {
      // From standard input the size is not known: a window, no content size, and a checksum by default.
      const streamed = run('zstd', [level, '-q', '-c'], content);
      assertDecodes(CODEC.zstd, streamed, content, `${name} at ${level}`);
      const sized = run('zstd', [level, '-q', '-c', '--no-check', `--stream-size=${content.length}`], content);
      assertDecodes(CODEC.zstd, sized, content, `${name} at ${level}, sized`);
    }
  }
  const wide = run('zstd', ['-3', '--long=27', '-q', '-c'], machineCode());
  assert.throws(() => decodeInto(CODEC.zstd, wide, new Uint8Array(600_000)), { code: 'CODEC_DATA' });
});

test('zstd: the zstd command reads our frames', (t) => {
  const reason = missing('zstd');
  if (reason !== undefined) return t.skip(reason);
  // Its frames may follow each other, so that one call reads them all.
  const all = contents();
  for (const level of [-7, 1, 19]) {
    const frames = all.map(([, content]) => encoded(CODEC.zstd, content, level));
    const back = run('zstd', ['-d', '-q', '-c'], Buffer.concat(frames));
    assert.ok(same(back, Buffer.concat(all.map(([, content]) => content))), `level ${level}`);
  }
});

/**
 * Answers requests from standard input: an operation ('c' lzo1x_1_compress, '9' lzo1x_999_compress, 'd'
 * lzo1x_decompress_safe), the input's length and the output's capacity, and the input; with the return code, the
 * output's length, and the output.
 */
const LZO_PEER = `
import ctypes, struct, sys
try:
    lib = ctypes.CDLL('liblzo2.so.2')
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
work = ctypes.create_string_buffer(1 << 20)
calls = {b'c': lib.lzo1x_1_compress, b'9': lib.lzo1x_999_compress, b'd': lib.lzo1x_decompress_safe}
for call in calls.values():
    call.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p]
    call.restype = ctypes.c_int
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write
while header := read(9):
    operation, length, capacity = struct.unpack('<cII', header)
    out = ctypes.create_string_buffer(max(capacity, 1))
    size = ctypes.c_size_t(capacity)
    code = calls[operation](read(length), length, out, ctypes.byref(size), work)
    made = size.value if code == 0 else 0
    write(struct.pack('<iI', code, made))
    write(out.raw[:made])
`;

interface LzoRequest {
  readonly operation: 'c' | '9' | 'd';
  readonly input: Uint8Array;
  readonly capacity: number;
}

interface LzoAnswer {
  readonly code: number;
  readonly output: Uint8Array;
}

function lzoMissing(): string | undefined {
  const result = spawnSync('python3', ['-c', LZO_PEER], { input: '' });
  if (result.error !== undefined) return 'python3 is not installed';
  return result.status === 0 ? undefined : `liblzo2.so.2 cannot be loaded: ${String(result.stderr).trim()}`;
}

function lzo(requests: readonly LzoRequest[]): LzoAnswer[] {
  const input = Buffer.concat(
    requests.flatMap((request) => {
      const header = Buffer.alloc(9);
      header.write(request.operation, 'latin1');
      header.writeUInt32LE(request.input.length, 1);
      header.writeUInt32LE(request.capacity, 5);
      return [header, request.input];
    }),
  );
  const output = run('python3', ['-c', LZO_PEER], input);
  let at = 0;
  return requests.map(() => {
    const code = output.readInt32LE(at);
    const length = output.readUInt32LE(at + 4);
    at += 8 + length;
    return { code, output: output.subarray(at - length, at) };
  });
}

test('lzo1x: reads what liblzo2 writes, with its fastest and its strongest compressor', (t) => {
  const reason = lzoMissing();
  if (reason !== undefined) return t.skip(reason);
  const all: [string, Uint8Array][] = [['nothing', new Uint8Array(0)], ...contents(), ['much code', machineCode()]];
  for (const operation of ['c', '9'] as const) {
    const requests = all.map(([, input]) => ({ operation, input, capacity: input.length + (input.length >> 3) + 512 }));
    const answers = lzo(requests);
    for (const [index, [name, content]] of all.entries()) {
      const answer = answers[index];
      assert.equal(answer.code, 0);
      assertDecodes(CODEC.lzo1x, answer.output, content, `${name} by ${operation}`);
    }
  }
});

test('lzo1x: liblzo2 reads what we write', (t) => {
  const reason = lzoMissing();
  if (reason !== undefined) return t.skip(reason);
  const all: [string, Uint8Array][] = [['nothing', new Uint8Array(0)], ...contents(), ['much code', machineCode()]];
  const answers = lzo(
    all.map(([, content]) => {
      return { operation: 'd', input: encoded(CODEC.lzo1x, content), capacity: content.length };
    }),
  );
  for (const [index, [name, content]] of all.entries()) {
    const answer = answers[index];
    assert.equal(answer.code, 0, name);
    assert.ok(same(answer.output, content), name);
  }
});

test('lzo1x: accepts and refuses damaged streams as liblzo2 does', (t) => {
  const reason = lzoMissing();
  if (reason !== undefined) return t.skip(reason);
  const next = seeded(77);
  const originals = [text(400, 1), repeats(400, 2), repeats(3000, 3), repeats(60_000, 4), new Uint8Array(700)];
  const whole = lzo(
    originals.flatMap((input): LzoRequest[] => [
      { operation: 'c', input, capacity: 70_000 },
      { operation: '9', input, capacity: 70_000 },
    ]),
  ).map(({ output }) => output);
  const requests: LzoRequest[] = [];
  for (let turn = 0; turn < 4000; turn++) {
    const input = whole[next(whole.length)].slice();
    // One to three changes, most of them near the start of the long ones too; sometimes cut, or something appended.
    for (let change = next(3); change >= 0; change--) input[next(Math.min(input.length, 500))] = next(256);
    const end = next(5) === 0 ? next(input.length) : input.length;
    const tail = next(8) === 0 ? Uint8Array.of(0x11, 0, 0) : new Uint8Array(0);
    requests.push({ operation: 'd', input: Buffer.concat([input.subarray(0, end), tail]), capacity: 64_000 });
  }
  // Short streams of random instructions reach what compressors never write.
  for (let turn = 0; turn < 20_000; turn++) {
    const length = 1 + next(12);
    const input = Uint8Array.from({ length }, () => (next(2) === 0 ? next(32) : next(256)));
    requests.push({ operation: 'd', input: Buffer.concat([input, Uint8Array.of(0x11, 0, 0)]), capacity: 3000 });
  }
  let accepted = 0;
  for (const [index, { code: status, output }] of lzo(requests).entries()) {
    const { input, capacity } = requests[index];
    const ours = new Uint8Array(status === 0 ? output.length : capacity);
    const fault = lzo1xDecompress(input, ours);
    const stream = Buffer.from(input.subarray(0, 40)).toString('hex');
    if (status === 0) {
      accepted++;
      assert.equal(fault, '', `liblzo2 accepts ${stream}`);
      assert.ok(same(ours, output), `the same content for ${stream}`);
    } else {
      assert.notEqual(fault, '', `liblzo2 refuses ${stream} with ${status}`);
    }
  }
  assert.ok(accepted > 500 && accepted < requests.length - 500, `${accepted} of ${requests.length} are accepted`);
});
