import type { JsonObject } from '../bytes/bounded-json.ts';
import type { ByteSink } from '../bytes/endpoints.ts';
import { CODEC, type CodecId } from '../codec/codec.ts';
import { crc32, Sha256 } from '../codec/platform.ts';
import { UnitPool } from '../codec/unit-pool.ts';
import { Chain } from './chain.ts';
import { IndexBuilder, indexEntryOf, isListed, type RamSpan } from './index-builder.ts';
import { LIMITS } from './limits.ts';
import { OrderRules } from './order.ts';
import { decodePreamble, encodePreamble, isIndexed, PREAMBLE_BYTES, readRawPreamble } from './preamble.ts';
import type { Preamble, PreambleChoice } from './preamble.ts';
import { encodeHeader, HEADER_BYTES, recordBytes, type RecordHeader } from './record-header.ts';
import { bodyBytes, chunkBody, RecordRoom, type Body } from './record-parts.ts';
import { isOptional, numberOf, OPTIONAL, TYPE } from './record-types.ts';
import * as control from './records/control.ts';
import * as device from './records/device.ts';
import { encodeDictionary, type Dictionary } from './records/dictionary.ts';
import { encodeFooter, FOOTER_BYTES } from './records/index-records.ts';
import { encodeOriginHead } from './records/origin.ts';
import type { RamBatch } from './records/ram.ts';
import { decodeBody, type StreamRecord } from './records/record.ts';
import * as tmem from './records/tmem.ts';
import * as vcpu from './records/vcpu.ts';
import { assertClass, BATCH_BYTES, RamPacker } from './ram-packer.ts';
import { TmemPacker } from './tmem-packer.ts';
import type { WriterOptions } from './writer-options.ts';

/** Records before which no SEAL is put in: they come directly after one, or after END. */
const UNSEALED: ReadonlySet<number> = new Set([TYPE.seal, TYPE.barrier, TYPE.checkpoint, TYPE.end, TYPE.indexRoot]);

/** Records that are a stream's own, and cannot be copied from another. */
const FRAMING: ReadonlySet<number> = new Set([
  TYPE.about,
  TYPE.seal,
  TYPE.barrier,
  TYPE.end,
  TYPE.index,
  TYPE.indexRoot,
  TYPE.ack,
]);

/** A packer that is filled, and what its units became. */
interface Pending {
  readonly packer: RamPacker;
  readonly plan: Uint32Array;
  readonly result: Promise<Uint32Array>;
}

/**
 * Writes one channel of a stream, in order, to a sink that it never asks to seek (stream 3 to 13).
 *
 * Every method resolves when the record is on its way; backpressure is the sink's. Input bytes are copied before a
 * method resolves. Memory is bounded: a few batches of 1 MiB, one index segment. The writer checks its own records
 * with the reader's code, so a call out of order rejects with the TransmigrateError that a reader would throw.
 * After an error nothing more can be written, and what went out does not end like a whole stream.
 */
export class StreamWriter {
  readonly preamble: Preamble;
  readonly #sink: ByteSink;
  readonly #codec: CodecId;
  readonly #level: number | undefined;
  readonly #sealInterval: number;
  readonly #onSeal: WriterOptions['onSeal'];
  readonly #pool: UnitPool;
  readonly #chain: Chain;
  readonly #order: OrderRules;
  readonly #index: IndexBuilder | undefined;
  readonly #counts = control.noCounts();
  /** Bytes of the records of each number. */
  readonly #bytes = new Map<number, number>();
  readonly #dictionary = new Map<number, Dictionary>();
  readonly #idle: RamPacker[] = [];
  readonly #room = new RecordRoom();
  #packer: RamPacker | undefined;
  readonly #pending: Pending[] = [];
  /** Packers whose bytes the sink still holds. */
  readonly #flying: { packer: RamPacker; written: Promise<void> }[] = [];
  #packers = 0;
  #tmem: TmemPacker | undefined;
  #offset = PREAMBLE_BYTES;
  #sequence = 0;
  #seals = 0;
  #checkpoints = 0;
  #rounds = 0;
  #barriers = 0;
  #originParts = 0;
  /** What the writer failed with: nothing is written after it. */
  #failure: Error | undefined;

  private constructor(sink: ByteSink, preambleBytes: Uint8Array, options: WriterOptions) {
    this.preamble = decodePreamble(readRawPreamble(preambleBytes));
    this.#sink = sink;
    this.#codec = options.codec ?? CODEC.raw;
    this.#level = options.level;
    this.#sealInterval = Math.min(options.sealInterval ?? LIMITS.sealInterval, LIMITS.sealInterval);
    this.#onSeal = options.onSeal;
    this.#pool = UnitPool.shared(this.#codec === CODEC.raw ? 0 : (options.threads ?? 0));
    this.#chain = new Chain(preambleBytes);
    this.#order = new OrderRules(this.preamble);
    if (isIndexed(this.preamble)) this.#index = new IndexBuilder();
  }

  /**
   * Begins a stream: writes its preamble and ABOUT.
   * @throws RangeError for choices that the format has no place for; what the sink throws.
   */
  static async open(
    sink: ByteSink,
    choice: PreambleChoice,
    about: JsonObject,
    options: WriterOptions = {},
  ): Promise<StreamWriter> {
    const bytes = encodePreamble(choice);
    const writer = new StreamWriter(sink, bytes, options);
    await writer.#guard(async () => {
      await sink.write(bytes);
      await writer.#record(TYPE.about, control.encodeAbout(about));
    });
    return writer;
  }

  /** Bytes written so far, without what still waits in batches. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes of the records with these numbers so far, without what still waits in batches: who has sent how much. */
  bytesOf(numbers: readonly number[]): number {
    return numbers.reduce((sum, number) => sum + (this.#bytes.get(number) ?? 0), 0);
  }

  /** The chain as of the last seal (stream 5). */
  get chain(): Uint8Array {
    return this.#chain.value;
  }

  /**
   * Guest memory with content: `pages` pages from `firstPfn` on, read from `source` at byte `at`. Zero pages are
   * found and cost a bit. Resolves when the bytes are copied: the guest may change them.
   */
  async ram(firstPfn: number, pages: number, source: Uint8Array, at = 0, pageClass = 0): Promise<void> {
    assertClass(pageClass, true);
    const { pageSize } = this.preamble;
    if (at + pages * pageSize > source.byteLength) throw new RangeError('pages beyond their source');
    await this.#guard(() =>
      this.#pack(firstPfn, pages, (packer, done) =>
        packer.add(firstPfn + done, pages - done, pageClass, source, at + done * pageSize),
      ),
    );
  }

  /** Guest memory that is known to be zero: costs a bit for a page, and nothing is looked at. */
  async zero(firstPfn: number, pages: number, pageClass = 0): Promise<void> {
    assertClass(pageClass, true);
    await this.#guard(() =>
      this.#pack(firstPfn, pages, (packer, done) => packer.addZero(firstPfn + done, pages - done, pageClass)),
    );
  }

  /** Pages that carry no data from now on (stream 7.1, classes from 0x80). */
  async absent(firstPfn: number, pages: number, pageClass: number): Promise<void> {
    assertClass(pageClass, false);
    await this.#guard(() =>
      this.#pack(firstPfn, pages, (packer, done) => packer.addAbsent(firstPfn + done, pages - done, pageClass)),
    );
  }

  async vcpu(state: Omit<vcpu.VcpuX86, 'kind'>): Promise<void> {
    await this.#ordered(TYPE.vcpuX86, () => vcpu.encodeVcpuX86(state));
  }

  /** State of a vCPU in a form of its own (stream 8.2). */
  async vcpuState(vcpuNumber: number, kind: number, bytes: Uint8Array): Promise<void> {
    await this.#ordered(TYPE.vcpuState, () => vcpu.encodeVcpuState(vcpuNumber, kind, bytes));
  }

  async cpuid(leaves: readonly vcpu.CpuidLeaf[]): Promise<void> {
    await this.#ordered(TYPE.cpuid, () => vcpu.encodeCpuid(leaves));
  }

  async msrs(msrs: readonly vcpu.Msr[]): Promise<void> {
    await this.#ordered(TYPE.msr, () => vcpu.encodeMsrs(msrs));
  }

  /** An opaque device blob, whole (stream 9.1, 9.2): its length and SHA-256 are worked out here. */
  async device(about: Omit<device.Device, 'kind' | 'bytes' | 'sha256'>, blob: Uint8Array): Promise<void> {
    const hash = new Sha256();
    hash.update(blob);
    await this.longDevice({ ...about, bytes: blob.byteLength, sha256: hash.digest() }, [blob]);
  }

  /**
   * A device blob that comes in parts of any length. That they are what the header says is for the reader to find out:
   * `LENGTH_MISMATCH` and `DEVICE_DIGEST` come from there.
   */
  async longDevice(
    header: Omit<device.Device, 'kind'>,
    parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await this.#ordered(TYPE.device, () => device.encodeDevice(header));
    let offset = 0;
    for await (const part of parts) {
      for (let at = 0; at < part.byteLength; at += LIMITS.chunkBytes) {
        const chunk = part.subarray(at, at + LIMITS.chunkBytes);
        const position = offset;
        await this.#ordered(TYPE.deviceData, () =>
          this.#chunk(chunk, (codec, stored) =>
            device.encodeDeviceDataHead(header.device, codec, position, chunk.byteLength, stored),
          ),
        );
        this.#counts.deviceBytes += chunk.byteLength;
        offset += chunk.byteLength;
      }
    }
  }

  async disk(disk: Omit<device.Disk, 'kind'>): Promise<void> {
    await this.#ordered(TYPE.disk, () => device.encodeDisk(disk));
  }

  async tmemClient(client: Omit<tmem.TmemClient, 'kind'>): Promise<void> {
    await this.#ordered(TYPE.tmemClient, () => tmem.encodeTmemClient(client));
  }

  async tmemPool(pool: Omit<tmem.TmemPool, 'kind'>): Promise<void> {
    const type = pool.ephemeral ? TYPE.ephemeralPool : TYPE.tmemPool;
    await this.#ordered(type, () => tmem.encodeTmemPool(pool));
  }

  /**
   * A page of a pool that was begun, as it is stored: nothing is compressed or decompressed here (T5).
   * @param object the six 32-bit halves of the object id, lowest first.
   * @param originalLength length of the content before the codec; the rest of the page is zero (stream 10.3.1).
   */
  async tmemPage(
    incarnation: bigint,
    object: Uint32Array,
    index: number,
    codec: CodecId,
    originalLength: number,
    stored: Uint8Array,
  ): Promise<void> {
    await this.#guard(async () => {
      const packer = (this.#tmem ??= new TmemPacker());
      if (!packer.empty && packer.incarnation !== incarnation) await this.#flushTmem();
      packer.incarnation = incarnation;
      if (packer.add(object, index, codec, originalLength, stored)) return;
      await this.#flushTmem();
      if (!packer.add(object, index, codec, originalLength, stored)) throw new RangeError('a page larger than a batch');
    });
  }

  /** Pages of a pool that was begun, as a body that is made already (stream 10.3): it is checked like any other. */
  async tmemPages(incarnation: bigint, body: Uint8Array): Promise<void> {
    await this.#guard(async () => {
      await this.#drain();
      await this.#tmemRecord(incarnation, body);
    });
  }

  /** What is no longer in a pool (stream 10.4). Scope pool ends the incarnation. */
  async tmemInvalidate(
    incarnation: bigint,
    scope: tmem.ScopeName,
    handles: readonly tmem.TmemHandle[] = [],
  ): Promise<void> {
    await this.#invalidate(incarnation, () => tmem.encodeTmemInvalidate(incarnation, scope, handles));
  }

  /** As {@link tmemInvalidate}, with a body that is made already (stream 10.4): it is checked like any other. */
  async tmemInvalidation(incarnation: bigint, body: Uint8Array): Promise<void> {
    await this.#invalidate(incarnation, () => body);
  }

  /** Framing of a foreign image (stream 11), split into parts. */
  async origin(format: string, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; at += LIMITS.chunkBytes) {
      const chunk = bytes.subarray(at, at + LIMITS.chunkBytes);
      const part = this.#originParts++;
      await this.#ordered(TYPE.origin, () =>
        this.#chunk(chunk, (codec, stored) => encodeOriginHead(part, codec, chunk.byteLength, stored, format)),
      );
    }
  }

  /** Names a record number of one's own (stream 12). */
  async dictionary(entry: Omit<Dictionary, 'kind'>): Promise<void> {
    await this.#ordered(TYPE.dictionary, () => encodeDictionary(entry));
    this.#dictionary.set(entry.record, { kind: 'DICTIONARY', ...entry });
  }

  /** A record of one's own, whose number a DICTIONARY has named (stream 12). */
  async local(record: number, optional: boolean, body: Uint8Array): Promise<void> {
    await this.#ordered(optional ? record + OPTIONAL : record, () => body);
  }

  /**
   * A record as it stands in another stream of a machine with the same pages: its body is taken as it is, and checked
   * as any other. A CHECKPOINT is sealed here. Seals, the index, END and what else frames a stream cannot be copied.
   */
  async copy(type: number, body: Uint8Array): Promise<void> {
    if (FRAMING.has(type)) throw new RangeError(`a record of type ${type} belongs to its own stream`);
    await this.#guard(async () => {
      await this.#drain();
      if (type === TYPE.checkpoint) await this.#writeSeal();
      this.#countCopied(await this.#record(type, body));
    });
  }

  #countCopied(record: StreamRecord): void {
    const counts = this.#counts;
    switch (record.kind) {
      case 'DICTIONARY':
        this.#dictionary.set(record.record, record);
        break;
      case 'RAM':
        counts.ramPages += record.dataPages;
        counts.ramZeroPages += record.zeroPages;
        counts.ramAbsentPages += record.pages - record.dataPages;
        break;
      case 'DEVICE_DATA':
        counts.deviceBytes += record.bytes;
        break;
      case 'TMEM_PAGES':
        if (!record.pool.ephemeral) counts.tmemPages += record.count;
        break;
      case 'TMEM_INVALIDATE':
        if (!record.pool.ephemeral) counts.tmemInvalidations += Math.max(record.count, 1);
        break;
      default:
        break;
    }
  }

  /** The source scanned everything once more (stream 6.3). */
  async round(): Promise<void> {
    await this.#ordered(TYPE.round, () => control.encodeRound(this.#rounds++));
  }

  /** An acknowledgement, in direction back (stream 6.6). */
  async ack(channel: number, seal: number, chain: Uint8Array): Promise<void> {
    await this.#ordered(TYPE.ack, () => control.encodeAck(channel, seal, chain));
  }

  /** Seals what was written; returns the chain (stream 5.3). */
  async seal(): Promise<Uint8Array> {
    await this.#guard(async () => {
      await this.#drain();
      await this.#writeSeal();
    });
    return this.#chain.value;
  }

  /** All channels are here (stream 6.2, 14.1). Directly after {@link seal}. @param chains of all channels. */
  async barrier(chains: readonly Uint8Array[]): Promise<void> {
    await this.#ordered(TYPE.barrier, () => control.encodeBarrier(++this.#barriers, chains));
  }

  /** Everything before this is a consistent machine (stream 6.4). With one channel it is sealed here. */
  async checkpoint(guestTimeNs = 0n): Promise<void> {
    if (this.preamble.channels === 1) await this.seal();
    await this.#ordered(TYPE.checkpoint, () => control.encodeCheckpoint(++this.#checkpoints, guestTimeNs));
  }

  /**
   * Ends the stream: END, then index and footer where the preamble says so. Resolves when the sink has taken
   * everything.
   * @param chains of all channels, directly after their BARRIER; not given with one channel.
   */
  async end(chains?: readonly Uint8Array[]): Promise<void> {
    await this.#guard(async () => {
      await this.#drain();
      if (chains === undefined) {
        if (this.#index !== undefined && !this.#index.empty) await this.#writeIndex();
        await this.#writeSeal();
      }
      const endOffset = this.#offset;
      this.#counts.records = this.#sequence;
      await this.#record(TYPE.end, control.encodeEnd(this.#counts, chains ?? [this.#chain.value]));
      if (this.#index !== undefined) await this.#writeFooter(endOffset);
    });
  }

  async #writeFooter(endOffset: number): Promise<void> {
    const rootOffset = this.#offset;
    await this.#record(TYPE.indexRoot, this.#index!.root());
    const footer = encodeFooter({
      tag: this.preamble.checksum,
      endOffset,
      rootOffset,
      length: this.#offset + FOOTER_BYTES,
      chainStart: this.#chain.value,
    });
    await this.#sink.write(footer);
    this.#offset += FOOTER_BYTES;
  }

  /** Runs one step; the first failure is kept, and ends the writer. */
  async #guard<T>(step: () => Promise<T>): Promise<T> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      return await step();
    } catch (error) {
      this.#failure ??= asError(error);
      throw this.#failure;
    }
  }

  /** A record after everything that was given before it. */
  async #ordered(type: number, body: () => Uint8Array | Body): Promise<void> {
    await this.#guard(async () => {
      await this.#drain();
      const made = body();
      await this.#record(type, ...(made instanceof Uint8Array ? [made] : made));
    });
  }

  #chunk(chunk: Uint8Array, headOf: Parameters<typeof chunkBody>[3]): Body {
    return chunkBody(chunk, this.#codec, this.#level, headOf);
  }

  /** The type for a record of a pool: mandatory or optional as its pool is (stream 10). */
  #formOf(incarnation: bigint, type: number): number {
    return this.#order.pools.get(incarnation)?.ephemeral === true ? type + OPTIONAL : type;
  }

  async #invalidate(incarnation: bigint, body: () => Uint8Array): Promise<void> {
    const type = this.#formOf(incarnation, TYPE.tmemInvalidate);
    await this.#guard(async () => {
      await this.#drain();
      const record = await this.#record(type, body());
      if (record.kind === 'TMEM_INVALIDATE' && !isOptional(type)) {
        this.#counts.tmemInvalidations += Math.max(record.count, 1);
      }
    });
  }

  async #flushTmem(): Promise<void> {
    const packer = this.#tmem;
    if (packer === undefined || packer.empty) return;
    await this.#flushRam();
    await this.#tmemRecord(packer.incarnation, packer.take());
  }

  async #tmemRecord(incarnation: bigint, body: Uint8Array): Promise<void> {
    const record = await this.#record(this.#formOf(incarnation, TYPE.tmemPages), body);
    if (record instanceof tmem.TmemPages && !record.pool.ephemeral) this.#counts.tmemPages += record.count;
  }

  /** Everything that waits in batches goes out. */
  async #drain(): Promise<void> {
    await this.#flushTmem();
    await this.#flushRam();
  }

  async #pack(firstPfn: number, pages: number, add: (packer: RamPacker, done: number) => number): Promise<void> {
    if (firstPfn < 0 || firstPfn + pages > LIMITS.pfnEnd) throw new RangeError(`pfn ${firstPfn} is out of range`);
    await this.#flushTmem();
    for (let done = 0; done < pages;) {
      this.#packer ??= await this.#freePacker();
      done += add(this.#packer, done);
      if (done < pages) await this.#closeBatch();
    }
  }

  async #flushRam(): Promise<void> {
    await this.#closeBatch();
    while (this.#pending.length > 0) await this.#writeOldest();
  }

  /** Hands the batch to the pool; batches keep their order. */
  async #closeBatch(): Promise<void> {
    const packer = this.#packer;
    if (packer === undefined || packer.empty) return;
    this.#packer = undefined;
    const job = packer.plan(this.#codec, this.#level);
    const result = this.#pool.run(job);
    // A failure is met where the batch is written; until then it is not unhandled.
    result.catch(() => undefined);
    this.#pending.push({ packer, plan: job.plan, result });
    if (!this.#pool.hasThreads || this.#pending.length > this.#pool.width + 1) await this.#writeOldest();
  }

  async #freePacker(): Promise<RamPacker> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#packers < this.#pool.width + 3) {
      this.#packers++;
      return new RamPacker(this.preamble.pageSize, this.#codec !== CODEC.raw, this.#pool.hasThreads);
    }
    if (this.#flying.length === 0) await this.#writeOldest();
    const { packer, written } = this.#flying.shift()!;
    await written;
    packer.reset();
    return packer;
  }

  async #writeOldest(): Promise<void> {
    const { packer, plan, result } = this.#pending.shift()!;
    const packed = packer.finish(plan, await result);
    const span: RamSpan = { kind: 'RAM', pages: packer.pages, low: packer.low, high: packer.high };
    await this.#sealFor(packed.record.byteLength);
    const header = this.#place(TYPE.ram, packed.length, packed.record, packed.checksum);
    this.#order.checkHeader(header);
    this.#order.accept(header, span);
    this.#counts.ramPages += packer.dataPages;
    this.#counts.ramZeroPages += packer.zeroPages;
    this.#counts.ramAbsentPages += packer.pages - packer.dataPages;
    const written = this.#sink.write(packed.record);
    written.catch((error: unknown) => (this.#failure ??= asError(error)));
    this.#flying.push({ packer, written });
    if (this.#flying.length > 2) await this.#flying[0].written;
    if (this.#failure !== undefined) throw this.#failure;
    await this.#listed(header, span);
  }

  /** Writes a record and checks it as a reader would. */
  async #record(type: number, ...body: Body): Promise<StreamRecord> {
    const length = bodyBytes(body);
    if (!UNSEALED.has(type)) await this.#sealFor(recordBytes(length));
    const record = this.#room.join(body);
    const header = this.#place(type, length, record, crc32(record.subarray(HEADER_BYTES)));
    this.#order.checkHeader(header);
    const decoded = decodeBody(header, record.subarray(HEADER_BYTES, HEADER_BYTES + length), {
      preamble: this.preamble,
      poolOf: this.#order.poolOf.bind(this.#order),
      dictionaryOf: (wanted) => this.#dictionary.get(numberOf(wanted)),
    });
    this.#order.accept(header, decoded);
    await this.#sink.write(record);
    this.#room.giveBack(record);
    await this.#listed(header, decoded.kind === 'RAM' ? spanOf(decoded) : decoded);
    return decoded;
  }

  /** Gives a record its place: header, chain, sequence. */
  #place(type: number, length: number, record: Uint8Array, checksum: number): RecordHeader {
    if (this.#sequence > LIMITS.records) throw new RangeError('too many records for one channel');
    const header = { type, length, sequence: this.#sequence, offset: this.#offset, bodyChecksum: checksum };
    encodeHeader(record, type, length, this.#sequence, this.preamble.checksum, checksum);
    this.#chain.add(record.subarray(0, HEADER_BYTES));
    this.#sequence++;
    this.#offset += record.byteLength;
    const number = numberOf(type);
    this.#bytes.set(number, (this.#bytes.get(number) ?? 0) + record.byteLength);
    return header;
  }

  async #listed(header: RecordHeader, record: Parameters<typeof indexEntryOf>[1]): Promise<void> {
    if (this.#index === undefined || !isListed(header.type)) return;
    this.#index.add(indexEntryOf(header, record));
    if (this.#index.full) await this.#writeIndex();
  }

  async #writeIndex(): Promise<void> {
    // The seal, where one is due, comes before the place of the segment is fixed.
    await this.#sealFor(recordBytes(8 + 48 * LIMITS.indexEntries));
    await this.#record(TYPE.index, this.#index!.takeSegment(this.#offset));
  }

  async #sealFor(bytes: number): Promise<void> {
    if (this.#sequence > 0 && this.#order.unsealed + bytes > this.#sealInterval && this.#order.unsealed > 0) {
      await this.#writeSeal();
    }
  }

  async #writeSeal(): Promise<void> {
    const offset = this.#offset;
    await this.#record(TYPE.seal, control.encodeSeal(++this.#seals, offset, this.#chain.seal()));
    this.#onSeal?.(this.#seals, this.#chain.value);
  }
}

/** Most original bytes that a writer holds back for a batch. */
export const WRITER_BATCH_BYTES = BATCH_BYTES;

/** A batch as the index lists it. */
function spanOf(batch: RamBatch): RamSpan {
  const last = batch.extents - 1;
  const high = batch.extentFirst(last) + batch.extentPages(last) - 1;
  return { kind: 'RAM', pages: batch.pages, low: batch.extentFirst(0), high };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
