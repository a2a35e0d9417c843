import { TransmigrateError } from '../errors.ts';
import type { RamSpan } from './index-builder.ts';
import { LIMITS } from './limits.ts';
import { isIndexed, type Preamble } from './preamble.ts';
import { recordBytes, recordPath, type RecordHeader } from './record-header.ts';
import { isLocal, isOptional, isTmem, numberOf, RECORDS, TYPE } from './record-types.ts';
import type { TmemPool } from './records/tmem.ts';
import type { StreamRecord } from './records/record.ts';

/** Records that a stream in direction back may hold, beside stream-local and unknown optional ones (stream 4). */
const BACK: ReadonlySet<number> = new Set([TYPE.about, TYPE.dictionary, TYPE.ack, TYPE.seal, TYPE.end]);

/**
 * The order rules of one channel (stream 4, 14.1), as a state that both the reader and the writer drive: the reader to
 * refuse, the writer to assert. Its memory is bounded by the tables of stream 15.
 */
export class OrderRules {
  readonly #preamble: Preamble;
  #previous = -1;
  /** A run of meeting records behind a BARRIER: further ones need no BARRIER of their own. */
  #inMeeting = false;
  #sealed = 0;
  #ended = false;
  #rootSeen = false;
  #checkpoints = 0;
  /** Something that belongs to a machine came since the last checkpoint. */
  #dirty = false;
  #barriers = 0;
  #rounds = 0;
  #originParts = 0;
  #clientSeen = false;
  #lastIncarnation = 0n;
  readonly #numbers = new Set<number>();
  readonly #disks = new Set<number>();
  readonly #acks = new Map<number, number>();
  /** Per-checkpoint uniqueness: vCPU records and devices. */
  readonly #once = new Set<string>();
  readonly #devices = new Map<number, { bytes: number; done: number }>();
  /** Pools that live, by incarnation. */
  readonly #pools = new Map<bigint, TmemPool>();

  constructor(preamble: Preamble) {
    this.#preamble = preamble;
  }

  /** Whether END was seen. */
  get ended(): boolean {
    return this.#ended;
  }

  get checkpoints(): number {
    return this.#checkpoints;
  }

  /** Bytes of records since the last SEAL (stream 5.4). */
  get unsealed(): number {
    return this.#sealed;
  }

  /** Persistent and ephemeral pools that live. */
  get pools(): ReadonlyMap<bigint, TmemPool> {
    return this.#pools;
  }

  /** The pool that a tmem record speaks of. @throws TMEM_UNKNOWN_POOL, FIELD_VALUE for a record of the other form. */
  poolOf(incarnation: bigint, header: RecordHeader): TmemPool {
    const pool = this.#pools.get(incarnation);
    if (pool === undefined) {
      throw this.#error('TMEM_UNKNOWN_POOL', header, `no pool of incarnation ${incarnation} lives here`);
    }
    if (pool.ephemeral !== isOptional(header.type)) {
      throw this.#error('FIELD_VALUE', header, 'the record has the form of another kind of pool');
    }
    return pool;
  }

  /** What a header alone decides: the order, then the seal interval (stream 3.1). */
  checkHeader(header: RecordHeader): void {
    const { type } = header;
    const wrong = this.#orderFault(header);
    if (wrong !== '') throw this.#error('RECORD_ORDER', header, wrong);
    if (isTmem(type) && !['pv', 'emulated-tmem'].includes(this.#preamble.domainType)) {
      const what = `a domain of type ${this.#preamble.domainType} has no tmem`;
      throw this.#error('TMEM_NOT_ALLOWED', header, what);
    }
    if (type === TYPE.end && this.#preamble.direction === 'forward' && this.#checkpoints === 0) {
      throw this.#error('NO_CHECKPOINT', header, 'the stream ends without a checkpoint');
    }
    if (type !== TYPE.seal && !this.#ended && this.#sealed + recordBytes(header.length) > LIMITS.sealInterval) {
      throw this.#error('SEAL_MISSING', header, `more than ${LIMITS.sealInterval} bytes without a seal`);
    }
  }

  #orderFault(header: RecordHeader): string {
    const { type } = header;
    const preamble = this.#preamble;
    if (this.#ended && !(type === TYPE.indexRoot && isIndexed(preamble) && !this.#rootSeen)) {
      return 'only the index root follows END';
    }
    if ((type === TYPE.about) !== (header.sequence === 0)) {
      return type === TYPE.about ? 'ABOUT is the first record only' : 'the first record is not ABOUT';
    }
    if (preamble.direction === 'back' ? RECORDS.has(type) && !BACK.has(type) : type === TYPE.ack) {
      return `it has no place in direction ${preamble.direction}`;
    }
    if (isLocal(type) && !this.#numbers.has(numberOf(type))) return 'no DICTIONARY has named its number yet';
    switch (type) {
      case TYPE.barrier:
        if (this.#previous !== TYPE.seal) return 'a BARRIER follows its SEAL directly';
        break;
      case TYPE.checkpoint:
      case TYPE.end:
        if (this.#previous !== TYPE.seal && this.#previous !== TYPE.barrier)
          return 'it follows a SEAL or BARRIER directly';
        if (type === TYPE.end && this.#dirty && this.#checkpoints > 0 && preamble.direction === 'forward') {
          return 'state of the machine came after the last checkpoint';
        }
        break;
      case TYPE.round:
        if (preamble.kind === 'core') return 'a core has no rounds';
        break;
      case TYPE.index:
        if (!isIndexed(preamble)) return 'the preamble says that there is no index';
        break;
      case TYPE.indexRoot:
        if (!this.#ended) return 'the index root follows END';
        break;
      case TYPE.origin:
        if (preamble.channel !== 0) return 'it belongs on channel 0';
        break;
      default:
        break;
    }
    if (type === TYPE.checkpoint) {
      for (const [number, device] of this.#devices) {
        if (device.done !== device.bytes) return `device ${number} is not complete`;
      }
    }
    if (RECORDS.get(type)?.meeting === true && !this.#atMeeting()) {
      return 'channels have not met: no BARRIER stands before it';
    }
    return '';
  }

  /** Whether a meeting record may stand here; in direction back END meets without a BARRIER (stream 14.1). */
  #atMeeting(): boolean {
    if (this.#preamble.channels === 1 || this.#preamble.direction === 'back') return true;
    return this.#previous === TYPE.barrier || this.#inMeeting;
  }

  /** What the body decides, and the step to the next state. To be called once for each record that was checked. */
  accept(header: RecordHeader, record: StreamRecord | RamSpan): void {
    const meeting = this.#acceptBody(header, record);
    const { type } = header;
    this.#inMeeting = type === TYPE.barrier || (this.#inMeeting && meeting);
    this.#previous = type;
    this.#sealed = type === TYPE.seal ? 0 : this.#sealed + recordBytes(header.length);
    const bearing = !isOptional(type) || isTmem(type);
    const marks = [
      TYPE.seal,
      TYPE.barrier,
      TYPE.dictionary,
      TYPE.about,
      TYPE.checkpoint,
      TYPE.end,
    ] as readonly number[];
    if (bearing && !marks.includes(type)) this.#dirty = true;
  }

  /** Returns whether the record was one at which channels meet. */
  #acceptBody(header: RecordHeader, record: StreamRecord | RamSpan): boolean {
    switch (record.kind) {
      case 'DICTIONARY':
        this.#bind(header, record.record);
        return false;
      case 'BARRIER':
        this.#next(header, record.number, ++this.#barriers);
        return true;
      case 'ROUND':
        this.#next(header, record.round, this.#rounds++);
        return true;
      case 'CHECKPOINT':
        this.#next(header, record.number, ++this.#checkpoints);
        this.#dirty = false;
        this.#once.clear();
        return true;
      case 'END':
        this.#ended = true;
        return true;
      case 'INDEX_ROOT':
        this.#rootSeen = true;
        return false;
      case 'ACK': {
        if (record.seal <= (this.#acks.get(record.channel) ?? 0)) {
          throw this.#error('RECORD_ORDER', header, `seal ${record.seal} is not above the one acknowledged before`);
        }
        this.#acks.set(record.channel, record.seal);
        return false;
      }
      case 'ORIGIN':
        this.#next(header, record.part, this.#originParts++);
        return false;
      case 'VCPU_X86':
        this.#unique(header, `vcpu ${record.vcpu}`);
        return false;
      case 'VCPU_STATE':
        this.#unique(header, `vcpu ${record.vcpu} state ${record.state}`);
        return false;
      case 'X86_CPUID':
      case 'X86_MSR':
        this.#unique(header, record.kind);
        return false;
      case 'DEVICE':
        this.#unique(header, `device ${record.device}`);
        this.#devices.set(record.device, { bytes: record.bytes, done: 0 });
        return false;
      case 'DEVICE_DATA':
        this.#advance(header, record.device, record.offset, record.bytes);
        return false;
      case 'DISK':
        if (this.#disks.has(record.disk)) throw this.#error('DUPLICATE', header, `disk ${record.disk} came before`);
        this.#disks.add(record.disk);
        return false;
      case 'TMEM_CLIENT':
        if (this.#clientSeen) throw this.#error('DUPLICATE', header, 'a stream has one tmem client');
        this.#clientSeen = true;
        return true;
      case 'TMEM_POOL':
        this.#openPool(header, record);
        return true;
      case 'TMEM_INVALIDATE':
        return this.#invalidate(header, record.pool, record.scope === 'pool');
      default:
        return false;
    }
  }

  #next(header: RecordHeader, number: number, expected: number): void {
    if (number !== expected)
      throw this.#error('RECORD_ORDER', header, `its number is ${number}, ${expected} comes next`);
  }

  #unique(header: RecordHeader, what: string): void {
    if (this.#once.has(what)) throw this.#error('DUPLICATE', header, `${what} came before, since the last checkpoint`);
    if (this.#once.size === LIMITS.statesBetweenCheckpoints) {
      throw this.#error(
        'LIMIT_EXCEEDED',
        header,
        `more than ${LIMITS.statesBetweenCheckpoints} states of processors and devices`,
      );
    }
    this.#once.add(what);
  }

  #bind(header: RecordHeader, number: number): void {
    if (this.#numbers.has(number)) {
      throw this.#error('DUPLICATE', header, `number 0x${number.toString(16)} has a name already`);
    }
    if (this.#numbers.size === LIMITS.dictionaryBindings) {
      throw this.#error('LIMIT_EXCEEDED', header, `more than ${LIMITS.dictionaryBindings} bindings`);
    }
    this.#numbers.add(number);
  }

  #advance(header: RecordHeader, number: number, offset: number, bytes: number): void {
    const device = this.#devices.get(number);
    if (device === undefined || device.done === device.bytes || offset !== device.done) {
      const what = device === undefined ? 'was not begun' : `is at byte ${device.done} of ${device.bytes}`;
      throw this.#error('RECORD_ORDER', header, `data at byte ${offset} of device ${number}, which ${what}`);
    }
    if (offset + bytes > device.bytes) {
      throw this.#error('LENGTH_MISMATCH', header, `device ${number} has ${device.bytes} bytes, and more came`);
    }
    device.done += bytes;
  }

  #openPool(header: RecordHeader, pool: TmemPool): void {
    if (!this.#clientSeen) throw this.#error('RECORD_ORDER', header, 'a pool before its client');
    if (pool.incarnation <= this.#lastIncarnation) {
      throw this.#error('DUPLICATE', header, `incarnation ${pool.incarnation} is not above every earlier one`);
    }
    for (const other of this.#pools.values()) {
      if (other.pool === pool.pool) throw this.#error('DUPLICATE', header, `slot ${pool.pool} is taken`);
    }
    this.#lastIncarnation = pool.incarnation;
    this.#pools.set(pool.incarnation, pool);
  }

  #invalidate(header: RecordHeader, pool: TmemPool, whole: boolean): boolean {
    if (!whole) return false;
    if (!this.#atMeeting()) {
      throw this.#error('RECORD_ORDER', header, 'channels have not met: no BARRIER stands before it');
    }
    this.#pools.delete(pool.incarnation);
    return true;
  }

  #error(
    code:
      | 'RECORD_ORDER'
      | 'SEAL_MISSING'
      | 'DUPLICATE'
      | 'LIMIT_EXCEEDED'
      | 'LENGTH_MISMATCH'
      | 'FIELD_VALUE'
      | 'NO_CHECKPOINT'
      | 'TMEM_NOT_ALLOWED'
      | 'TMEM_UNKNOWN_POOL',
    header: RecordHeader,
    what: string,
  ): TransmigrateError {
    const section = code === 'SEAL_MISSING' ? '5.4' : '4';
    return new TransmigrateError(code, `Out of place: ${what}`, {
      offset: header.offset,
      path: recordPath(header),
      section,
    });
  }
}
