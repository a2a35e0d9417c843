/** Writes an image of 16 MiB of memory and reads one page back. Run it: `node examples/save-and-read.ts image.tmig` */
import { randomBytes } from 'node:crypto';
import { CODEC, FileSink, IndexedImage, openFileSource, StreamWriter } from '../src/index.ts';

const path = process.argv[2] ?? 'image.tmig';
const memory = new Uint8Array(16 * 1024 * 1024).fill(0x42, 4096, 8192);

const sink = await FileSink.create(path, randomBytes(6).toString('hex'));
const writer = await StreamWriter.open(
  sink,
  {
    kind: 'save',
    byteOrder: 'little',
    wordBits: 64,
    domainType: 'emulated',
    machine: 62,
    pageSize: 4096,
    indexed: true,
    streamId: randomBytes(16),
  },
  { name: 'my machine', memory: { bytes: memory.byteLength } },
  { codec: CODEC.zstd },
);
await writer.ram(0, memory.byteLength / 4096, memory);
await writer.checkpoint();
await writer.end();
await sink.commit(); // Only now is there a file of this name, and it is whole.

const source = await openFileSource(path);
const image = await IndexedImage.open(source.random!);
const page = new Uint8Array(4096);
console.log(`page 1 is ${await image.readPage(1, page)}, its first byte 0x${page[0].toString(16)}`);
await source.close();
