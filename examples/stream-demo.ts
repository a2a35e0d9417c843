/**
 * `npm run demo:stream`: what a stream is, in a few seconds. A machine of 64 MiB with tmem and a record of its
 * own is saved, looked at, checked, damaged, cut, and read at random. Ends with 1 when anything is not as it should be.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CODEC, FileSink, IndexedImage, openFileSource, PAGE_CLASS, StreamWriter, verifyImage } from '../src/index.ts';

const PAGE = 4096;
const PAGES = 16_384;
const TMEM_PAGES = 2000;
const directory = mkdtempSync(join(tmpdir(), 'transmigrate-demo-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
const image = join(directory, 'demo.tmig');
let wrong = 0;

function say(text: string): void {
  console.log(`\n== ${text}`);
}

function check(what: string, holds: boolean): void {
  console.log(`${holds ? 'ok   ' : 'WRONG'} ${what}`);
  if (!holds) wrong++;
}

/** Runs the command as a user would; returns its exit code. */
function transmigrate(...args: string[]): number {
  console.log(`$ transmigrate ${args.join(' ').replaceAll(`${directory}/`, '')}`);
  const bin = join(import.meta.dirname, '../bin/transmigrate');
  return spawnSync(process.execPath, [bin, ...args], { stdio: 'inherit', cwd: directory }).status ?? -1;
}

/** Memory with some of everything: zeros, text, what does not compress. */
function makeMemory(): Uint8Array {
  const memory = new Uint8Array(PAGES * PAGE);
  const text = new TextEncoder().encode('transcendent memory is memory that the host lends. ');
  for (let page = 0; page < PAGES; page++) {
    const bytes = memory.subarray(page * PAGE, (page + 1) * PAGE);
    if (page % 64 < 24) for (let at = 0; at < PAGE; at++) bytes[at] = text[(at + page) % text.length]!;
    else if (page % 64 < 32) bytes.set(randomBytes(PAGE));
  }
  return memory;
}

async function save(memory: Uint8Array): Promise<void> {
  const sink = await FileSink.create(image, 'demo');
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 64,
      domainType: 'emulated-tmem',
      machine: 62,
      pageSize: PAGE,
      indexed: true,
      streamId: randomBytes(16),
    },
    {
      name: 'demo',
      uuid: '8f2f6c5e-0d5a-4e0b-9a53-0f6a5d0f1c11',
      memory: { bytes: memory.byteLength, pages: PAGES },
      vcpus: 1,
      time: new Date().toISOString(),
      tool: { name: 'transmigrate demo' },
    },
    { codec: CODEC.zstd },
  );
  await writer.tmemClient({
    compress: true,
    frozen: false,
    weight: 100,
    cap: 0,
    allowancePages: 4096n,
    authorised: [],
  });
  await writer.tmemPool({
    ephemeral: false,
    incarnation: 1n,
    pool: 0,
    shared: false,
    precompressed: false,
    pageSize: PAGE,
    objectIdBits: 192,
    uuid: '00000000-0000-0000-0000-000000000000',
    pages: BigInt(TMEM_PAGES),
  });
  // tmem needs not wait for the last pass: half of it goes before RAM, half after.
  const swapped = (index: number): Uint8Array => memory.subarray((index % PAGES) * PAGE, ((index % PAGES) + 1) * PAGE);
  const object = new Uint32Array(6);
  for (let index = 0; index < TMEM_PAGES / 2; index++)
    await writer.tmemPage(1n, object, index, CODEC.raw, PAGE, swapped(index));
  await writer.ram(0, PAGES, memory);
  await writer.absent(PAGES, 256, PAGE_CLASS.ballooned);
  for (let index = TMEM_PAGES / 2; index < TMEM_PAGES; index++) {
    await writer.tmemPage(1n, object, index, CODEC.raw, PAGE, swapped(index));
  }
  await writer.vcpu({
    vcpu: 0,
    online: true,
    halted: false,
    registers: { cr0: 0x8005_0033n, cr2: 0n, cr3: 0x1000n, cr4: 0x6f0n, efer: 0xd01n },
    segments: null,
    gdtr: null,
    idtr: null,
  });
  await writer.device(
    { device: 0, name: 'machine', format: 'demo', version: '1', fingerprint: new Uint8Array(32) },
    randomBytes(100_000),
  );
  await writer.dictionary({
    record: 0x4001,
    name: 'org.example.thermometer',
    version: 1,
    text: 'A record that transmigrate never heard of',
    schema: { fields: [{ name: 'readings', type: 'u32', count: 'rest', unit: 'mK' }] },
  });
  await writer.local(0x4001, true, new Uint8Array(Uint32Array.of(293_150, 293_400).buffer));
  await writer.checkpoint(BigInt(Date.now()) * 1_000_000n);
  await writer.end();
  await sink.commit();
}

/** SHA-256 over pfn and page, worked out here from the memory itself (spec/stream.md 19.1). */
function digestOf(memory: Uint8Array): string {
  const hash = createHash('sha256');
  const pfn = new DataView(new ArrayBuffer(8));
  for (let page = 0; page < PAGES; page++) {
    pfn.setUint32(0, page, true);
    hash.update(new Uint8Array(pfn.buffer));
    hash.update(memory.subarray(page * PAGE, (page + 1) * PAGE));
  }
  return hash.digest('hex');
}

say('a machine of 64 MiB, 2000 pages in tmem, and a record of its own go into one stream');
const memory = makeMemory();
await save(memory);
const { size, mode } = statSync(image);
console.log(`${size} bytes for ${memory.byteLength} of memory and ${TMEM_PAGES * PAGE} of tmem`);
check('the file is whole and for its owner only', (mode & 0o777) === 0o600);

say('what is it?');
check('inspect reads it', transmigrate('inspect', 'demo.tmig') === 0);

say('is it whole?');
check('verify finds it sound', transmigrate('verify', '--digest', 'demo.tmig') === 0);
const source = await openFileSource(image);
const verified = await verifyImage([source], { digest: true });
check('its memory is the memory that was saved', verified.memory?.sha256 === digestOf(memory));
check('all of tmem is there', verified.tmem?.pages === TMEM_PAGES);

say('one page, without reading the rest');
const indexed = await IndexedImage.open(source.random!);
const page = new Uint8Array(PAGE);
await indexed.readPage(4711, page);
check('page 4711 is as it was', Buffer.from(page).equals(memory.subarray(4711 * PAGE, 4712 * PAGE)));
console.log(`${indexed.bytesRead} of ${size} bytes were read`);
await source.close();

say('a bit flips');
const damaged = readFileSync(image);
damaged[size >> 1] ^= 4;
writeFileSync(join(directory, 'damaged.tmig'), damaged);
check('verify says where', transmigrate('verify', 'damaged.tmig') === 10);

say('half of it is missing');
writeFileSync(join(directory, 'cut.tmig'), damaged.subarray(0, 1000));
check('verify says so', transmigrate('verify', 'cut.tmig') === 10);

console.log(wrong === 0 ? '\nAll is as it should be.' : `\n${wrong} things are not as they should be.`);
process.exitCode = wrong === 0 ? 0 : 1;
