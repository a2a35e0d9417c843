/**
 * Random streams with an account of what is in them. Steps are drawn by fast-check; a step that is not possible in the
 * state it meets (a pool where there is no client) does nothing, so that every list of steps is a stream, and so is
 * every list that shrinking makes of it. The account is kept here, from what was given to the writer, and never asks
 * the library.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { CODEC, encodeInto, type CodecId } from '../../src/codec/codec.ts';
import { MemorySink } from '../../src/io/memory.ts';
import { StreamDecoder, type DecodedRecord, type DecoderOptions } from '../../src/stream/decoder.ts';
import type { PreambleChoice } from '../../src/stream/preamble.ts';
import { contentOf } from '../../src/stream/records/stored.ts';
import { CONTROL, DEBUG, GENERAL, SEGMENTS, SYSCALL, type RegisterName } from '../../src/stream/records/vcpu.ts';
import { StreamWriter } from '../../src/stream/writer.ts';
import type { WriterOptions } from '../../src/stream/writer-options.ts';
import { random } from './random.ts';

const MIB = 1024 * 1024;
const DATA_CLASSES = [0, 0, 0, 0, 1, 2, 3, 4, 9, 10, 11, 12];
const ABSENT_CLASSES = [0x80, 0x81, 0x82, 0x83];
const CODECS = [CODEC.raw, CODEC.zstd, CODEC.deflate, CODEC.lz4, CODEC.lzo1x] as const;
const LAST_PFN = 2 ** 52 - 1;
const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** What a stream is like as a whole. */
export interface Shape {
  readonly pageShift: number;
  readonly codec: CodecId;
  readonly threads: number;
  readonly indexed: boolean;
  readonly migration: boolean;
  readonly bigEndian: boolean;
  readonly domain: PreambleChoice['domainType'];
  readonly machine: number;
  readonly sealInterval: number;
}

export type Step =
  | { do: 'ram'; at: number; pageClass: number; pages: readonly number[] }
  | { do: 'absent'; at: number; pageClass: number; count: number }
  | { do: 'vcpu'; vcpu: number; groups: number; seed: number }
  | { do: 'vcpu-state'; vcpu: number; state: number; bytes: number }
  | { do: 'policy'; msrs: boolean; count: number }
  | { do: 'device'; device: number; bytes: number; content: number }
  | { do: 'disk'; disk: number; policy: number; text: string }
  | { do: 'client'; uuids: number; weight: number }
  | { do: 'pool'; slot: number; flags: number; skip: number }
  | { do: 'page'; pool: number; codec: number; objects: readonly number[]; content: number; length: number }
  | { do: 'invalidate'; pool: number; scope: number; objects: readonly number[] }
  | { do: 'origin'; bytes: number; content: number }
  | { do: 'dictionary'; number: number; schema: boolean }
  | { do: 'local'; number: number; optional: boolean; bytes: number }
  | { do: 'round' }
  | { do: 'seal' }
  | { do: 'barrier' }
  | { do: 'checkpoint'; time: number };

export interface Story {
  readonly shape: Shape;
  readonly steps: readonly Step[];
}

/** A stream, what is in it record by record, and what END says. */
export interface Told {
  readonly bytes: Uint8Array;
  readonly events: string[];
  readonly counts: Record<string, number>;
}

const byte = fc.nat(255);

function stepArbitrary(small: boolean): fc.Arbitrary<Step> {
  const pages = fc.array(fc.nat(11), { minLength: 1, maxLength: small ? 4 : 24 });
  const objects = fc.array(fc.nat(5), { minLength: 1, maxLength: small ? 3 : 12 });
  const choice = <T extends Step>(weight: number, model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => ({
    weight,
    arbitrary: fc.record(model) as unknown as fc.Arbitrary<Step>,
  });
  const just = <K extends Step['do']>(name: K): fc.Arbitrary<K> => fc.constant(name);
  return fc.oneof(
    choice(8, { do: just('ram'), at: fc.nat(40), pageClass: byte, pages }),
    choice(2, { do: just('absent'), at: fc.nat(40), pageClass: byte, count: fc.integer({ min: 1, max: 70_000 }) }),
    choice(2, { do: just('vcpu'), vcpu: fc.nat(3), groups: fc.nat(4095), seed: byte }),
    choice(1, { do: just('vcpu-state'), vcpu: fc.nat(3), state: fc.nat(4), bytes: fc.nat(700) }),
    choice(1, { do: just('policy'), msrs: fc.boolean(), count: fc.integer({ min: 1, max: 20 }) }),
    choice(2, { do: just('device'), device: fc.nat(3), bytes: fc.nat(small ? 200 : 9000), content: fc.nat(11) }),
    choice(1, {
      do: just('disk'),
      disk: fc.nat(5),
      policy: byte,
      text: fc.string({ unit: 'grapheme', maxLength: 12 }),
    }),
    choice(4, { do: just('client'), uuids: fc.nat(16), weight: fc.nat(1000) }),
    choice(6, { do: just('pool'), slot: fc.nat(3), flags: fc.nat(31), skip: fc.nat(2) }),
    choice(8, { do: just('page'), pool: byte, codec: byte, objects, content: fc.nat(11), length: fc.nat(65_536) }),
    choice(4, { do: just('invalidate'), pool: byte, scope: fc.nat(5), objects }),
    choice(1, { do: just('origin'), bytes: fc.nat(small ? 100 : 5000), content: fc.nat(11) }),
    choice(2, { do: just('dictionary'), number: fc.nat(3), schema: fc.boolean() }),
    choice(3, { do: just('local'), number: fc.nat(3), optional: fc.boolean(), bytes: fc.nat(small ? 30 : 300) }),
    choice(1, { do: just('round') }),
    choice(1, { do: just('seal') }),
    choice(1, { do: just('barrier') }),
    choice(2, { do: just('checkpoint'), time: fc.nat() }),
  );
}

/** Stories of streams. @param small of a few kilobytes, for tests that try every cut or every bit. */
export function stories(small = false): fc.Arbitrary<Story> {
  const shape: fc.Arbitrary<Shape> = fc.record({
    pageShift: small ? fc.constant(12) : fc.constantFrom(12, 12, 12, 13, 14, 15, 16),
    codec: fc.constantFrom(...CODECS),
    threads: small ? fc.constant(0) : fc.constantFrom(0, 0, 0, 1),
    indexed: fc.boolean(),
    migration: fc.boolean(),
    bigEndian: fc.boolean(),
    domain: fc.constantFrom('pv', 'pv', 'emulated-tmem', 'emulated-tmem', 'hvm', 'unknown', 'pvh', 'emulated'),
    machine: fc.constantFrom(62, 62, 3, 183),
    sealInterval: fc.constantFrom(64 * MIB, 64 * MIB, 1, 1000, 20_000),
  });
  const steps = fc.array(stepArbitrary(small), { maxLength: small ? 8 : 40, size: 'max' });
  return fc.record({ shape, steps });
}

/** Pages by a number from 0 to 11: zero, one byte, text, half random, random. */
const contents = new Map<string, Uint8Array>();

export function content(kind: number, length: number): Uint8Array {
  const key = `${kind} ${length}`;
  let bytes = contents.get(key);
  if (bytes !== undefined) return bytes;
  bytes = new Uint8Array(length);
  const generator = random(key);
  if (kind >= 2 && kind < 4) bytes.fill(kind * 37);
  else if (kind >= 4 && kind < 7) {
    for (let i = 0; i < length; i++) bytes[i] = 97 + ((i * kind) % 23) + generator.below(2);
  } else if (kind >= 7 && kind < 9) generator.scramble(bytes.subarray(length >> 1));
  else if (kind >= 9) generator.scramble(bytes);
  if (contents.size > 500) contents.clear();
  contents.set(key, bytes);
  return bytes;
}

/** A short name for bytes, good enough to tell pages apart. */
export function digest(bytes: Uint8Array): string {
  return `${bytes.byteLength}:${crc32(bytes).toString(16)}`;
}

function pageDigest(bytes: Uint8Array): string {
  return bytes.every((each) => each === 0) ? 'zero' : digest(bytes);
}

/** Any value as text, alike for alike: keys in order, bytes as digits. */
export function textOf(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === 'bigint') return `${each}n`;
    if (each instanceof Uint8Array) return Buffer.from(each).toString('hex');
    if (typeof each !== 'object' || each === null || Array.isArray(each)) return each;
    return Object.fromEntries(Object.entries(each).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** The same record as text, from what the decoder gave. SEAL, INDEX and INDEX_ROOT are the writer's own affair. */
export function eventsOf(
  { header, record, body }: DecodedRecord,
  decoder: Pick<StreamDecoder, 'scratch' | 'preamble'>,
): string[] {
  const pageSize = decoder.preamble!.pageSize;
  const where = { offset: header.offset };
  switch (record.kind) {
    case 'SEAL':
    case 'INDEX':
    case 'INDEX_ROOT':
    case 'END':
      return [];
    case 'BARRIER':
      return [`BARRIER ${record.number}`];
    case 'RAM': {
      const events: string[] = [];
      record.visit(
        {
          data(first, pages, pageClass, source, at) {
            for (let page = 0; page < pages; page++) {
              const bytes = source.subarray(at + page * pageSize, at + (page + 1) * pageSize);
              events.push(`ram ${first + page} ${pageClass} ${pageDigest(bytes)}`);
            }
          },
          zero(first, pages, pageClass) {
            for (let page = 0; page < pages; page++) events.push(`ram ${first + page} ${pageClass} zero`);
          },
          absent(first, pages, pageClass) {
            events.push(`absent ${first} ${pages} ${pageClass}`);
          },
        },
        decoder.scratch,
      );
      return events;
    }
    case 'DEVICE_DATA':
      return [`device data ${record.device} ${record.offset} ${digest(contentOf(record, decoder.scratch, where))}`];
    case 'ORIGIN':
      return [`origin ${record.part} ${record.format} ${digest(contentOf(record, decoder.scratch, where))}`];
    case 'TMEM_PAGES':
      return Array.from({ length: record.count }, (_, i) => {
        const out = new Uint8Array(65_536);
        const length = record.contentInto(i, out);
        const name = [record.pool.incarnation, Buffer.from(record.objectBytes(i)).toString('hex'), record.index(i)];
        const stored = `${record.codec(i)} ${digest(record.stored(i))}`;
        return `tmem ${name.join(' ')} ${stored} ${digest(out.subarray(0, length))}`;
      });
    case 'TMEM_INVALIDATE': {
      const handles = Array.from({ length: record.count }, (_, i) => [
        [0, 1, 2].map((word) => record.objectWord(i, word)),
        record.index(i),
      ]);
      return [`invalidate ${record.pool.incarnation} ${record.scope} ${textOf(handles)}`];
    }
    case 'LOCAL':
      return [`local ${record.dictionary.record} ${record.optional} ${Buffer.from(body).toString('hex')}`];
    case 'UNKNOWN':
      return [`unknown ${header.type}`];
    default:
      return [textOf(record)];
  }
}

/** Runs of pages without data that touch and are alike count as one: a writer may divide them as it likes. */
export function joined(events: readonly string[]): string[] {
  const out: string[] = [];
  let run: { first: number; pages: number; pageClass: string } | undefined;
  const flush = (): void => {
    if (run !== undefined) out.push(`absent ${run.first} ${run.pages} ${run.pageClass}`);
    run = undefined;
  };
  for (const event of events) {
    const [word, first, pages, pageClass] = event.split(' ');
    if (word !== 'absent') {
      flush();
      out.push(event);
    } else if (run !== undefined && run.first + run.pages === Number(first) && run.pageClass === pageClass) {
      run.pages += Number(pages);
    } else {
      flush();
      run = { first: Number(first), pages: Number(pages), pageClass };
    }
  }
  flush();
  return out;
}

interface ModelPool {
  readonly incarnation: bigint;
  readonly slot: number;
  readonly ephemeral: boolean;
  readonly precompressed: boolean;
  readonly pageSize: number;
  readonly wide: boolean;
}

/** Tells a story to a writer and keeps the account. */
class Teller {
  readonly #writer: StreamWriter;
  readonly #shape: Shape;
  readonly events: string[];
  readonly counts: Record<string, number> = {
    ramPages: 0,
    ramZeroPages: 0,
    ramAbsentPages: 0,
    tmemPages: 0,
    tmemInvalidations: 0,
    deviceBytes: 0,
  };
  readonly #once = new Set<string>();
  readonly #disks = new Set<number>();
  readonly #bound = new Set<number>();
  readonly #pools: ModelPool[] = [];
  #client = false;
  #incarnation = 0n;
  #rounds = 0;
  #barriers = 0;
  #checkpoints = 0;
  #parts = 0;

  constructor(writer: StreamWriter, shape: Shape, about: unknown) {
    this.#writer = writer;
    this.#shape = shape;
    this.events = [textOf({ kind: 'ABOUT', about })];
  }

  get #tmem(): boolean {
    return this.#shape.domain === 'pv' || this.#shape.domain === 'emulated-tmem';
  }

  /** Whether this may be written now: once between two checkpoints. */
  #first(what: string): boolean {
    if (this.#once.has(what)) return false;
    this.#once.add(what);
    return true;
  }

  async tell(step: Step): Promise<void> {
    switch (step.do) {
      case 'ram':
        return this.#ram(step.at, step.pageClass, step.pages);
      case 'absent': {
        const pageClass = ABSENT_CLASSES[step.pageClass % ABSENT_CLASSES.length];
        const first = Math.min(pfnOf(step.at), LAST_PFN + 1 - step.count);
        await this.#writer.absent(first, step.count, pageClass);
        this.events.push(`absent ${first} ${step.count} ${pageClass}`);
        this.counts['ramAbsentPages'] += step.count;
        return;
      }
      case 'vcpu':
      case 'vcpu-state':
      case 'policy':
        return this.#processor(step);
      case 'device': {
        if (!this.#first(`device ${step.device}`)) return;
        const blob = content(step.content, step.bytes);
        const about = {
          device: step.device,
          fingerprint: content(9, 32),
          name: 'machine',
          format: 'v86-state',
          version: `${step.bytes}`,
        };
        await this.#writer.device(about, blob);
        const sha256 = createHash('sha256').update(blob).digest();
        this.events.push(textOf({ kind: 'DEVICE', ...about, bytes: step.bytes, sha256: new Uint8Array(sha256) }));
        if (step.bytes > 0) this.events.push(`device data ${step.device} 0 ${digest(blob)}`);
        this.counts['deviceBytes'] += step.bytes;
        return;
      }
      case 'disk': {
        if (this.#disks.has(step.disk)) return;
        this.#disks.add(step.disk);
        const policy = (['inside-device', 'digest', 'tmem', 'shared'] as const)[step.policy & 3];
        const sha256 = policy === 'digest' || (step.policy & 4) !== 0 ? content(9, 32) : null;
        const text = step.text.isWellFormed() ? step.text.replaceAll('\0', '') : '';
        const bytes = BigInt(step.policy) * 0x0123_4567_89ab_cdn;
        const readOnly = (step.policy & 8) !== 0;
        const disk = { disk: step.disk, policy, readOnly, bytes, sha256, name: text, format: 'raw', locator: text };
        await this.#writer.disk(disk);
        this.events.push(textOf({ kind: 'DISK', ...disk }));
        return;
      }
      case 'client':
      case 'pool':
      case 'page':
      case 'invalidate':
        return this.#tmem ? this.#tmemStep(step) : undefined;
      case 'origin': {
        const bytes = content(step.content, step.bytes);
        await this.#writer.origin('xl', bytes);
        if (step.bytes > 0) this.events.push(`origin ${this.#parts++} xl ${digest(bytes)}`);
        return;
      }
      case 'dictionary': {
        if (this.#bound.has(step.number)) return;
        this.#bound.add(step.number);
        const entry = {
          record: 0x4000 + step.number * 0x1555,
          name: `org.example.record-${step.number}`,
          version: step.number + 1,
          text: step.schema ? 'A record of a test.' : null,
          schema: step.schema ? { fields: [{ name: 'rest', type: 'u8', count: 'rest' }] as const } : null,
        };
        await this.#writer.dictionary(entry);
        this.events.push(textOf({ kind: 'DICTIONARY', ...entry }));
        return;
      }
      case 'local': {
        if (!this.#bound.has(step.number)) return;
        const number = 0x4000 + step.number * 0x1555;
        const body = content(9, step.bytes);
        await this.#writer.local(number, step.optional, body);
        this.events.push(`local ${number} ${step.optional} ${Buffer.from(body).toString('hex')}`);
        return;
      }
      case 'round':
        await this.#writer.round();
        this.events.push(textOf({ kind: 'ROUND', round: this.#rounds++ }));
        return;
      case 'seal':
        await this.#writer.seal();
        return;
      case 'barrier':
        await this.#writer.barrier([await this.#writer.seal()]);
        this.events.push(`BARRIER ${++this.#barriers}`);
        return;
      case 'checkpoint':
        await this.checkpoint(BigInt(step.time) * 1_000_000_007n);
    }
  }

  async checkpoint(guestTimeNs: bigint): Promise<void> {
    await this.#writer.checkpoint(guestTimeNs);
    this.events.push(textOf({ kind: 'CHECKPOINT', number: ++this.#checkpoints, guestTimeNs }));
    this.#once.clear();
  }

  async #ram(at: number, classNumber: number, kinds: readonly number[]): Promise<void> {
    const pageSize = 2 ** this.#shape.pageShift;
    const pageClass = DATA_CLASSES[classNumber % DATA_CLASSES.length];
    const few = this.#shape.pageShift > 13 ? kinds.slice(0, 4) : kinds;
    const first = Math.min(pfnOf(at), LAST_PFN + 1 - few.length);
    const source = new Uint8Array(few.length * pageSize + 3);
    for (const [i, kind] of few.entries()) {
      const bytes = content(kind, pageSize);
      source.set(bytes, 3 + i * pageSize);
      this.events.push(`ram ${first + i} ${pageClass} ${pageDigest(bytes)}`);
      this.counts['ramPages']++;
      if (kind < 2) this.counts['ramZeroPages']++;
    }
    await this.#writer.ram(first, few.length, source, 3, pageClass);
    // The guest goes on as soon as its pages are copied.
    source.fill(0xa5);
  }

  async #processor(step: Extract<Step, { do: 'vcpu' | 'vcpu-state' | 'policy' }>): Promise<void> {
    if (step.do === 'vcpu') {
      if (this.#shape.machine === 183 || !this.#first(`vcpu ${step.vcpu}`)) return;
      const state = processor(step.vcpu, step.groups, step.seed);
      await this.#writer.vcpu(state);
      this.events.push(textOf({ kind: 'VCPU_X86', ...state }));
    } else if (step.do === 'vcpu-state') {
      const [state, length] = [
        [1, 512],
        [2, 576 + step.bytes],
        [3, step.bytes & ~15],
        [0x100, step.bytes],
        [0xffff, step.bytes],
      ][step.state];
      if (!this.#first(`state ${step.vcpu} ${state}`)) return;
      await this.#writer.vcpuState(step.vcpu, state, content(9, length));
      this.events.push(textOf({ kind: 'VCPU_STATE', vcpu: step.vcpu, state, bytes: content(9, length) }));
    } else if (step.msrs) {
      if (!this.#first('msrs')) return;
      const msrs = Array.from({ length: step.count }, (_, i) => ({
        index: 0xffff_ffff - i,
        flags: i,
        value: 2n ** 64n - 1n - BigInt(i),
      }));
      await this.#writer.msrs(msrs);
      this.events.push(textOf({ kind: 'X86_MSR', msrs }));
    } else {
      if (!this.#first('cpuid')) return;
      const leaves = Array.from({ length: step.count }, (_, i) => ({
        leaf: 0x8000_0000 + i,
        subleaf: 0xffff_ffff,
        eax: i,
        ebx: 2 * i,
        ecx: 3 * i,
        edx: 0xffff_ffff - i,
      }));
      await this.#writer.cpuid(leaves);
      this.events.push(textOf({ kind: 'X86_CPUID', leaves }));
    }
  }

  async #tmemStep(step: Extract<Step, { do: 'client' | 'pool' | 'page' | 'invalidate' }>): Promise<void> {
    if (step.do === 'client') {
      if (this.#client) return;
      this.#client = true;
      const client = {
        compress: (step.weight & 1) !== 0,
        frozen: (step.weight & 2) !== 0,
        weight: step.weight,
        cap: step.uuids,
        allowancePages: 2n ** 64n - BigInt(step.weight + 1),
        authorised: Array.from({ length: step.uuids }, (_, i) => NO_UUID.replace(/..$/, `a${i.toString(16)}`)),
      };
      await this.#writer.tmemClient(client);
      this.events.push(textOf({ kind: 'TMEM_CLIENT', ...client }));
      return;
    }
    if (step.do === 'pool') return this.#openPool(step.slot, step.flags, step.skip);
    const pool = this.#pools[step.pool % this.#pools.length];
    if (pool === undefined) return;
    await (step.do === 'page'
      ? this.#pages(pool, step)
      : this.#invalidate(
          pool,
          (['pages', 'pages', 'pages', 'objects', 'objects', 'pool'] as const)[step.scope],
          step.objects,
        ));
  }

  async #openPool(slot: number, flags: number, skip: number): Promise<void> {
    if (!this.#client || this.#pools.some((each) => each.slot === slot)) return;
    this.#incarnation += BigInt(1 + skip);
    const objectIdBits: 64 | 192 = (flags & 16) === 0 ? 192 : 64;
    const pool = {
      ephemeral: (flags & 1) !== 0,
      incarnation: this.#incarnation,
      pool: slot,
      shared: (flags & 2) !== 0,
      precompressed: (flags & 12) === 12,
      pageSize: 2 ** (12 + (flags % 5)),
      objectIdBits,
      uuid: (flags & 2) !== 0 ? '01234567-89ab-cdef-0123-456789abcdef' : NO_UUID,
      pages: BigInt(flags),
    };
    await this.#writer.tmemPool(pool);
    this.events.push(textOf({ kind: 'TMEM_POOL', ...pool }));
    const { incarnation, ephemeral, precompressed, pageSize } = pool;
    this.#pools.push({ incarnation, slot, ephemeral, precompressed, pageSize, wide: pool.objectIdBits === 192 });
  }

  async #pages(pool: ModelPool, step: Extract<Step, { do: 'page' }>): Promise<void> {
    const length = 1 + (step.length % pool.pageSize);
    for (const [i, object] of step.objects.entries()) {
      const halves = objectHalves(object, pool.wide);
      const index = object * 0x1000_0001 + i;
      const original = content((step.content + i) % 12, length);
      const { codec, stored, kept } = storedPage(pool.precompressed, step.codec + i, original);
      await this.#writer.tmemPage(pool.incarnation, halves, index, codec, kept, stored);
      const page = new Uint8Array(pool.precompressed ? length : pool.pageSize);
      if (kept > 0) page.set(original);
      const name = [pool.incarnation, Buffer.from(halves.buffer).toString('hex'), index];
      this.events.push(`tmem ${name.join(' ')} ${codec} ${digest(stored)} ${digest(page)}`);
      if (!pool.ephemeral) this.counts['tmemPages']++;
    }
  }

  async #invalidate(pool: ModelPool, scope: 'pages' | 'objects' | 'pool', objects: readonly number[]): Promise<void> {
    const handles = objects.map((object, i) => {
      const view = new DataView(objectHalves(object, pool.wide).buffer);
      const words = [0, 8, 16].map((at) => view.getBigUint64(at, true)) as [bigint, bigint, bigint];
      return { object: words, index: scope === 'objects' ? 0 : object * 0x1000_0001 + i };
    });
    const given = scope === 'pool' ? [] : handles;
    await this.#writer.tmemInvalidate(pool.incarnation, scope, given);
    const shown = given.map(({ object, index }) => [object, index]);
    this.events.push(`invalidate ${pool.incarnation} ${scope} ${textOf(shown)}`);
    if (!pool.ephemeral) this.counts['tmemInvalidations'] += Math.max(1, given.length);
    if (scope === 'pool') this.#pools.splice(this.#pools.indexOf(pool), 1);
  }
}

function storedPage(
  precompressed: boolean,
  choice: number,
  original: Uint8Array,
): { codec: CodecId; stored: Uint8Array; kept: number } {
  if (precompressed) return { codec: CODEC.opaque, stored: original, kept: original.byteLength };
  if (original.every((each) => each === 0)) return { codec: CODEC.zero, stored: new Uint8Array(0), kept: 0 };
  const codec = CODECS[choice % CODECS.length];
  const out = new Uint8Array(original.byteLength - 1);
  const length = codec === CODEC.raw ? -1 : encodeInto(codec, original, out);
  if (length < 1) return { codec: CODEC.raw, stored: original, kept: original.byteLength };
  return { codec, stored: out.subarray(0, length), kept: original.byteLength };
}

function objectHalves(object: number, wide: boolean): Uint32Array {
  const high = object % 2 === 0 ? 0 : 0xffff_fff0 + object;
  return Uint32Array.from(wide ? [object, high, object * 3, 1, 0xffff_ffff, object] : [object, high, 0, 0, 0, 0]);
}

/** Places that matter: low memory, the 4 GiB line, the last pfn there is. */
function pfnOf(at: number): number {
  if (at === 40) return LAST_PFN;
  if (at === 39) return 2 ** 32 - 3;
  return at * 5;
}

function processor(vcpu: number, groups: number, seed: number): Parameters<StreamWriter['vcpu']>[0] {
  const generator = random(`vcpu ${seed}`);
  const word = (): bigint => new DataView(generator.scramble(new Uint8Array(8)).buffer).getBigUint64(0);
  const names: readonly (readonly RegisterName[])[] = [
    GENERAL,
    [],
    CONTROL,
    ['cr8'],
    ['efer'],
    SYSCALL,
    ['pat'],
    ['tsc'],
    ['xcr0'],
    ['apic_base'],
    [],
    DEBUG,
  ];
  const registers: Partial<Record<RegisterName, bigint>> = {};
  for (const [group, members] of names.entries()) {
    if ((groups >> group) & 1) for (const name of members) registers[name] = word();
  }
  const segment = (): { selector: number; attributes: number; limit: number; base: bigint } => ({
    selector: generator.below(65_536),
    attributes: generator.below(65_536),
    limit: generator.below(2 ** 32),
    base: word(),
  });
  const table = (): { base: bigint; limit: number } => ({ base: word(), limit: generator.below(2 ** 32) });
  const segments = Object.fromEntries(SEGMENTS.map((name) => [name, segment()]));
  return {
    vcpu,
    online: (seed & 1) !== 0,
    halted: (seed & 2) !== 0,
    registers,
    segments: (groups >> 1) & 1 ? (segments as Record<(typeof SEGMENTS)[number], ReturnType<typeof segment>>) : null,
    gdtr: (groups >> 10) & 1 ? table() : null,
    idtr: (groups >> 10) & 1 ? table() : null,
  };
}

/** Writes the stream of a story. It ends as a stream must, with a checkpoint. */
export async function told({ shape, steps }: Story): Promise<Told> {
  const sink = new MemorySink();
  const choice: PreambleChoice = {
    kind: shape.migration ? 'migration' : 'save',
    byteOrder: shape.bigEndian ? 'big' : 'little',
    wordBits: shape.machine === 3 ? 32 : 64,
    domainType: shape.domain,
    machine: shape.machine,
    pageSize: 2 ** shape.pageShift,
    streamId: content(9, 16),
    indexed: shape.indexed,
  };
  const options: WriterOptions = { codec: shape.codec, threads: shape.threads, sealInterval: shape.sealInterval };
  const about = { name: 'a story', vcpus: steps.length, nested: { list: [1, [2, ['é']]] } };
  const writer = await StreamWriter.open(sink, choice, about, options);
  const teller = new Teller(writer, shape, about);
  for (const step of steps) await teller.tell(step);
  await teller.checkpoint(0n);
  await writer.end();
  return { bytes: sink.bytes(), events: joined(teller.events), counts: teller.counts };
}

export interface Reading {
  /** Texts of each record that was handed on. */
  readonly records: string[][];
  /** Kinds of them, in order. */
  readonly kinds: string[];
  /** What END said, if it was reached. */
  readonly counts: Record<string, number> | undefined;
  readonly error: unknown;
}

/**
 * Decodes a stream in pieces. Each piece is spoilt after the decoder has asked for more: it must not look back.
 * @param next length of the next piece.
 */
export function readInPieces(
  bytes: Uint8Array,
  next: () => number = () => bytes.byteLength,
  options: DecoderOptions = { knows: 'all' },
): Reading {
  const decoder = new StreamDecoder(options);
  const records: string[][] = [];
  const kinds: string[] = [];
  let counts: Record<string, number> | undefined;
  const drain = (): void => {
    for (let decoded = decoder.read(); decoded !== undefined; decoded = decoder.read()) {
      const { record } = decoded;
      kinds.push(record.kind);
      if (record.kind === 'END') counts = { ...record.counts };
      records.push(eventsOf(decoded, decoder));
    }
  };
  try {
    for (let at = 0; at < bytes.byteLength;) {
      const piece = bytes.slice(at, at + Math.max(1, next()));
      at += piece.byteLength;
      decoder.feed(piece);
      drain();
      piece.fill(0xee);
    }
    drain();
    decoder.finish();
    return { records, kinds, counts, error: undefined };
  } catch (error) {
    return { records, kinds, counts, error };
  }
}
