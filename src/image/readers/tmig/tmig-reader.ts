import { TransmigrateError } from '../../../errors.ts';
import type { ByteSource } from '../../../io/source.ts';
import { watchedPieces, type Work } from '../../../io/work.ts';
import { decodePieces } from '../../../stream/decode-pieces.ts';
import type { DecodedRecord, StreamDecoder } from '../../../stream/decoder.ts';
import { RecordStore } from '../../../stream/record-store.ts';
import type { Device } from '../../../stream/records/device.ts';
import { contentOf } from '../../../stream/records/stored.ts';
import type { ImageEvent } from '../../model/event.ts';
import type { ImageFinding, ImageReader, ReaderOptions } from '../../model/reader.ts';
import { deviceChunks } from '../../device-chunks.ts';
import { decodersFor } from '../../read-channels.ts';

/** Most bytes of device blobs that are held while their chunks come; more are read where they stand (model.md 3.2). */
const BLOBS_HELD_BYTES = 256 * 1024 * 1024;

/** A device whose chunks are still to come: what came is held, or, of a long one, where its records stand. */
interface OpenDevice {
  readonly device: Device;
  readonly places: number[] | undefined;
  content: Uint8Array;
  used: number;
}

/** Reads an image of ours as events of the model. Framing (seals, index) is no part of the model. */
export class TmigImageReader implements ImageReader {
  readonly format = 'tmig';
  readonly #source: ByteSource;
  readonly #options: ReaderOptions & Work;
  readonly #decoder: StreamDecoder;
  /** Device blobs whose chunks are still to come. */
  readonly #open = new Map<number, OpenDevice>();
  #held = 0;
  /** The names of devices, by number: a later state of one replaces it. */
  #checkpoint = 0;

  constructor(source: ByteSource, options: ReaderOptions & Work = {}) {
    this.#source = source;
    this.#options = options;
    [this.#decoder] = decodersFor([source], { knows: 'all' });
  }

  get offset(): number {
    return this.#decoder.offset;
  }

  get trailing(): { readonly bytes: number; readonly zero: boolean } {
    return { bytes: this.#decoder.trailing, zero: this.#decoder.trailingZero };
  }

  /** Complete checkpoints so far, and where the last ended. */
  get checkpoints(): { readonly complete: number; readonly end: number } {
    return { complete: this.#checkpoint, end: this.#checkpointEnd };
  }
  #checkpointEnd = 0;

  findings(): readonly ImageFinding[] {
    return [];
  }

  findingCounts(): ReadonlyMap<string, number> {
    return new Map();
  }

  async *events(): AsyncGenerator<ImageEvent, void, undefined> {
    const { end } = this.#options;
    for await (const decoded of decodePieces(watchedPieces(this.#source, this.#options), this.#decoder)) {
      yield* this.#event(decoded);
      if (end !== undefined && decoded.record.kind === 'CHECKPOINT' && this.#decoder.offset >= end) break;
    }
    yield { kind: 'end', bytes: this.#decoder.offset };
  }

  *#event({ header, record }: DecodedRecord): Generator<ImageEvent> {
    switch (record.kind) {
      case 'ABOUT': {
        // A preamble that can't be read on is refused with the next record.
        const preamble = this.#decoder.preamble!;
        const { domainType, byteOrder, machine, pageSize } = preamble;
        const wordBits = preamble.wordBits === 32 ? 32 : 64;
        const isCore = preamble.kind === 'core';
        yield { kind: 'head', isCore, domainType, byteOrder, wordBits, machine, pageSize, about: record.about };
        break;
      }
      case 'RAM':
        yield { kind: 'pages', bytesOffset: -1, runs: () => record.runs(this.#decoder.scratch) };
        break;
      case 'VCPU_X86':
        yield { kind: 'vcpu', vcpu: record };
        break;
      case 'VCPU_STATE':
        yield { kind: 'vcpu-state', vcpu: record.vcpu, stateKind: record.state, content: record.bytes };
        break;
      case 'X86_CPUID':
        yield { kind: 'cpuid', leaves: record.leaves };
        break;
      case 'X86_MSR':
        yield { kind: 'msrs', msrs: record.msrs };
        break;
      case 'DEVICE':
        this.#begin(record, header.offset);
        if (record.bytes === 0) yield* this.#finish(record.device);
        break;
      case 'DEVICE_DATA': {
        const open = this.#open.get(record.device)!;
        const content = contentOf(record, this.#decoder.scratch, { offset: header.offset, section: '9.2' });
        // The record's offset is where the last chunk ended: the decoder has checked that.
        if (open.places === undefined) this.#append(open, content);
        else {
          open.places.push(header.offset);
          open.used += content.byteLength;
        }
        if (open.used === open.device.bytes) yield* this.#finish(record.device);
        break;
      }
      case 'DISK':
        yield { kind: 'disk', disk: record };
        break;
      case 'TMEM_CLIENT':
      case 'TMEM_POOL':
      case 'TMEM_PAGES':
      case 'TMEM_INVALIDATE':
        yield { kind: 'tmem', record };
        break;
      case 'DICTIONARY':
      case 'LOCAL':
      case 'UNKNOWN':
        yield { kind: 'own-record', record };
        break;
      case 'ORIGIN': {
        const content = contentOf(record, this.#decoder.scratch, { offset: header.offset, section: '11' });
        yield { kind: 'origin', format: record.format, content };
        break;
      }
      case 'ROUND':
        yield { kind: 'round' };
        break;
      case 'CHECKPOINT':
        this.#checkpoint = record.number;
        this.#checkpointEnd = this.#decoder.offset;
        yield { kind: 'checkpoint', guestTimeNs: record.guestTimeNs, end: this.#checkpointEnd };
        break;
      default:
        break;
    }
  }

  #begin(device: Device, offset: number): void {
    const isLong = this.#held + device.bytes > BLOBS_HELD_BYTES;
    if (isLong && this.#source.random === null) {
      throw new TransmigrateError('LIMIT_EXCEEDED', `Device blobs of ${this.#held + device.bytes} bytes at once`, {
        offset,
        path: `device ${device.device}`,
        section: 'foreign/model 3.2',
        data: { limit: BLOBS_HELD_BYTES },
        next: 'Copy the image into a file, and read that: from there they need not be held.',
      });
    }
    if (!isLong) this.#held += device.bytes;
    this.#open.set(device.device, { device, places: isLong ? [] : undefined, content: new Uint8Array(0), used: 0 });
  }

  /** Memory grows with what has come, and not with what the header says. */
  #append(open: OpenDevice, chunk: Uint8Array): void {
    const used = open.used + chunk.byteLength;
    if (used > open.content.byteLength) {
      const larger = new Uint8Array(Math.min(open.device.bytes, Math.max(used, 2 * open.content.byteLength)));
      larger.set(open.content.subarray(0, open.used));
      open.content = larger;
    }
    open.content.set(chunk, open.used);
    open.used = used;
  }

  *#finish(number: number): Generator<ImageEvent> {
    const { device, content, places } = this.#open.get(number)!;
    this.#open.delete(number);
    const { name, format, version, fingerprint, bytes, sha256 } = device;
    if (places === undefined) {
      this.#held -= bytes;
      yield { kind: 'device', name, format, version, fingerprint, content };
      return;
    }
    const store = new RecordStore(this.#source.random!, this.#decoder.preamble!.checksum, 4);
    const chunks = (): AsyncIterable<Uint8Array> => deviceChunks(store, places, number, bytes);
    yield { kind: 'long-device', device: { name, format, version, fingerprint, bytes, sha256 }, chunks };
  }
}
