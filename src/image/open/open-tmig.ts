import type { RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { piecesOf } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import { decodePieces } from '../../stream/decode-pieces.ts';
import { IndexedImage } from '../../stream/indexed-image.ts';
import { PREAMBLE_BYTES, type Preamble } from '../../stream/preamble.ts';
import { RecordStore } from '../../stream/record-store.ts';
import { isTmem, TYPE } from '../../stream/record-types.ts';
import type { Device } from '../../stream/records/device.ts';
import { decodeBody, type StreamRecord } from '../../stream/records/record.ts';
import { deviceChunks } from '../device-chunks.ts';
import { decodersFor } from '../read-channels.ts';
import { frameMapOf } from './frame-map.ts';
import { StateCollector } from './state-collector.ts';
import { TmigMemoryBuilder } from './tmig-memory.ts';
import { TmigTmem } from './tmig-tmem.ts';
import type { OpenedImage } from './opened-image.ts';

/** Types of records that are read when an image is opened by its index: small ones. */
const SMALL: ReadonlySet<number> = new Set([TYPE.vcpuX86, TYPE.vcpuState, TYPE.cpuid, TYPE.msr, TYPE.disk]);

/**
 * Opens an image of ours: by its index, where it has one that holds, else by reading it in order.
 * @param source can be read at any place. @param end only so far: the end of a checkpoint.
 * @throws the errors of the image
 */
export async function openTmig(
  source: ByteSource,
  work: Work,
  end?: number,
): Promise<Omit<OpenedImage, 'format' | 'nesting' | 'close'>> {
  const opening = new TmigOpening(source.random!);
  if (end !== undefined || !(await opening.byIndex())) await opening.inOrder(source, work, end);
  return opening.done();
}

class TmigOpening {
  readonly #random: RandomAccess;
  #state = new StateCollector();
  #memory = new TmigMemoryBuilder();
  #preamble: Preamble | undefined;
  #store: RecordStore | undefined;
  /** Offsets of the DEVICE_DATA records since the DEVICE of each number. */
  #chunks = new Map<number, number[]>();
  /** Offsets of the records of tmem, which are read when it is asked for. */
  #tmem: number[] = [];

  constructor(random: RandomAccess) {
    this.#random = random;
  }

  /** @returns false when there is no index that holds. */
  async byIndex(): Promise<boolean> {
    try {
      const indexed = await IndexedImage.open(this.#random);
      this.#begin(indexed.preamble);
      const about = await this.#store!.fetch(PREAMBLE_BYTES);
      this.#small(about.header.offset, decodeBody(about.header, about.body, this.#context()));
      for await (const entry of indexed.entries()) {
        if (entry.type === TYPE.ram) {
          this.#memory.add(await this.#store!.ramHead(entry.offset, indexed.preamble.pageSize), entry.offset);
        } else if (entry.type === TYPE.deviceData) {
          this.#chunk(entry.offset);
        } else if (isTmem(entry.type)) {
          this.#tmem.push(entry.offset);
        } else if (entry.type === TYPE.device || SMALL.has(entry.type)) {
          const { header, body } = await indexed.fetch(entry);
          this.#small(header.offset, decodeBody(header, body, this.#context()));
        }
      }
      return true;
    } catch (error) {
      if (!(error instanceof TransmigrateError) || error.code === 'READ_FAILED') throw error;
      // Reading in order says what is wrong, or finds all of it.
      this.#state = new StateCollector();
      this.#memory = new TmigMemoryBuilder();
      this.#chunks = new Map();
      this.#tmem = [];
      return false;
    }
  }

  async inOrder(source: ByteSource, work: Work, end = Infinity): Promise<void> {
    const [decoder] = decodersFor([source], { knows: 'all' });
    for await (const { header, record } of decodePieces(piecesOf(this.#random), decoder)) {
      if (work.signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'Reading was cancelled');
      if (this.#preamble === undefined) this.#begin(decoder.preamble!);
      if (record.kind === 'RAM') this.#memory.add(record, header.offset);
      else if (record.kind === 'DEVICE_DATA') this.#chunk(header.offset);
      else if (isTmem(header.type)) this.#tmem.push(header.offset);
      else this.#small(header.offset, record);
      if (record.kind === 'CHECKPOINT' && decoder.offset >= end) return;
    }
  }

  async done(): Promise<Omit<OpenedImage, 'format' | 'nesting' | 'close'>> {
    const head = this.#state.head!;
    const rest = this.#state.done();
    const pfnOfFrame = (await frameMapOf(rest.devices))?.of;
    const memory = this.#memory.done(this.#random, this.#preamble!, pfnOfFrame);
    const tmem = this.#tmem.length === 0 ? null : new TmigTmem(this.#random, this.#preamble!, this.#tmem);
    return { kind: this.#preamble!.kind, head, about: head.about, memory, ...rest, tmem };
  }

  #begin(preamble: Preamble): void {
    this.#preamble = preamble;
    this.#store = new RecordStore(this.#random, preamble.checksum, 4);
  }

  #context(): Parameters<typeof decodeBody>[2] {
    return {
      preamble: this.#preamble!,
      poolOf: () => {
        throw new RangeError('tmem is not read here');
      },
      dictionaryOf: () => undefined,
    };
  }

  #chunk(offset: number): void {
    // Of whichever device it is: that is in its body, which is read when a device is asked for.
    for (const offsets of this.#chunks.values()) offsets.push(offset);
  }

  #small(offset: number, record: StreamRecord): void {
    switch (record.kind) {
      case 'ABOUT': {
        const { domainType, byteOrder, machine, pageSize, wordBits } = this.#preamble!;
        const { about } = record;
        const bits = wordBits === 32 ? 32 : 64;
        const isCore = this.#preamble!.kind === 'core';
        this.#state.add({ kind: 'head', isCore, domainType, byteOrder, wordBits: bits, machine, pageSize, about });
        break;
      }
      case 'VCPU_X86':
        this.#state.add({ kind: 'vcpu', vcpu: record });
        break;
      case 'VCPU_STATE': {
        const { vcpu, state: stateKind, bytes: content } = record;
        this.#state.add({ kind: 'vcpu-state', vcpu, stateKind, content });
        break;
      }
      case 'X86_CPUID':
        this.#state.add({ kind: 'cpuid', leaves: record.leaves });
        break;
      case 'X86_MSR':
        this.#state.add({ kind: 'msrs', msrs: record.msrs });
        break;
      case 'DISK':
        this.#state.add({ kind: 'disk', disk: record });
        break;
      case 'DEVICE':
        this.#device(record);
        break;
      default:
        break;
    }
  }

  #device(record: Device): void {
    const { device, name, format, version, fingerprint, bytes } = record;
    const offsets: number[] = [];
    this.#chunks.set(device, offsets);
    const store = this.#store!;
    this.#state.device({
      name,
      format,
      version,
      fingerprint: fingerprint.slice(),
      bytes,
      chunks: () => deviceChunks(store, offsets, device, bytes),
    });
  }
}
