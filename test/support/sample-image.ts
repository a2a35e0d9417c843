/** An image of ours with something of everything, from a model that tests change. */
import type { Disk } from '../../src/stream/records/device.ts';
import type { TmemClient, TmemPool } from '../../src/stream/records/tmem.ts';
import { GENERAL, SEGMENTS, type CpuidLeaf, type Msr, type RegisterName } from '../../src/stream/records/vcpu.ts';
import type { StreamWriter } from '../../src/stream/writer.ts';
import type { WriterOptions } from '../../src/stream/writer-options.ts';
import type { PreambleChoice } from '../../src/stream/preamble.ts';
import { PAGE, somePages, written } from './streams.ts';

export interface SampleTmemPage {
  incarnation: bigint;
  object: [number, number, number, number, number, number];
  index: number;
  content: Uint8Array;
}

export interface SampleModel {
  preamble: Partial<PreambleChoice>;
  /** Pages with content: ranges of one class. */
  memory: { firstPfn: number; pageClass: number; bytes: Uint8Array }[];
  absent: { firstPfn: number; pages: number; pageClass: number }[];
  vcpus: {
    vcpu: number;
    online: boolean;
    halted: boolean;
    registers: Partial<Record<RegisterName, bigint>>;
    segments: Record<
      (typeof SEGMENTS)[number],
      { selector: number; attributes: number; limit: number; base: bigint }
    > | null;
    gdtr: { base: bigint; limit: number } | null;
    idtr: { base: bigint; limit: number } | null;
  }[];
  states: { vcpu: number; kind: number; content: Uint8Array }[];
  cpuid: { -readonly [K in keyof CpuidLeaf]: CpuidLeaf[K] }[];
  msrs: { -readonly [K in keyof Msr]: Msr[K] }[];
  devices: { name: string; format: string; version: string; fingerprint: Uint8Array; content: Uint8Array }[];
  disks: { -readonly [K in keyof Omit<Disk, 'kind'>]: Disk[K] }[];
  client: { -readonly [K in keyof Omit<TmemClient, 'kind'>]: TmemClient[K] };
  pools: { -readonly [K in keyof Omit<TmemPool, 'kind'>]: TmemPool[K] }[];
  tmem: SampleTmemPage[];
}

/** A model; each call makes another, with the same content. */
export function sampleModel(): SampleModel {
  const registers = Object.fromEntries(GENERAL.map((name, i) => [name, BigInt(i + 1) * 0x1111n])) as Partial<
    Record<RegisterName, bigint>
  >;
  const segments = Object.fromEntries(
    SEGMENTS.map((name, i) => [name, { selector: 8 * i, attributes: 0x93, limit: 0xfffff, base: BigInt(i) }]),
  ) as NonNullable<SampleModel['vcpus'][number]['segments']>;
  const vcpu = (number: number): SampleModel['vcpus'][number] => ({
    vcpu: number,
    online: true,
    halted: false,
    registers: { ...registers, cr0: 1n, cr2: 2n, cr3: 0x5000n, cr4: 4n, efer: 0x500n },
    segments: structuredClone(segments),
    gdtr: { base: 0x1000n, limit: 0x7f },
    idtr: { base: 0x2000n, limit: 0xfff },
  });
  const pool = (incarnation: bigint, slot: number): SampleModel['pools'][number] => ({
    ephemeral: false,
    incarnation,
    pool: slot,
    shared: false,
    precompressed: false,
    pageSize: PAGE,
    objectIdBits: 192,
    uuid: '00000000-0000-0000-0000-000000000000',
    pages: 4n,
  });
  return {
    preamble: { domainType: 'pv' },
    memory: [
      { firstPfn: 0, pageClass: 0, bytes: somePages(70, 'sample-0') },
      { firstPfn: 70, pageClass: 1, bytes: somePages(4, 'sample-1') },
      { firstPfn: 0x100, pageClass: 0, bytes: somePages(300, 'sample-2') },
    ],
    absent: [{ firstPfn: 80, pages: 5, pageClass: 0x80 }],
    vcpus: [vcpu(0), vcpu(1)],
    states: [{ vcpu: 0, kind: 1, content: new Uint8Array(512).fill(3) }],
    cpuid: [
      { leaf: 1, subleaf: 0xffffffff, eax: 1, ebx: 2, ecx: 0x00100000, edx: 4 },
      { leaf: 7, subleaf: 0, eax: 0, ebx: 0x20, ecx: 0, edx: 0 },
    ],
    msrs: [{ index: 0x10a, flags: 0, value: 1n }],
    devices: [
      {
        name: 'machine',
        format: 'v86-state',
        version: '1.0',
        fingerprint: new Uint8Array(32).fill(1),
        content: somePages(300, 'sample-3'),
      },
      {
        name: 'small',
        format: 'xen-toolstack',
        version: '',
        fingerprint: new Uint8Array(32),
        content: new Uint8Array([1, 2, 3]),
      },
    ],
    disks: [
      {
        disk: 0,
        policy: 'shared',
        readOnly: false,
        bytes: 1000n,
        sha256: null,
        name: 'hda',
        format: 'raw',
        locator: '/srv/a',
      },
    ],
    client: { compress: true, frozen: false, weight: 100, cap: 0, allowancePages: 0n, authorised: [] },
    pools: [pool(1n, 0), pool(2n, 3)],
    tmem: [0, 1, 2, 3].map((i) => ({
      incarnation: i < 2 ? 1n : 2n,
      object: [i, 0, 7, 0, 0, 0],
      index: i * 5,
      content: new Uint8Array(PAGE).fill(i + 1),
    })),
  };
}

/** Puts a model into a stream, in the order: tmem, memory, states. */
export async function writeSample(writer: StreamWriter, model: SampleModel): Promise<void> {
  await writer.tmemClient(model.client);
  for (const pool of model.pools) await writer.tmemPool(pool);
  for (const { incarnation, object, index, content } of model.tmem) {
    await writer.tmemPage(incarnation, Uint32Array.from(object), index, 1, content.byteLength, content);
  }
  for (const { firstPfn, pageClass, bytes } of model.memory) {
    await writer.ram(firstPfn, bytes.byteLength / PAGE, bytes, 0, pageClass);
  }
  for (const { firstPfn, pages, pageClass } of model.absent) await writer.absent(firstPfn, pages, pageClass);
  for (const vcpu of model.vcpus) await writer.vcpu(vcpu);
  for (const { vcpu, kind, content } of model.states) await writer.vcpuState(vcpu, kind, content);
  if (model.cpuid.length > 0) await writer.cpuid(model.cpuid);
  if (model.msrs.length > 0) await writer.msrs(model.msrs);
  for (const [device, { content, ...about }] of model.devices.entries()) {
    await writer.device({ device, ...about }, content);
  }
  for (const disk of model.disks) await writer.disk(disk);
}

/** The bytes of an image with the model's content. */
export function sampleImage(model: SampleModel = sampleModel(), options: WriterOptions = {}): Promise<Uint8Array> {
  return written((writer) => writeSample(writer, model), model.preamble, options);
}
