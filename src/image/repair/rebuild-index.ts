import { equalBytes } from '../../bytes/hex.ts';
import type { ByteSink, RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import { Chain } from '../../stream/chain.ts';
import { isIndexed, type Preamble } from '../../stream/preamble.ts';
import { encodeHeader, HEADER_BYTES, recordPath, type RecordHeader } from '../../stream/record-header.ts';
import { TYPE } from '../../stream/record-types.ts';
import { decodeAbout, decodeSeal } from '../../stream/records/control.ts';
import { RamBatch } from '../../stream/records/ram.ts';
import { bodyReader } from '../../stream/records/record.ts';
import { StreamWriter } from '../../stream/writer.ts';
import { findPreamble } from './find-preamble.ts';
import { scanRecords, type ScannedGap, type ScannedRecord } from './record-scan.ts';

/** Records of the index, and of the frame of a stream: they are written anew. */
const INDEX: ReadonlySet<number> = new Set([TYPE.index, TYPE.indexRoot]);
const FRAME: ReadonlySet<number> = new Set([TYPE.about, TYPE.seal, TYPE.barrier, TYPE.end, ...INDEX]);

export interface RebuildOptions extends Work {
  /** 16 random bytes that name the new stream. */
  readonly streamId: Uint8Array;
}

/** What {@link rebuildIndex} found. */
export interface Rebuilt {
  /** Whether index and footer were whole. */
  readonly wasWhole: boolean;
  readonly records: number;
}

/**
 * Writes an image of ours with a new index and footer. Index records are part of the chain of seals (stream 5), so all
 * of it is written as a new stream: its records are copied as they are, and sealed anew. The sink is not ended.
 * @throws the first thing that is wrong with a record of content, RECORD_SEQUENCE, SEAL_MISMATCH, TRUNCATED where END
 * is missing; what {@link findPreamble} throws; CANCELLED, READ_FAILED, what the sink throws
 */
export async function rebuildIndex(random: RandomAccess, sink: ByteSink, options: RebuildOptions): Promise<Rebuilt> {
  const { preamble, bytes, mendedAt } = await findPreamble(random);
  const copy = new Copy(preamble, new Chain(bytes));
  for await (const item of scanRecords(random, preamble)) {
    if (options.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Repairing was cancelled');
    if (item.kind === 'gap') copy.gap(item);
    else await copy.record(item, sink, options);
    options.onProgress?.(item.kind === 'record' ? item.header.offset : item.offset, random.size);
  }
  const { records, indexWhole } = await copy.done(random.size);
  return { records, wasWhole: mendedAt === null && indexWhole };
}

class Copy {
  readonly #preamble: Preamble;
  readonly #chain: Chain;
  #writer: StreamWriter | undefined;
  #ended = false;
  #rootSeen = false;
  #gaps = 0;
  #records = 0;

  constructor(preamble: Preamble, chain: Chain) {
    this.#preamble = preamble;
    this.#chain = chain;
  }

  /** Only what an index is made of may be damaged. */
  gap({ error, header, bytes, lost }: ScannedGap): void {
    this.#gaps++;
    if (this.#ended) return;
    if (header === null || lost > 0 || !INDEX.has(header.type) || bytes === 0) throw refusal(error);
    // Its header holds, and that is what the chain is made of.
    const headerBytes = new Uint8Array(HEADER_BYTES);
    const { type, length, sequence, bodyChecksum } = header;
    encodeHeader(headerBytes, type, length, sequence, this.#preamble.checksum, bodyChecksum);
    this.#chain.add(headerBytes);
  }

  async record(
    { header, headerBytes, body, padded }: ScannedRecord,
    sink: ByteSink,
    options: RebuildOptions,
  ): Promise<void> {
    const { type } = header;
    if (type === TYPE.indexRoot) this.#rootSeen = true;
    if (this.#ended) return;
    if (type === TYPE.seal) this.#checkSeal(header, body);
    this.#chain.add(headerBytes);
    if (this.#writer === undefined) {
      if (type !== TYPE.about) throw refusal(placed('RECORD_ORDER', 'The first record is not ABOUT', header));
      this.#writer = await this.#open(header, body, sink, options.streamId);
      return;
    }
    if (type === TYPE.end) this.#ended = true;
    if (FRAME.has(type)) return;
    if (type === TYPE.ram) this.#checkUnits(header, body, padded);
    this.#records++;
    try {
      await this.#writer.copy(type, body);
    } catch (error) {
      // The place that counts is that in the input.
      throw error instanceof TransmigrateError ? error.with({ offset: header.offset }) : error;
    }
  }

  async #open(header: RecordHeader, body: Uint8Array, sink: ByteSink, streamId: Uint8Array): Promise<StreamWriter> {
    const { kind, byteOrder, domainType, machine, pageSize } = this.#preamble;
    const wordBits = this.#preamble.wordBits === 32 ? 32 : 64;
    const { about } = decodeAbout(bodyReader(header, body));
    return StreamWriter.open(
      sink,
      { kind, byteOrder, wordBits, domainType, machine, pageSize, streamId, indexed: true },
      about,
    );
  }

  #checkSeal(header: RecordHeader, body: Uint8Array): void {
    const { chain } = decodeSeal(bodyReader(header, body));
    if (equalBytes(chain, this.#chain.seal())) return;
    throw refusal(placed('SEAL_MISMATCH', 'The records before this seal are not those that were sealed', header));
  }

  #checkUnits(header: RecordHeader, body: Uint8Array, padded: Uint8Array): void {
    const where = { offset: header.offset, path: recordPath(header), section: '7' };
    const batch = new RamBatch(body, header.length, this.#preamble.pageSize, where);
    const { wrongUnit } = batch.checksums(padded);
    if (wrongUnit >= 0) throw refusal(batch.unitError(wrongUnit));
  }

  /** @param size of the input. */
  async done(size: number): Promise<{ records: number; indexWhole: boolean }> {
    if (!this.#ended) {
      throw refusal(new TransmigrateError('TRUNCATED', 'The image ends before END', { offset: size, section: '4' }));
    }
    await this.#writer!.end();
    const indexWhole = this.#gaps === 0 && isIndexed(this.#preamble) && this.#rootSeen;
    return { records: this.#records, indexWhole };
  }
}

function placed(code: 'RECORD_ORDER' | 'SEAL_MISMATCH', what: string, header: RecordHeader): TransmigrateError {
  return new TransmigrateError(code, what, { offset: header.offset, path: recordPath(header), section: '4' });
}

function refusal(error: TransmigrateError): TransmigrateError {
  return error.with({
    next:
      'Not only the index is damaged: `transmigrate repair --to-checkpoint` takes what is whole up to the last ' +
      'checkpoint, and --salvage exports what is there.',
  });
}
