import { equalBytes } from '../bytes/hex.ts';
import { crc32, isZeroRange, Sha256 } from '../codec/platform.ts';
import { TransmigrateError } from '../errors.ts';
import { Chain } from './chain.ts';
import { LIMITS } from './limits.ts';
import { OrderRules } from './order.ts';
import {
  checkMagic,
  decodePreamble,
  isIndexed,
  PREAMBLE_BYTES,
  readRawPreamble,
  refusalOf,
  type Preamble,
  type RawPreamble,
} from './preamble.ts';
import {
  HEADER_BYTES,
  headerChecksumHolds,
  paddingOf,
  recordBytes,
  recordPath,
  type RecordHeader,
} from './record-header.ts';
import { isLocal, isOptional, LOCAL_LAST, numberOf, OPTIONAL, RECORDS, TYPE } from './record-types.ts';
import { noCounts, type Counts } from './records/control.ts';
import type { Dictionary } from './records/dictionary.ts';
import { checkFooter, decodeFooter, FOOTER_BYTES } from './records/index-records.ts';
import { hasData, RamBatch } from './records/ram.ts';
import { decodeBody, type StreamRecord } from './records/record.ts';
import { contentOf } from './records/stored.ts';

/** What a decoder hands out: a record that passed all of its own checks, and where it stands. */
export interface DecodedRecord {
  readonly header: RecordHeader;
  readonly record: StreamRecord;
  /** The body, without padding. */
  readonly body: Uint8Array;
}

export interface DecoderOptions {
  /**
   * Names of stream-local records that the application understands. A mandatory one of another name is refused
   * (stream 3.4). `all` accepts every one that is named: for tools that only look.
   */
  readonly knows?: ReadonlySet<string> | 'all';
  /** The image may lie in a larger container: bytes after its end are counted, not refused (stream 13.4). */
  readonly container?: boolean;
}

type Phase = 'preamble' | 'judge' | 'header' | 'body' | 'footer' | 'done';

/**
 * Decodes one channel of a stream from bytes that come in pieces of any size (stream 18).
 *
 * Give it bytes with {@link feed}, take records with {@link read} until it returns undefined, and say with
 * {@link finish} that no more will come. Its memory is bounded by the limits of stream 15, whatever the input says, and
 * it keeps the last record only when that was split between two pieces.
 *
 * Any method throws a TransmigrateError on the first thing that is wrong; what {@link read} returned before was right.
 * After an error the decoder is used up.
 */
export class StreamDecoder {
  readonly #options: DecoderOptions;
  #phase: Phase = 'preamble';
  /** Stream offset of the next byte that is not consumed. */
  #offset = 0;
  /** Bytes that the caller gave and that are not consumed; borrowed until the next feed. */
  #input: Uint8Array = new Uint8Array(0);
  /** Start of something that was split between two pieces. */
  #split: Uint8Array = new Uint8Array(4096);
  #splitUsed = 0;
  #raw: RawPreamble | undefined;
  #preamble: Preamble | undefined;
  #refusal: TransmigrateError | undefined;
  #chain: Chain | undefined;
  #order: OrderRules | undefined;
  /** Of the record that is being read, as soon as it is known to be one of this place. */
  #header: RecordHeader | undefined;
  readonly #headerBytes = new Uint8Array(HEADER_BYTES);
  #sequence = 0;
  #seals = 0;
  #end: { offset: number; chain: Uint8Array } | undefined;
  #rootOffset = 0;
  #trailing = 0;
  #trailingZero = true;
  readonly #counts: Counts = noCounts();
  readonly #dictionary = new Map<number, Dictionary>();
  readonly #deviceHashes = new Map<number, { hash: Sha256; left: number; expected: Uint8Array }>();
  #scratch: Uint8Array | undefined;

  constructor(options: DecoderOptions = {}) {
    this.#options = options;
  }

  /**
   * What the preamble says; undefined until it came. Of a stream that will be refused: as far as this version can tell.
   */
  get preamble(): Preamble | undefined {
    return this.#preamble;
  }

  /** Bytes consumed so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Number of the record that comes next, counting from 0. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Whether the stream is whole: END, and the footer where there is one. */
  get complete(): boolean {
    return this.#phase === 'done';
  }

  /** Bytes after the end of an image in a container. */
  get trailing(): number {
    return this.#trailing;
  }

  /** Whether all of them are zero. */
  get trailingZero(): boolean {
    return this.#trailingZero;
  }

  /** Counts so far, as END will state them. */
  get counts(): Readonly<Counts> {
    return this.#counts;
  }

  /** The chain as of the last seal: what an acknowledgement carries (stream 6.6). */
  get chain(): Uint8Array | undefined {
    return this.#chain?.value;
  }

  /** Room for one compression unit, for {@link RamBatch.visit}. */
  get scratch(): Uint8Array {
    return (this.#scratch ??= new Uint8Array(LIMITS.chunkBytes));
  }

  /**
   * Gives more bytes. They are borrowed: records that {@link read} returns may be views into them, so they must not
   * change before `read` has returned undefined.
   */
  feed(bytes: Uint8Array): void {
    if (this.#input.byteLength > 0) throw new RangeError('read() until it returns undefined before more is fed');
    this.#input = bytes;
  }

  /**
   * The next record, or undefined when more bytes are needed or the stream is whole. It is valid until the next call.
   */
  read(): DecodedRecord | undefined {
    try {
      return this.#step();
    } catch (error) {
      throw this.#placed(error);
    }
  }

  #step(): DecodedRecord | undefined {
    for (;;) {
      switch (this.#phase) {
        case 'preamble': {
          const bytes = this.#gather(PREAMBLE_BYTES);
          if (bytes === undefined) {
            checkMagic(this.#split.subarray(0, this.#splitUsed), false);
            return undefined;
          }
          this.#takePreamble(bytes);
          break;
        }
        case 'judge':
          // ABOUT was handed on; now the rest of the preamble is judged (stream 2.1).
          if (this.#refusal !== undefined) throw this.#refusal;
          this.#preamble = decodePreamble(this.#raw!);
          this.#phase = 'header';
          break;
        case 'header': {
          const bytes = this.#gather(HEADER_BYTES);
          if (bytes === undefined) return undefined;
          this.#takeHeader(bytes);
          break;
        }
        case 'body': {
          const header = this.#header!;
          const padded = this.#gather(header.length + paddingOf(header.length));
          if (padded === undefined) return undefined;
          return { header, record: this.#takeBody(header, padded), body: padded.subarray(0, header.length) };
        }
        case 'footer': {
          const bytes = this.#gather(FOOTER_BYTES);
          if (bytes === undefined) return undefined;
          this.#takeFooter(bytes);
          break;
        }
        case 'done':
          this.#takeTrailing();
          return undefined;
      }
    }
  }

  /**
   * Says that no more bytes will come.
   * @throws TRUNCATED unless the stream is whole.
   */
  finish(): void {
    try {
      this.#mustBeDone();
    } catch (error) {
      throw this.#placed(error);
    }
  }

  /** An error with the record that is being read, unless it is about the preamble or the footer. */
  #placed(error: unknown): unknown {
    if (!(error instanceof TransmigrateError) || (this.#phase !== 'header' && this.#phase !== 'body')) return error;
    const { channels, channel } = this.#preamble!;
    const name = this.#header === undefined ? 'unknown' : this.#nameOf(this.#header.type);
    error.record ??= { sequence: this.#sequence, name, ...(channels > 1 && { channel }) };
    return error;
  }

  #nameOf(type: number): string {
    return RECORDS.get(type)?.name ?? this.#dictionary.get(numberOf(type))?.name ?? 'unknown';
  }

  #mustBeDone(): void {
    if (this.#phase === 'done') return;
    if (this.#phase === 'preamble') checkMagic(this.#split.subarray(0, this.#splitUsed), true);
    const total = this.#offset + (this.#phase === 'body' ? HEADER_BYTES : 0) + this.#splitUsed;
    const inRecord = this.#phase === 'body' ? recordPath(this.#header!) : `record ${this.#sequence}`;
    const where = this.#phase === 'footer' ? 'in the footer' : `in or before ${inRecord}`;
    throw new TransmigrateError('TRUNCATED', `The stream ends after ${total} bytes, ${where}`, {
      offset: total,
      path: this.#phase === 'footer' ? 'footer' : inRecord,
      section: this.#phase === 'footer' ? '13.3' : '3.1',
    });
  }

  /** The next `length` bytes in one piece, or undefined when they are not all there: then what is there is kept. */
  #gather(length: number): Uint8Array | undefined {
    const input = this.#input;
    if (this.#splitUsed === 0 && input.byteLength >= length) {
      this.#input = input.subarray(length);
      return input.subarray(0, length);
    }
    const wanted = Math.min(length - this.#splitUsed, input.byteLength);
    const used = this.#splitUsed + wanted;
    if (used > this.#split.byteLength) {
      // Grows with what has come, never with what a length says.
      const larger = new Uint8Array(
        Math.min(Math.max(used, this.#split.byteLength * 2), recordBytes(LIMITS.recordBody)),
      );
      larger.set(this.#split.subarray(0, this.#splitUsed));
      this.#split = larger;
    }
    this.#split.set(input.subarray(0, wanted), this.#splitUsed);
    this.#input = input.subarray(wanted);
    this.#splitUsed = used;
    if (used < length) return undefined;
    this.#splitUsed = 0;
    return this.#split.subarray(0, length);
  }

  #takePreamble(bytes: Uint8Array): void {
    const raw = readRawPreamble(bytes.slice());
    this.#raw = raw;
    this.#refusal = refusalOf(raw);
    this.#preamble = decodePreamble(raw, true);
    this.#chain = new Chain(raw.bytes);
    this.#order = new OrderRules(this.#preamble);
    this.#offset = PREAMBLE_BYTES;
    this.#phase = 'header';
  }

  #takeHeader(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
    const header: RecordHeader = {
      type: view.getUint32(0, true),
      length: view.getUint32(4, true),
      sequence: this.#sequence,
      offset: this.#offset,
      bodyChecksum: view.getUint32(16, true),
    };
    const where = { offset: header.offset, path: `record ${this.#sequence}`, section: '3.1' };
    if (!headerChecksumHolds(bytes)) {
      throw new TransmigrateError('HEADER_CHECKSUM', 'The checksum of a record header does not match', where);
    }
    if (view.getUint32(12, true) !== this.#raw!.checksum) {
      throw new TransmigrateError('RECORD_FOREIGN', 'A record of another stream or channel stands here', where);
    }
    const sequence = view.getUint32(8, true);
    if (sequence !== this.#sequence) {
      const data = { expected: this.#sequence, found: sequence };
      const what = `Record ${this.#sequence} should stand here, and it is number ${sequence}`;
      throw new TransmigrateError('RECORD_SEQUENCE', what, { ...where, data });
    }
    this.#header = header;
    checkType(header);
    const limit = RECORDS.get(header.type)?.limit ?? LIMITS.recordBody;
    if (header.length > limit) {
      const what = `A body of ${header.length} bytes, the limit of its type is ${limit}`;
      throw new TransmigrateError('LIMIT_EXCEEDED', what, { ...where, path: recordPath(header), section: '3.5' });
    }
    // Until ABOUT is read, only the framing counts: even a stream that will be refused can say what it is (stream 2.1).
    if (this.#sequence > 0) this.#order!.checkHeader(header);
    else if (header.type !== TYPE.about) this.#firstIsNotAbout(header);
    this.#refuseUnknown(header);
    this.#headerBytes.set(bytes);
    this.#phase = 'body';
  }

  #firstIsNotAbout(header: RecordHeader): never {
    if (this.#refusal !== undefined) throw this.#refusal;
    this.#order!.checkHeader(header);
    throw new RangeError('the order rules accept a first record that is not ABOUT');
  }

  /** UNKNOWN_RECORD for a mandatory record that this build or application does not know (stream 3.4). */
  #refuseUnknown(header: RecordHeader): void {
    const { type } = header;
    if (isOptional(type) || RECORDS.has(type)) return;
    const dictionary = this.#dictionary.get(numberOf(type));
    const { knows } = this.#options;
    if (dictionary !== undefined && isLocal(type) && (knows === 'all' || knows?.has(dictionary.name))) return;
    const name = dictionary?.name ?? `type 0x${type.toString(16).padStart(8, '0')}`;
    throw new TransmigrateError('UNKNOWN_RECORD', `The stream needs a record that is not known here: ${name}`, {
      offset: header.offset,
      path: recordPath(header),
      section: '3.4',
      data: { name, type, ...(dictionary !== undefined && { version: dictionary.version }) },
    });
  }

  #takeBody(header: RecordHeader, padded: Uint8Array): StreamRecord {
    const body = padded.subarray(0, header.length);
    const record = this.#checkedBody(header, body, padded);
    this.#order!.accept(header, record);
    this.#consume(header, record);
    this.#chain!.add(this.#headerBytes);
    this.#offset = header.offset + recordBytes(header.length);
    this.#sequence++;
    this.#phase = this.#nextPhase(header);
    this.#header = undefined;
    return record;
  }

  #nextPhase(header: RecordHeader): Phase {
    if (header.type === TYPE.indexRoot) return 'footer';
    if (header.sequence === 0) return 'judge';
    return header.type === TYPE.end && !isIndexed(this.#preamble!) ? 'done' : 'header';
  }

  #checkedBody(header: RecordHeader, body: Uint8Array, padded: Uint8Array): StreamRecord {
    const context = {
      preamble: this.#preamble!,
      poolOf: this.#order!.poolOf.bind(this.#order!),
      dictionaryOf: (type: number) => this.#dictionary.get(numberOf(type)),
    };
    if (header.type === TYPE.ram) return this.#checkedRam(header, body, padded, context);
    if (crc32(padded) !== header.bodyChecksum) throw bodyChecksumError(header);
    const record = decodeBody(header, body, context);
    if (record.kind !== 'UNKNOWN' || !isLocal(header.type)) return record;
    const dictionary = record.dictionary!;
    const { knows } = this.#options;
    return knows === 'all' || knows?.has(dictionary.name)
      ? { kind: 'LOCAL', dictionary, optional: isOptional(header.type), body }
      : record;
  }

  /** One pass over the bytes proves the body's CRC, the head's and the units' (stream 7.6). */
  #checkedRam(
    header: RecordHeader,
    body: Uint8Array,
    padded: Uint8Array,
    context: Parameters<typeof decodeBody>[2],
  ): StreamRecord {
    let batch: StreamRecord;
    try {
      batch = decodeBody(header, body, context);
    } catch (error) {
      // Something in the head is wrong: whether by damage or by its writer, the CRC of the whole tells.
      throw crc32(padded) === header.bodyChecksum ? error : bodyChecksumError(header);
    }
    if (!(batch instanceof RamBatch)) throw new RangeError('not a batch');
    const { body: found, wrongUnit } = batch.checksums(padded);
    if (found !== header.bodyChecksum) throw bodyChecksumError(header);
    if (wrongUnit >= 0) throw batch.unitError(wrongUnit);
    return batch;
  }

  /** What the decoder itself does with a record: seals, chains, counts, digests, bindings. */
  #consume(header: RecordHeader, record: StreamRecord): void {
    switch (record.kind) {
      case 'DICTIONARY':
        if (!RECORDS.has(record.record) && !RECORDS.has(record.record + OPTIONAL)) {
          this.#dictionary.set(record.record, record);
        }
        break;
      case 'SEAL': {
        const chain = this.#chain!.seal();
        const fault =
          record.number !== ++this.#seals
            ? `its number is ${record.number}, ${this.#seals} comes next`
            : record.offset !== header.offset
              ? `it says it stands at ${record.offset}`
              : equalBytes(record.chain, chain)
                ? ''
                : 'the records before it are not those that were sealed';
        if (fault !== '') throw this.#sealError('SEAL_MISMATCH', header, fault, '5.3');
        break;
      }
      case 'BARRIER':
        this.#checkOwnChain(header, record.chains);
        break;
      case 'END':
        this.#checkOwnChain(header, record.chains);
        this.#checkCounts(header, record.counts);
        this.#end = { offset: header.offset, chain: record.chains[0] };
        break;
      case 'INDEX_ROOT':
        this.#rootOffset = header.offset;
        break;
      case 'RAM':
        this.#countRam(record);
        break;
      case 'DEVICE':
        this.#beginDevice(header, record.device, record.bytes, record.sha256);
        break;
      case 'DEVICE_DATA': {
        const where = { offset: header.offset, path: recordPath(header), section: '9.2' };
        this.#addDevice(header, record.device, contentOf(record, this.scratch, where));
        break;
      }
      case 'ORIGIN':
        // Whoever does not need it skips it, but it is checked (stream 11).
        contentOf(record, this.scratch, { offset: header.offset, path: recordPath(header), section: '11' });
        break;
      case 'TMEM_PAGES':
        if (!record.pool.ephemeral) this.#counts.tmemPages += record.count;
        break;
      case 'TMEM_INVALIDATE':
        if (!record.pool.ephemeral) this.#counts.tmemInvalidations += Math.max(record.count, 1);
        break;
      default:
        break;
    }
  }

  #countRam(batch: RamBatch): void {
    this.#counts.ramPages += batch.dataPages;
    this.#counts.ramZeroPages += batch.zeroPages;
    for (let extent = 0; extent < batch.extents; extent++) {
      if (!hasData(batch.extentClass(extent))) this.#counts.ramAbsentPages += batch.extentPages(extent);
    }
  }

  #beginDevice(header: RecordHeader, device: number, bytes: number, expected: Uint8Array): void {
    this.#deviceHashes.set(device, { hash: new Sha256(), left: bytes, expected });
    if (bytes === 0) this.#addDevice(header, device, new Uint8Array(0));
  }

  #addDevice(header: RecordHeader, device: number, bytes: Uint8Array): void {
    const state = this.#deviceHashes.get(device)!;
    state.hash.update(bytes);
    state.left -= bytes.byteLength;
    this.#counts.deviceBytes += bytes.byteLength;
    if (state.left > 0) return;
    this.#deviceHashes.delete(device);
    if (!equalBytes(state.hash.digest(), state.expected)) {
      throw this.#sealError('DEVICE_DIGEST', header, `the SHA-256 of device ${device} does not match`, '9.2');
    }
  }

  #checkOwnChain(header: RecordHeader, chains: readonly Uint8Array[]): void {
    if (!equalBytes(chains[this.#preamble!.channel], this.#chain!.value)) {
      throw this.#sealError('CHAIN_VECTOR', header, 'its chain is not the one of this channel', '6.2');
    }
  }

  #checkCounts(header: RecordHeader, stated: Readonly<Counts>): void {
    this.#counts.records = header.sequence;
    for (const name of Object.keys(this.#counts) as (keyof Counts)[]) {
      if (stated[name] !== this.#counts[name]) {
        const what = `END states ${stated[name]} ${name}, and ${this.#counts[name]} came`;
        throw new TransmigrateError('END_COUNTS', what, {
          offset: header.offset,
          path: `${recordPath(header)}/${name}`,
          section: '6.5',
          data: { field: name, stated: stated[name], found: this.#counts[name] },
        });
      }
    }
  }

  #takeFooter(bytes: Uint8Array): void {
    const expected = {
      tag: this.#raw!.checksum,
      endOffset: this.#end!.offset,
      rootOffset: this.#rootOffset,
      length: this.#offset + FOOTER_BYTES,
      chainStart: this.#end!.chain,
    };
    checkFooter(decodeFooter(bytes, this.#offset), expected, this.#offset);
    this.#offset += FOOTER_BYTES;
    this.#phase = 'done';
  }

  #takeTrailing(): void {
    if (this.#input.byteLength === 0) return;
    this.#trailing += this.#input.byteLength;
    this.#trailingZero &&= isZeroRange(this.#input, 0, this.#input.byteLength);
    this.#input = new Uint8Array(0);
    if (this.#options.container === true) return;
    throw new TransmigrateError('TRAILING_DATA', 'Bytes stand after the end of the stream', {
      offset: this.#offset,
      path: 'end of stream',
      section: '4',
    });
  }

  #sealError(
    code: 'SEAL_MISMATCH' | 'CHAIN_VECTOR' | 'DEVICE_DIGEST',
    header: RecordHeader,
    what: string,
    section: string,
  ): TransmigrateError {
    return new TransmigrateError(code, `${recordPath(header)}: ${what}`, {
      offset: header.offset,
      path: recordPath(header),
      section,
    });
  }
}

function checkType(header: RecordHeader): void {
  const { type } = header;
  const number = numberOf(type);
  const otherForm = type >= OPTIONAL ? number : number + OPTIONAL;
  const wrong =
    number === 0 || number > LOCAL_LAST
      ? 'has a number outside 1 to 0x7FFF'
      : RECORDS.has(otherForm) && !RECORDS.has(type)
        ? 'has the wrong bit 31'
        : '';
  if (wrong === '') return;
  throw new TransmigrateError('FIELD_VALUE', `Record type 0x${type.toString(16).padStart(8, '0')} ${wrong}`, {
    offset: header.offset,
    path: `record ${header.sequence}/type`,
    section: '3.3',
  });
}

function bodyChecksumError(header: RecordHeader): TransmigrateError {
  return new TransmigrateError('BODY_CHECKSUM', 'The checksum of a record body does not match', {
    offset: header.offset,
    path: recordPath(header),
    section: '3.2',
  });
}
