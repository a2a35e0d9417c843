/** Physical memory as plain bytes, and which pages of it are missing (debug 3.3). */
import type { ByteSink } from '../../bytes/endpoints.ts';
import { hexNumber } from '../../bytes/hex.ts';
import { isZeroRange } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import type { ImageMemory, MemoryBatch } from '../open/opened-image.ts';

/** Where exported memory goes. */
export interface ExportSink extends ByteSink {
  /** Bytes that are zero, without writing them; undefined where they must be written. */
  readonly hole?: ((bytes: number) => Promise<void>) | undefined;
}

/** A part of memory, by physical addresses; the end is not in it. */
export interface AddressRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** What was written. */
export interface ExportReport {
  readonly pageSize: number;
  readonly from: bigint;
  readonly to: bigint;
  /** Pages of the range, also those of which only a part is in it. */
  readonly presentPages: number;
  readonly absentPages: number;
  /** Runs of pages that are missing, as pairs: first pfn, pages. Numbers, since a hostile image can have many. */
  readonly absent: readonly number[];
}

const BATCH_PAGES = 256;
/** What is written at a time where there are no holes. */
const ZEROS = new Uint8Array(1024 * 1024);

/** All of the memory that the image has. */
export function wholeRange({ pfnEnd, pageSize }: ImageMemory): AddressRange {
  return { from: 0n, to: BigInt(pfnEnd) * BigInt(pageSize) };
}

/**
 * Writes a range of memory in order; absent pages are zeros.
 * @throws CANCELLED, the errors of damage, READ_FAILED, and what the sink throws: then what was written is not whole
 */
export async function exportMemory(
  memory: ImageMemory,
  sink: ExportSink,
  { from, to }: AddressRange,
  { signal, onProgress }: Work = {},
): Promise<ExportReport> {
  const { pageSize } = memory;
  const size = BigInt(pageSize);
  const absent: number[] = [];
  let presentPages = 0;
  let absentPages = 0;
  let position = from;
  const missing = async (until: bigint): Promise<void> => {
    if (until <= position) return;
    const firstPfn = Number(position / size);
    const pages = Number((until + size - 1n) / size) - firstPfn;
    absent.push(firstPfn, pages);
    absentPages += pages;
    await writeZeros(sink, until - position, signal);
    position = until;
  };
  if (to > from) {
    for await (const batch of memory.batches({ firstPfn: Number(from / size), batchPages: BATCH_PAGES })) {
      stopIfCancelled(signal);
      const batchAt = BigInt(batch.firstPfn) * size;
      if (batchAt >= to) break;
      await missing(batchAt);
      const begin = Number(position - batchAt);
      const end = Number(min(to - batchAt, BigInt(batch.pages) * size));
      await writeBatch(sink, batch, begin, end, pageSize);
      position = batchAt + BigInt(end);
      presentPages += Math.ceil(end / pageSize) - Math.floor(begin / pageSize);
      onProgress?.(Number(position - from), Number(to - from));
      if (position === to) break;
    }
    await missing(to);
  }
  return { pageSize, from, to, presentPages, absentPages, absent };
}

/** The map of what is missing (cli-json 12.4), in pieces. */
export function* exportMapText(report: ExportReport): Generator<string> {
  const { pageSize, presentPages, absentPages, absent } = report;
  const head = { pageSize, from: hexNumber(report.from, 16), to: hexNumber(report.to, 16), presentPages, absentPages };
  yield `${JSON.stringify(head).slice(0, -1)},"absent":[`;
  for (let i = 0; i < absent.length; i += 2) {
    yield `${i === 0 ? '' : ','}${JSON.stringify({ firstPfn: absent[i], pages: absent[i + 1] })}`;
  }
  yield ']}\n';
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function stopIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'the export was cancelled');
}

async function writeZeros(sink: ExportSink, bytes: bigint, signal: AbortSignal | undefined): Promise<void> {
  if (sink.hole !== undefined) return sink.hole(Number(bytes));
  for (let left = bytes; left > 0n; left -= BigInt(ZEROS.byteLength)) {
    stopIfCancelled(signal);
    await sink.write(left >= BigInt(ZEROS.byteLength) ? ZEROS : ZEROS.subarray(0, Number(left)));
  }
}

/** Bytes of a batch; where there can be holes, pages that are zero become such. */
async function writeBatch(
  sink: ExportSink,
  { bytes }: MemoryBatch,
  begin: number,
  end: number,
  pageSize: number,
): Promise<void> {
  if (sink.hole === undefined) return sink.write(bytes.subarray(begin, end));
  const pageEnd = (at: number): number => Math.min(end, at - (at % pageSize) + pageSize);
  for (let at = begin; at < end;) {
    const isHole = isZeroRange(bytes, at, pageEnd(at) - at);
    let until = pageEnd(at);
    while (until < end && isZeroRange(bytes, until, pageEnd(until) - until) === isHole) until = pageEnd(until);
    if (isHole) await sink.hole(until - at);
    else await sink.write(bytes.subarray(at, until));
    at = until;
  }
}
