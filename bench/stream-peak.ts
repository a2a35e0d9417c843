/** Child of the stream benchmark: writes or decodes so many GiB of guest memory and prints its peak memory in MiB. */
import { existsSync, readFileSync } from 'node:fs';
import { CODEC, StreamDecoder, StreamWriter, type ByteSink } from '../src/index.ts';
import { PAGE, syntheticMemory } from './support/synthetic-memory.ts';

const [role, gib] = [process.argv[2], Number(process.argv[3])];
const WINDOW = 64 * 1024 * 1024;
const memory = syntheticMemory(WINDOW);
const windows = (gib * 1024 ** 3) / WINDOW;

/** A sink that takes its time like a real one: the bytes are given back a little later. */
const nowhere: ByteSink = { write: () => new Promise((resolve) => setImmediate(resolve)) };

async function write(sink: ByteSink): Promise<void> {
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 64,
      domainType: 'hvm',
      machine: 62,
      pageSize: PAGE,
      streamId: new Uint8Array(16),
      indexed: true,
    },
    {},
    // Raw where the decoder is looked at: it should see as many bytes as can be.
    role === 'writer' ? { codec: CODEC.zstd, level: -7, threads: 2 } : {},
  );
  for (let window = 0; window < windows; window++) await writer.ram((window * WINDOW) / PAGE, WINDOW / PAGE, memory);
  await writer.checkpoint();
  await writer.end();
}

async function decode(): Promise<void> {
  const decoder = new StreamDecoder();
  let pages = 0;
  const count = {
    data: (_first: number, run: number): void => void (pages += run),
    zero: (_first: number, run: number): void => void (pages += run),
    absent: (): void => undefined,
  };
  await write({
    write: (bytes) => {
      // In odd pieces, so that records are split and kept.
      for (let at = 0; at < bytes.byteLength; at += 700_001) {
        decoder.feed(bytes.subarray(at, at + 700_001));
        for (let next = decoder.read(); next !== undefined; next = decoder.read()) {
          if (next.record.kind === 'RAM') next.record.visit(count, decoder.scratch);
        }
      }
      return Promise.resolve();
    },
  });
  decoder.finish();
  if (pages !== windows * (WINDOW / PAGE)) throw new Error(`${pages} pages came back`);
}

/** Linux counts the parent's peak as this process's own in getrusage: its fork had all of it. /proc does not. */
function peakBytes(): number {
  const status = existsSync('/proc/self/status') ? readFileSync('/proc/self/status', 'utf8') : '';
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? process.resourceUsage().maxRSS;
  return Number(kib) * 1024;
}

const before = process.memoryUsage().rss;
await (role === 'writer' ? write(nowhere) : decode());
console.log(((peakBytes() - before) / 1024 ** 2).toFixed(1));
