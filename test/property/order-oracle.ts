/**
 * The order rules of stream 4 a second time, from the specification and over raw records, to compare the decoder with.
 * One channel, direction forward, bodies that are right by themselves, seals and counts that were repaired.
 */
import { viewOf, type RawRecord } from '../support/raw-stream.ts';

const OPTIONAL = 0x8000_0000;
const INDEX = OPTIONAL + 8;
const INDEX_ROOT = OPTIONAL + 9;
const ORIGIN = OPTIONAL + 0x50;

export interface Verdict {
  /** Position of the first record that breaks a rule. */
  readonly position: number;
  /** Codes that the specification lets a reader report: more than one when two rules of the header are broken. */
  readonly codes: readonly string[];
}

export interface Facts {
  readonly indexed: boolean;
  /** Whether the domain type may have tmem. */
  readonly tmem: boolean;
}

/** The first violation, or undefined when the order is right. */
export function firstViolation(facts: Facts, records: readonly RawRecord[]): Verdict | undefined {
  const state = new State(facts);
  for (const [position, record] of records.entries()) {
    if (state.ended && !facts.indexed) return { position, codes: ['TRAILING_DATA'] };
    // Where the footer should be, anything else is a footer that is wrong or, when it is short, cut.
    if (state.rootSeen) return { position, codes: ['FOOTER', 'TRUNCATED'] };
    const header = state.headerFaults(record, position);
    if (header.length > 0) return { position, codes: header };
    const body = state.bodyFault(record);
    if (body !== '') return { position, codes: [body] };
    state.after(record);
  }
  return undefined;
}

class State {
  readonly #facts: Facts;
  ended = false;
  #previous = -1;
  rootSeen = false;
  #checkpoints = 0;
  #barriers = 0;
  #rounds = 0;
  #parts = 0;
  /** What came since the last checkpoint and may not stand before END. */
  #pending = false;
  #client = false;
  #lastIncarnation = 0n;
  readonly #bound = new Set<number>();
  readonly #once = new Set<string>();
  readonly #disks = new Set<number>();
  readonly #pools = new Map<bigint, number>();
  readonly #devices = new Map<number, { bytes: number; done: number }>();

  constructor(facts: Facts) {
    this.#facts = facts;
  }

  headerFaults({ type }: RawRecord, position: number): string[] {
    const number = type & 0x7fff_ffff;
    const faults = new Set<string>();
    const order = (broken: boolean): void => {
      if (broken) faults.add('RECORD_ORDER');
    };
    const sealed = this.#previous === 3 || this.#previous === 4;
    order(this.ended && (type !== INDEX_ROOT || this.rootSeen));
    order((type === 1) !== (position === 0));
    order(type === 0x0a);
    order(type === INDEX_ROOT && !this.ended);
    order(type === INDEX && !this.#facts.indexed);
    order(number >= 0x4000 && number <= 0x7fff && !this.#bound.has(number));
    order(type === 4 && this.#previous !== 3);
    order((type === 6 || type === 7) && !sealed);
    order(type === 6 && [...this.#devices.values()].some(({ bytes, done }) => done < bytes));
    order(type === 7 && this.#checkpoints > 0 && this.#pending);
    if (type === 7 && this.#checkpoints === 0) faults.add('NO_CHECKPOINT');
    if (number >= 0x40 && number <= 0x43 && !this.#facts.tmem) faults.add('TMEM_NOT_ALLOWED');
    return [...faults];
  }

  bodyFault({ type, body }: RawRecord): string {
    const view = viewOf(body);
    const ascends = (found: bigint | number, expected: number): string =>
      BigInt(found) === BigInt(expected) ? '' : 'RECORD_ORDER';
    const once = (what: string): string => (this.#once.has(what) ? 'DUPLICATE' : '');
    switch (type & 0x7fff_ffff) {
      case 0x02: {
        const { record } = JSON.parse(Buffer.from(body).toString()) as { record: number };
        return this.#bound.has(record) ? 'DUPLICATE' : '';
      }
      case 0x04:
        return ascends(view.getBigUint64(0, true), this.#barriers + 1);
      case 0x05:
        return ascends(view.getBigUint64(0, true), this.#rounds);
      case 0x06:
        return ascends(view.getBigUint64(0, true), this.#checkpoints + 1);
      case 0x20:
      case 0x21:
      case 0x22:
      case 0x23:
      case 0x30:
        return once(keyOf(type, view));
      case 0x31: {
        const device = this.#devices.get(view.getUint32(0, true));
        const offset = Number(view.getBigUint64(8, true));
        if (device === undefined || device.done === device.bytes || offset !== device.done) return 'RECORD_ORDER';
        return offset + view.getUint32(16, true) > device.bytes ? 'LENGTH_MISMATCH' : '';
      }
      case 0x32:
        return this.#disks.has(view.getUint32(0, true)) ? 'DUPLICATE' : '';
      case 0x40:
        return this.#client ? 'DUPLICATE' : '';
      case 0x41: {
        if (!this.#client) return 'RECORD_ORDER';
        const taken = [...this.#pools.values()].includes(view.getUint32(8, true));
        return taken || view.getBigUint64(0, true) <= this.#lastIncarnation ? 'DUPLICATE' : '';
      }
      case 0x42:
      case 0x43:
        return this.#pools.has(view.getBigUint64(0, true)) ? '' : 'TMEM_UNKNOWN_POOL';
      case 0x50:
        return ascends(view.getUint32(0, true), this.#parts);
      default:
        return '';
    }
  }

  after({ type, body }: RawRecord): void {
    const view = viewOf(body);
    const number = type & 0x7fff_ffff;
    this.#previous = type;
    if (type < OPTIONAL ? ![1, 2, 3, 4, 6, 7].includes(type) : number >= 0x40 && number <= 0x43) this.#pending = true;
    switch (number) {
      case 0x02:
        this.#bound.add((JSON.parse(Buffer.from(body).toString()) as { record: number }).record);
        break;
      case 0x04:
        this.#barriers++;
        break;
      case 0x05:
        this.#rounds++;
        break;
      case 0x06:
        this.#checkpoints++;
        this.#pending = false;
        this.#once.clear();
        break;
      case 0x07:
        this.ended = true;
        break;
      case 0x09:
        this.rootSeen = true;
        break;
      case 0x20:
      case 0x21:
      case 0x22:
      case 0x23:
      case 0x30:
        this.#once.add(keyOf(type, view));
        if (number === 0x30) {
          this.#devices.set(view.getUint32(0, true), { bytes: Number(view.getBigUint64(8, true)), done: 0 });
        }
        break;
      case 0x31:
        this.#devices.get(view.getUint32(0, true))!.done += view.getUint32(16, true);
        break;
      case 0x32:
        this.#disks.add(view.getUint32(0, true));
        break;
      case 0x40:
        this.#client = true;
        break;
      case 0x41:
        this.#lastIncarnation = view.getBigUint64(0, true);
        this.#pools.set(this.#lastIncarnation, view.getUint32(8, true));
        break;
      case 0x43:
        if (view.getUint32(8, true) === 3) this.#pools.delete(view.getBigUint64(0, true));
        break;
      case ORIGIN & 0x7fff_ffff:
        this.#parts++;
        break;
      default:
        break;
    }
  }
}

function keyOf(type: number, view: DataView): string {
  if (type === 0x22 || type === 0x23) return `${type}`;
  return `${type} ${view.getUint32(0, true)} ${type === 0x21 ? view.getUint16(4, true) : ''}`;
}
