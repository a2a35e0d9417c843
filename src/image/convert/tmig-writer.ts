import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import type { CodecId } from '../../codec/codec.ts';
import { TransmigrateError } from '../../errors.ts';
import { StreamWriter } from '../../stream/writer.ts';
import { hasData } from '../../stream/records/ram.ts';
import type { TmemHandle } from '../../stream/records/tmem.ts';
import type { ImageEvent, ImageHead, PagesEvent, TmemEvent } from '../model/event.ts';
import type { OriginRecorder } from '../origin/recorder.ts';
import { HeldState, isState, type StateEvent } from './held-state.ts';

export interface TmigWriterOptions {
  /** 16 random bytes that name the stream. */
  readonly streamId: Uint8Array;
  /** How memory, devices and ORIGIN are stored. */
  readonly codec: CodecId;
  readonly level?: number | undefined;
  /** Threads that compress. */
  readonly threads?: number | undefined;
  /** What ABOUT says beside what the image says of itself: the tool and the time. */
  readonly about: JsonObject;
  /** What the image is to be: a machine that can go on, or what could be saved of one. Default `save`. */
  readonly kind?: 'save' | 'core' | undefined;
  /** What the foreign framing is written down by, and the format's name. */
  readonly origin?: { readonly format: string; readonly recorder: OriginRecorder } | undefined;
  /** Whether the ORIGIN of an image of ours is carried on: its pages come in the same order. */
  readonly keepsOrigin?: boolean | undefined;
}

/** Writes the events of any image as an image of ours, in one pass. */
export class TmigImageWriter {
  readonly #sink: ByteSink;
  readonly #options: TmigWriterOptions;
  #writer: StreamWriter | undefined;
  readonly #held = new HeldState();
  #isCore = false;
  readonly #devices = new Map<string, number>();
  /** Whether something stands after the last checkpoint that must stand before one. */
  #open = true;

  constructor(sink: ByteSink, options: TmigWriterOptions) {
    this.#sink = sink;
    this.#options = options;
  }

  /** Takes an event; its bytes are copied. @throws what the image has no place for, and what the sink throws */
  async event(event: ImageEvent): Promise<void> {
    if (event.kind === 'head') {
      await this.#begin(event);
      return;
    }
    const writer = this.#writer!;
    if (isState(event)) {
      // A device has its number by when it was named first, which is what a reader counts for ORIGIN.
      if (event.kind === 'device') this.#deviceNumber(event.name);
      this.#held.add(event);
      this.#open = true;
    } else {
      switch (event.kind) {
        case 'pages':
          await this.#pages(writer, event);
          this.#open = true;
          break;
        case 'long-device':
          await writer.longDevice({ device: this.#deviceNumber(event.device.name), ...event.device }, event.chunks());
          this.#open = true;
          break;
        case 'disk':
          await writer.disk(event.disk);
          this.#open = true;
          break;
        case 'tmem':
          await tmem(writer, event);
          this.#open = true;
          break;
        case 'own-record':
          await this.#own(writer, event.record);
          break;
        case 'origin':
          if (this.#options.keepsOrigin === true) await writer.origin(event.format, event.content);
          break;
        case 'round':
          // A core has none (stream 4).
          if (!this.#isCore) await writer.round();
          break;
        case 'pages-again':
          // For comparison only: nobody asked for them here.
          break;
        case 'checkpoint':
          await this.#checkpoint(writer, event.guestTimeNs);
          break;
        case 'end':
          await this.#end(writer);
          break;
      }
    }
    await this.#origin(writer, event.kind === 'end');
    if (event.kind === 'end') await writer.end();
  }

  async #begin(head: ImageHead): Promise<void> {
    const { domainType, byteOrder, wordBits, machine, pageSize } = head;
    const { streamId, codec, level, threads, about, kind = head.isCore ? 'core' : 'save' } = this.#options;
    this.#isCore = kind === 'core';
    this.#writer = await StreamWriter.open(
      this.#sink,
      { kind, byteOrder, wordBits, domainType, machine, pageSize, streamId, indexed: true },
      { ...head.about, ...about },
      { codec, ...(level !== undefined && { level }), ...(threads !== undefined && { threads }) },
    );
  }

  async #pages(writer: StreamWriter, event: PagesEvent): Promise<void> {
    for (const { firstPfn, pages, pageClass, source, at } of event.runs()) {
      if (source !== null) await writer.ram(firstPfn, pages, source, at, pageClass);
      else if (hasData(pageClass)) await writer.zero(firstPfn, pages, pageClass);
      else await writer.absent(firstPfn, pages, pageClass);
    }
  }

  async #own(writer: StreamWriter, record: Extract<ImageEvent, { kind: 'own-record' }>['record']): Promise<void> {
    if (record.kind === 'DICTIONARY') await writer.dictionary(record);
    else if (record.kind === 'LOCAL') await writer.local(record.dictionary.record, record.optional, record.body);
  }

  async #state(writer: StreamWriter, state: StateEvent): Promise<void> {
    switch (state.kind) {
      case 'vcpu':
        return writer.vcpu(state.vcpu);
      case 'vcpu-state':
        return writer.vcpuState(state.vcpu, state.stateKind, state.content);
      case 'cpuid':
        return writer.cpuid(state.leaves);
      case 'msrs':
        return writer.msrs(state.msrs);
      case 'device': {
        const { name, format, version, fingerprint } = state;
        return writer.device({ device: this.#deviceNumber(name), name, format, version, fingerprint }, state.content);
      }
    }
  }

  async #checkpoint(writer: StreamWriter, guestTimeNs: bigint): Promise<void> {
    for (const state of this.#held.take()) await this.#state(writer, state);
    await writer.checkpoint(guestTimeNs);
    this.#open = false;
  }

  /** An image that ended by itself is a machine at its end; one that was cut is that of its last checkpoint. */
  async #end(writer: StreamWriter): Promise<void> {
    if (this.#open) await this.#checkpoint(writer, 0n);
  }

  async #origin(writer: StreamWriter, all: boolean): Promise<void> {
    const { origin } = this.#options;
    if (origin === undefined) return;
    for (let part = origin.recorder.take(all); part !== undefined; part = origin.recorder.take(all)) {
      await writer.origin(origin.format, part);
    }
  }

  #deviceNumber(name: string): number {
    const number = this.#devices.get(name) ?? this.#devices.size;
    this.#devices.set(name, number);
    return number;
  }
}

async function tmem(writer: StreamWriter, { record }: TmemEvent): Promise<void> {
  switch (record.kind) {
    case 'TMEM_CLIENT':
      return writer.tmemClient(record);
    case 'TMEM_POOL':
      return writer.tmemPool(record);
    case 'TMEM_PAGES':
      return writer.tmemPages(record.pool.incarnation, record.body);
    case 'TMEM_INVALIDATE': {
      const handles: TmemHandle[] = [];
      for (let i = 0; i < record.count; i++) {
        const object = [record.objectWord(i, 0), record.objectWord(i, 1), record.objectWord(i, 2)] as const;
        handles.push({ object, index: record.index(i) });
      }
      return writer.tmemInvalidate(record.pool.incarnation, record.scope, handles);
    }
  }
}

/** @throws UNSUPPORTED_FEATURE: a machine of another byte order is read, and not carried over. */
export function refuseBigEndian(head: ImageHead): void {
  if (head.byteOrder === 'little') return;
  throw new TransmigrateError('UNSUPPORTED_FEATURE', 'The image is of a big-endian machine', {
    section: 'foreign/xen-libxc 1',
    next: 'No program restores such an image: see with `transmigrate inspect` what it is.',
  });
}
