import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteSink, RandomAccess } from '../../bytes/endpoints.ts';
import type { CodecId } from '../../codec/codec.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Work } from '../../io/work.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { Preamble } from '../../stream/preamble.ts';
import { recordPath, type RecordHeader } from '../../stream/record-header.ts';
import { isLocal, isOptional, isTmem, numberOf, RECORDS, TYPE } from '../../stream/record-types.ts';
import type { Dictionary } from '../../stream/records/dictionary.ts';
import { hasData, type RamBatch } from '../../stream/records/ram.ts';
import { decodeBody, type BodyContext, type StreamRecord } from '../../stream/records/record.ts';
import { StreamWriter } from '../../stream/writer.ts';
import { findPreamble } from './find-preamble.ts';
import { IndexHints, type Hint, type HintedGap } from './index-hints.ts';
import { PageAccount } from './page-account.ts';
import { batchOf, batchWithoutHeader, RamSalvage } from './ram-salvage.ts';
import { scanRecords, type ScannedGap, type ScannedRecord } from './record-scan.ts';
import { SkippedList, type SalvageMap } from './salvage-map.ts';
import { StateSalvage } from './state-salvage.ts';
import { TmemSalvage } from './tmem-salvage.ts';

export interface SalvageOptions extends Work {
  /** 16 random bytes that name the new stream. */
  readonly streamId: Uint8Array;
  /** How pages out of damaged records are stored; whole records are copied. */
  readonly codec: CodecId;
  /** What ABOUT says beside what the image said of itself. */
  readonly about: JsonObject;
}

/**
 * Exports what can be proven of a damaged image of ours, as an image of kind `core`: it can be looked at, and does not
 * restore. The sink is not ended.
 * @throws the first thing that is wrong, when nothing can be proven; what {@link findPreamble} throws; CANCELLED,
 * READ_FAILED, what the sink throws
 */
export async function salvageTmig(random: RandomAccess, sink: ByteSink, options: SalvageOptions): Promise<SalvageMap> {
  const { preamble, mendedAt } = await findPreamble(random);
  let salvage: TmigSalvage | undefined;
  for await (const item of scanRecords(random, preamble)) {
    if (options.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Repairing was cancelled');
    if (salvage === undefined) {
      const about = item.kind === 'record' && item.header.type === TYPE.about ? aboutOf(item, preamble) : {};
      salvage = await TmigSalvage.open(random, preamble, sink, about, options);
    }
    if (item.kind === 'record') await salvage.record(item);
    else await salvage.gap(item);
    options.onProgress?.(item.kind === 'record' ? item.header.offset : item.offset + item.bytes, random.size);
  }
  if (salvage === undefined) throw new TransmigrateError('TRUNCATED', 'The image has no records', { offset: 128 });
  return salvage.done(mendedAt);
}

function aboutOf({ header, body }: ScannedRecord, preamble: Preamble): JsonObject {
  try {
    const record = decodeBody(header, body, noContext(preamble));
    return record.kind === 'ABOUT' ? record.about : {};
  } catch (error) {
    if (error instanceof TransmigrateError) return {};
    throw error;
  }
}

function noContext(preamble: Preamble): BodyContext {
  return {
    preamble,
    poolOf: () => {
      throw new RangeError('no tmem yet');
    },
    dictionaryOf: () => undefined,
  };
}

class TmigSalvage {
  readonly #random: RandomAccess;
  readonly #preamble: Preamble;
  readonly #writer: StreamWriter;
  readonly #skipped = new SkippedList();
  readonly #pages = new PageAccount();
  readonly #ram: RamSalvage;
  readonly #states: StateSalvage;
  readonly #tmem: TmemSalvage;
  readonly #hints = new IndexHints();
  readonly #dictionary = new Map<number, Dictionary>();
  readonly #leftOut = new Set<string>();
  #proven = 0;
  #wrong = 0;
  #statesDoubtful = false;
  #guestTimeNs = 0n;
  #rounds = 0;
  #ended = false;
  #cutAt: number | null = null;

  private constructor(random: RandomAccess, preamble: Preamble, writer: StreamWriter) {
    this.#random = random;
    this.#preamble = preamble;
    this.#writer = writer;
    this.#ram = new RamSalvage(writer, this.#pages);
    this.#states = new StateSalvage(random, preamble);
    this.#tmem = new TmemSalvage(writer);
  }

  static async open(
    random: RandomAccess,
    preamble: Preamble,
    sink: ByteSink,
    about: JsonObject,
    options: SalvageOptions,
  ): Promise<TmigSalvage> {
    const { byteOrder, domainType, machine, pageSize } = preamble;
    const wordBits = preamble.wordBits === 32 ? 32 : 64;
    const writer = await StreamWriter.open(
      sink,
      { kind: 'core', byteOrder, wordBits, domainType, machine, pageSize, streamId: options.streamId, indexed: true },
      { ...about, ...options.about },
      { codec: options.codec },
    );
    return new TmigSalvage(random, preamble, writer);
  }

  async record(scanned: ScannedRecord): Promise<void> {
    const { header, body } = scanned;
    let record: StreamRecord;
    try {
      record = this.#decode(header, body);
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      await this.gap({
        kind: 'gap',
        offset: header.offset,
        bytes: scanned.headerBytes.byteLength + scanned.padded.byteLength,
        error,
        header,
        content: scanned.padded,
        lost: 0,
        harmless: false,
      });
      return;
    }
    this.#proven++;
    this.#hints.seen(header);
    if (record.kind === 'RAM') await this.#batch(scanned, record);
    else if (!this.#states.add(record, header.offset) && !(await this.#tmem.add(record, header.type, body))) {
      await this.#other(record, header, body);
    }
  }

  #decode(header: RecordHeader, body: Uint8Array): StreamRecord {
    const { type } = header;
    if (!RECORDS.has(type) && (isLocal(type) ? !this.#dictionary.has(numberOf(type)) : !isOptional(type))) {
      throw new TransmigrateError('UNKNOWN_RECORD', 'Nothing says what this record is', {
        offset: header.offset,
        path: recordPath(header),
        section: '3.4',
      });
    }
    return decodeBody(header, body, {
      preamble: this.#preamble,
      poolOf: (incarnation) => {
        const pool = this.#tmem.pools.get(incarnation);
        if (pool !== undefined && pool.ephemeral === isOptional(type)) return pool;
        throw new TransmigrateError('TMEM_UNKNOWN_POOL', `The pool of incarnation ${incarnation} is not there`, {
          offset: header.offset,
          path: recordPath(header),
          section: '4',
        });
      },
      dictionaryOf: (wanted) => this.#dictionary.get(numberOf(wanted)),
    });
  }

  async #batch({ header, body, padded }: ScannedRecord, batch: RamBatch): Promise<void> {
    if (batch.checksums(padded).wrongUnit < 0 && this.#ram.decodes(batch)) {
      await this.#writer.copy(TYPE.ram, body);
      for (let extent = 0; extent < batch.extents; extent++) {
        const present = hasData(batch.extentClass(extent));
        this.#pages.named(batch.extentFirst(extent), batch.extentPages(extent), present);
      }
      return;
    }
    const error = new TransmigrateError('UNIT_CHECKSUM', 'A unit is not what it says', {
      offset: header.offset,
      path: recordPath(header),
      record: { sequence: header.sequence, name: 'RAM' },
    });
    await this.#part(batch, body, error, header.offset, 24 + padded.byteLength);
  }

  /** Takes what can be proven out of a batch. */
  async #part(
    batch: RamBatch,
    body: Uint8Array,
    error: TransmigrateError,
    offset: number,
    bytes: number,
  ): Promise<void> {
    const ranges = await this.#ram.part(batch, body);
    const lost = ranges.reduce((sum, { pages }) => sum + pages, 0);
    if (ranges.length > 0) this.#pages.gap({ exact: true, ranges });
    this.#wrong++;
    this.#skipped.add(offset, bytes, error, 0, batch.pages - lost);
  }

  async #other(record: StreamRecord, { type, offset }: RecordHeader, body: Uint8Array): Promise<void> {
    switch (record.kind) {
      case 'DICTIONARY':
        if (this.#dictionary.has(record.record) || this.#dictionary.size === LIMITS.dictionaryBindings) break;
        this.#dictionary.set(record.record, record);
        await this.#writer.copy(type, body);
        break;
      case 'UNKNOWN':
        await this.#writer.copy(type, body);
        break;
      case 'INDEX':
        this.#resolve(this.#hints.index(record, offset));
        break;
      case 'INDEX_ROOT':
        this.#resolve(this.#hints.root(record));
        break;
      case 'CHECKPOINT':
        this.#guestTimeNs = record.guestTimeNs;
        break;
      case 'ROUND':
        this.#rounds++;
        break;
      case 'ORIGIN':
        this.#leftOut.add('ORIGIN');
        break;
      case 'END':
        this.#ended = true;
        break;
      default:
        // Seals and barriers are of the stream, and not of the machine.
        break;
    }
  }

  /** An index has said what was lost. */
  #resolve(hints: readonly Hint[]): void {
    for (const { gap, ranges, tmem, states } of hints) {
      this.#pages.resolve(gap.pages, { exact: false, ranges });
      if (tmem) this.#tmem.doubtful = true;
      if (states) this.#statesDoubtful = true;
    }
  }

  async gap(gap: ScannedGap): Promise<void> {
    const { offset, bytes, error, header, content, lost, harmless } = gap;
    if (header !== null) this.#hints.seen(header);
    if (error.code === 'TRUNCATED') {
      if (this.#ended) return;
      this.#cutAt = this.#random.size;
    }
    const batch =
      content === null
        ? undefined
        : header === null
          ? batchWithoutHeader(content, this.#preamble.pageSize, offset)
          : header.type === TYPE.ram
            ? batchOf(content.subarray(0, header.length), header.length, this.#preamble.pageSize, offset)
            : undefined;
    if (batch !== undefined && !harmless) {
      this.#proven++;
      await this.#part(batch, content!, error, offset, bytes);
      if (error.code === 'TRUNCATED') this.#afterCut();
      return;
    }
    this.#skipped.add(offset, bytes, error, lost);
    // Behind END only the index stands.
    if (harmless || this.#ended) return;
    this.#wrong++;
    if (error.code === 'TRUNCATED' && header?.type !== TYPE.ram) this.#afterCut();
    else if (header === null || header.type === TYPE.ram) this.#unknown(gap);
    else this.#known(header.type);
  }

  /** Behind a cut a page may have been sent again, where it is a stream that does that. */
  #afterCut(): void {
    if (this.#preamble.kind === 'migration' || this.#rounds > 0) this.#pages.gap(null);
    this.#tmem.doubtful = true;
    this.#statesDoubtful = true;
  }

  /** Nobody knows which pages, or what at all, until an index says it. */
  #unknown({ offset, bytes, header }: ScannedGap): void {
    const hinted: HintedGap = { offset, end: offset + bytes, pages: this.#pages.gap(null), isRam: header !== null };
    this.#hints.gap(hinted);
  }

  #known(type: number): void {
    if (isTmem(type)) {
      this.#tmem.lostRecords++;
      this.#tmem.doubtful = true;
    } else if (([TYPE.vcpuX86, TYPE.vcpuState, TYPE.cpuid, TYPE.msr, TYPE.disk] as readonly number[]).includes(type)) {
      this.#statesDoubtful = true;
    }
  }

  async done(mendedAt: number | null): Promise<SalvageMap> {
    if (this.#proven === 0) throw this.#skipped.error ?? new TransmigrateError('TRUNCATED', 'The image has no records');
    const unknown = this.#hints.unresolved();
    if (unknown.some(({ isRam }) => !isRam)) {
      this.#tmem.doubtful = true;
      this.#statesDoubtful = true;
    }
    const { kept, lost, vcpus } = await this.#states.write(this.#writer);
    await this.#writer.checkpoint(this.#guestTimeNs);
    await this.#writer.end();
    const whole = this.#wrong === 0 && this.#ended && mendedAt === null;
    return {
      version: 1,
      whole,
      skipped: this.#skipped.first,
      skippedCount: this.#skipped.count,
      mendedAt,
      cutAt: this.#cutAt,
      unknownLost: unknown.length > 0,
      memory: this.#pages.done(),
      statesDoubtful: this.#statesDoubtful,
      vcpus,
      devices: { kept, lost },
      tmem: this.#tmem.done(),
      leftOut: [...this.#leftOut],
    };
  }
}
