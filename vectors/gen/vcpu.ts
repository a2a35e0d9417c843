// Section 8: processors.
import { cat, noise, u32, zeros } from './lib/bytes.ts';
import { bare } from './lib/channel.ts';
import type { Rec } from './lib/channel.ts';
import { cpuid, msr, msrRows, vcpuModel, vcpuState, vcpuX86 } from './lib/vcpu.ts';
import { bad, good } from './lib/vector.ts';
import type { Options, Vector } from './lib/vector.ts';

const none = 0xffffffff;
const leaf = (number: number, subleaf = none): Parameters<typeof cpuid>[0][number] => ({
  leaf: number,
  subleaf,
  eax: (number ^ 0x11111111) >>> 0,
  ebx: 0x756e6547,
  ecx: 0x6c65746e,
  edx: 0x49656e69,
});
const msrs = [
  { index: 0x10, value: 0x123456789abcdef0n },
  { index: 0xc0000080, value: 0xd01n },
  { index: 0xc0000081, value: 2n ** 64n - 1n },
];

const sound = (name: string, section: string, title: string, ...recs: Rec[]): Vector =>
  good(name, 'S10', section, title, {}, (channel) => {
    for (const rec of recs) channel.add(rec);
  });

const wrong = (
  name: string,
  section: string,
  title: string,
  code: string,
  rec: Rec,
  options: Options = {},
  before: Rec[] = [],
): Vector =>
  bad(name, 'S10', section, title, options, (channel) => {
    for (const earlier of before) channel.add(earlier);
    channel.bad(code, rec);
  });

const withVcpu = (rec: Rec, number: number): Rec => ({ ...rec, body: cat(u32(number), rec.body.subarray(4)) });
const groups = vcpuModel().known;

export const vcpuVectors = (): Vector[] => [
  sound(
    'vcpu-x86-all-groups',
    '8.1',
    'VCPU_X86 with every group known and every register another number.',
    vcpuX86(vcpuModel()),
  ),
  sound('vcpu-x86-no-groups', '8.1', 'VCPU_X86 of which nothing is known.', vcpuX86(vcpuModel({ known: [] }))),
  sound(
    'vcpu-x86-each-group-alone',
    '8.1',
    'One vCPU for each group of registers, with that group alone.',
    ...groups.map((group, vcpu) => vcpuX86(vcpuModel({ vcpu, known: [group] }))),
  ),
  sound(
    'vcpu-x86-all-but-one',
    '8.1',
    'One vCPU for each group, with all groups but that one.',
    ...groups.map((group, vcpu) => vcpuX86(vcpuModel({ vcpu, known: groups.filter((other) => other !== group) }))),
  ),
  sound(
    'vcpu-x86-flags',
    '8.1',
    'vCPUs that are offline, online, halted; reserved flags are ignored.',
    ...[0, 1, 2, 3, 0xfffffffd].map((flags, vcpu) => vcpuX86(vcpuModel({ vcpu, flags }))),
  ),
  sound(
    'vcpu-x86-reserved-not-zero',
    '1.3',
    'Reserved fields of the tables are ignored.',
    vcpuX86(vcpuModel({ reserved: 0xffffffff })),
  ),
  sound('vcpu-x86-last-number', '8.1', 'vCPU 4095, the largest number.', vcpuX86(vcpuModel({ vcpu: 4095 }))),
  good('vcpu-x86-on-386', 'S10', '8.1', 'VCPU_X86 with machine type 386.', { machine: 3, wordBits: 32 }, (channel) => {
    channel.add(vcpuX86(vcpuModel({ known: ['general', 'segments', 'control', 'tables', 'debug'] })));
  }),
  good(
    'vcpu-again-after-checkpoint',
    'S10 S13',
    '4',
    'Processor records come again after a checkpoint.',
    {},
    (channel) => {
      for (const value of [1n, 2n]) {
        channel.add(vcpuX86(vcpuModel({ flags: Number(value) })));
        channel.add(vcpuState(0, 1, noise(`fx ${value}`, 512)));
        channel.add(cpuid([leaf(1)]));
        channel.add(msr([{ index: 0x10, value }]));
        channel.checkpoint();
      }
      channel.end();
    },
  ),
  good(
    'vcpu-state-on-aarch64',
    'S10',
    '8.2',
    'VCPU_STATE of a foreign kind belongs to any machine type.',
    { machine: 183 },
    (channel) => {
      channel.add(vcpuState(0, 0x101, noise('aarch64', 700)));
    },
  ),
  sound(
    'vcpu-state-kinds',
    '8.2',
    'FXSAVE, XSAVE, MSRs, a kind of a foreign format, and kinds not known.',
    vcpuState(0, 1, noise('fxsave', 512)),
    vcpuState(0, 2, noise('xsave', 576)),
    vcpuState(0, 3, msrRows(msrs)),
    vcpuState(0, 0x100, noise('foreign', 33)),
    vcpuState(0, 77, noise('later', 5)),
    vcpuState(0, 0xffff, zeros(0)),
  ),
  sound('vcpu-state-xsave-large', '8.2', 'An XSAVE image of more than 576 bytes.', vcpuState(1, 2, noise('x', 2696))),
  sound(
    'vcpu-state-reserved-not-zero',
    '1.3',
    'The reserved field of VCPU_STATE is ignored.',
    vcpuState(0, 1, noise('fxsave', 512), 0xffff),
  ),
  sound(
    'vcpu-state-two-vcpus',
    '4',
    'The same kind for two vCPUs is no duplicate.',
    vcpuState(0, 1, noise('0', 512)),
    vcpuState(1, 1, noise('1', 512)),
    vcpuState(0, 2, noise('2', 576)),
  ),
  sound(
    'vcpu-cpuid',
    '8.3',
    'X86_CPUID with leaves with and without subleaf.',
    cpuid([leaf(0), leaf(4, 0), leaf(4, 1), leaf(0x80000000), leaf(0x40000000)]),
  ),
  sound(
    'vcpu-cpuid-reserved-not-zero',
    '1.3',
    'The reserved field of X86_CPUID is ignored.',
    cpuid([leaf(0)], 1, none),
  ),
  sound(
    'vcpu-msr',
    '8.4',
    'X86_MSR with values that need 64 bits; flags are reserved.',
    msr([...msrs, { index: 0x1a0, flags: 0xdeadbeef, value: 0n }], 4, none),
  ),
  wrong('vcpu-x86-number-4096', '8.1', 'vCPU 4096.', 'FIELD_VALUE', withVcpu(vcpuX86(vcpuModel()), 4096)),
  wrong('vcpu-x86-on-aarch64', '8.1', 'VCPU_X86 with machine type AArch64.', 'FIELD_VALUE', vcpuX86(vcpuModel()), {
    machine: 183,
  }),
  wrong(
    'vcpu-x86-twice',
    '4',
    'VCPU_X86 of one vCPU twice between two checkpoints.',
    'DUPLICATE',
    vcpuX86(vcpuModel({ vcpu: 3 })),
    {},
    [vcpuX86(vcpuModel({ vcpu: 3, flags: 0 })), vcpuX86(vcpuModel())],
  ),
  wrong('vcpu-state-number-4096', '8.2', 'VCPU_STATE of vCPU 4096.', 'FIELD_VALUE', vcpuState(4096, 1, zeros(512))),
  wrong('vcpu-state-kind-0', '8.2', 'VCPU_STATE of kind 0.', 'FIELD_VALUE', vcpuState(0, 0, zeros(512))),
  wrong(
    'vcpu-state-fxsave-too-short',
    '8.2',
    'An FXSAVE image of 511 bytes.',
    'LENGTH_MISMATCH',
    vcpuState(0, 1, zeros(511)),
  ),
  wrong(
    'vcpu-state-fxsave-too-long',
    '8.2',
    'An FXSAVE image of 513 bytes.',
    'LENGTH_MISMATCH',
    vcpuState(0, 1, zeros(513)),
  ),
  wrong(
    'vcpu-state-xsave-too-short',
    '8.2',
    'An XSAVE image of 575 bytes.',
    'LENGTH_MISMATCH',
    vcpuState(0, 2, zeros(575)),
  ),
  wrong('vcpu-state-msrs-odd', '8.2', 'A list of MSRs of 24 bytes.', 'LENGTH_MISMATCH', vcpuState(0, 3, zeros(24))),
  wrong(
    'vcpu-state-twice',
    '4',
    'One kind of one vCPU twice between two checkpoints.',
    'DUPLICATE',
    vcpuState(0, 0x100, zeros(8)),
    {},
    [vcpuState(0, 0x100, zeros(16)), vcpuState(0, 0x101, zeros(8))],
  ),
  wrong('vcpu-cpuid-twice', '4', 'X86_CPUID twice between two checkpoints.', 'DUPLICATE', cpuid([leaf(1)]), {}, [
    cpuid([leaf(0)]),
  ]),
  wrong('vcpu-cpuid-no-leaves', '8.3', 'X86_CPUID without leaves.', 'FIELD_VALUE', cpuid([])),
  wrong(
    'vcpu-cpuid-count-too-large',
    '8.3',
    'X86_CPUID that counts one leaf more than it has.',
    'LENGTH_MISMATCH',
    cpuid([leaf(0)], 2),
  ),
  wrong(
    'vcpu-cpuid-count-too-small',
    '8.3',
    'X86_CPUID that counts one leaf less than it has.',
    'LENGTH_MISMATCH',
    cpuid([leaf(0), leaf(1)], 1),
  ),
  wrong('vcpu-cpuid-count-4097', '8.3', 'X86_CPUID that counts 4097 leaves.', 'LIMIT_EXCEEDED', cpuid([leaf(0)], 4097)),
  wrong(
    'vcpu-cpuid-count-2-32',
    '8.3',
    'X86_CPUID that counts 2^32 - 1 leaves; the checksums are right.',
    'LIMIT_EXCEEDED',
    cpuid([leaf(0)], none),
  ),
  wrong(
    'vcpu-cpuid-body-empty',
    '8.3',
    'X86_CPUID with an empty body.',
    'LENGTH_MISMATCH',
    bare('X86_CPUID', zeros(0)),
  ),
  wrong('vcpu-msr-twice', '4', 'X86_MSR twice between two checkpoints.', 'DUPLICATE', msr(msrs), {}, [msr(msrs)]),
  wrong('vcpu-msr-no-msrs', '8.4', 'X86_MSR without MSRs.', 'FIELD_VALUE', msr([])),
  wrong(
    'vcpu-msr-count-too-large',
    '8.4',
    'X86_MSR that counts one more than it has.',
    'LENGTH_MISMATCH',
    msr(msrs, 4),
  ),
  wrong(
    'vcpu-msr-count-2-32',
    '8.4',
    'X86_MSR that counts 2^32 - 1; the checksums are right.',
    'LIMIT_EXCEEDED',
    msr(msrs, none),
  ),
];
