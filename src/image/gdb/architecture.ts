/** What a debugger is told of processors: architecture and registers, in the order of the `g` packet (debug 4.3). */
import type { RegisterName } from '../../stream/records/vcpu.ts';
import { VCPU_STATE } from '../model/event.ts';
import { longModeOf } from '../memory/paging.ts';
import type { OpenedImage } from '../open/opened-image.ts';

/** Architectures, by gdb's names. */
export type ArchitectureName = 'i8086' | 'i386' | 'i386:x86-64';

/** Where the value of a register comes from. */
export type RegisterSource =
  | { readonly from: 'register'; readonly name: RegisterName }
  | { readonly from: 'selector' | 'base'; readonly name: 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs' }
  /** In an FXSAVE image. */
  | { readonly from: 'fxsave'; readonly at: number; readonly bytes: number }
  | { readonly from: 'tags' };

export interface RegisterSpec {
  readonly name: string;
  readonly bytes: number;
  readonly type: string;
  readonly source: RegisterSource;
}

export interface Feature {
  readonly name: string;
  readonly types: readonly FlagsType[];
  readonly vectors: boolean;
  readonly registers: readonly RegisterSpec[];
}

/** Names of bits, and of ranges of them: `[name, first, last]`. */
export interface FlagsType {
  readonly id: string;
  readonly bytes: number;
  readonly fields: readonly (readonly [name: string, first: number, last?: number])[];
}

export interface Architecture {
  readonly name: ArchitectureName;
  readonly features: readonly Feature[];
  /** All registers, in the order of the `g` packet. */
  readonly registers: readonly RegisterSpec[];
}

const RFLAGS: FlagsType['fields'] = [
  ['CF', 0],
  ['', 1],
  ['PF', 2],
  ['AF', 4],
  ['ZF', 6],
  ['SF', 7],
  ['TF', 8],
  ['IF', 9],
  ['DF', 10],
  ['OF', 11],
  ['IOPL', 12, 13],
  ['NT', 14],
  ['RF', 16],
  ['VM', 17],
  ['AC', 18],
  ['VIF', 19],
  ['VIP', 20],
  ['ID', 21],
];

const CR0: FlagsType['fields'] = [
  ['PE', 0],
  ['MP', 1],
  ['EM', 2],
  ['TS', 3],
  ['ET', 4],
  ['NE', 5],
  ['WP', 16],
  ['AM', 18],
  ['NW', 29],
  ['CD', 30],
  ['PG', 31],
];

const CR3: FlagsType['fields'] = [
  ['PCID', 0, 11],
  ['PDBR', 12, 63],
];

const CR4: FlagsType['fields'] = [
  ['VME', 0],
  ['PVI', 1],
  ['TSD', 2],
  ['DE', 3],
  ['PSE', 4],
  ['PAE', 5],
  ['MCE', 6],
  ['PGE', 7],
  ['PCE', 8],
  ['OSFXSR', 9],
  ['OSXMMEXCPT', 10],
  ['UMIP', 11],
  ['LA57', 12],
  ['VMXE', 13],
  ['SMXE', 14],
  ['FSGSBASE', 16],
  ['PCIDE', 17],
  ['OSXSAVE', 18],
  ['SMEP', 20],
  ['SMAP', 21],
  ['PKE', 22],
];

const EFER: FlagsType['fields'] = [
  ['SCE', 0],
  ['LME', 8],
  ['LMA', 10],
  ['NXE', 11],
  ['SVME', 12],
  ['LMSLE', 13],
  ['FFXSR', 14],
  ['TCE', 15],
];

const MXCSR: FlagsType['fields'] = [
  ['IE', 0],
  ['DE', 1],
  ['ZE', 2],
  ['OE', 3],
  ['UE', 4],
  ['PE', 5],
  ['DAZ', 6],
  ['IM', 7],
  ['DM', 8],
  ['ZM', 9],
  ['OM', 10],
  ['UM', 11],
  ['PM', 12],
  ['FZ', 15],
];

function general(bytes: number, names: readonly RegisterName[]): RegisterSpec[] {
  return names.map((name) => {
    const type = name === 'rsp' || name === 'rbp' ? 'data_ptr' : name === 'rip' ? 'code_ptr' : `int${8 * bytes}`;
    const shown = bytes === 8 ? name : name.replace('r', 'e');
    if (name === 'rflags') return { name: 'eflags', bytes: 4, type: 'x86_eflags', source: { from: 'register', name } };
    return { name: shown, bytes, type, source: { from: 'register', name } };
  });
}

const SELECTORS = (['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).map((name): RegisterSpec => ({
  name,
  bytes: 4,
  type: 'int32',
  source: { from: 'selector', name },
}));

/** The registers of the x87, as FXSAVE lays them out (Intel SDM volume 1, 10.5.1). */
const X87: readonly RegisterSpec[] = [
  ...Array.from({ length: 8 }, (_, i): RegisterSpec => fxsave(`st${i}`, 10, 'i387_ext', 32 + 16 * i, 10)),
  fxsave('fctrl', 4, 'int', 0, 2),
  fxsave('fstat', 4, 'int', 2, 2),
  { name: 'ftag', bytes: 4, type: 'int', source: { from: 'tags' } },
  fxsave('fiseg', 4, 'int', 12, 2),
  fxsave('fioff', 4, 'int', 8, 4),
  fxsave('foseg', 4, 'int', 20, 2),
  fxsave('fooff', 4, 'int', 16, 4),
  fxsave('fop', 4, 'int', 6, 2),
];

function fxsave(name: string, bytes: number, type: string, at: number, length: number): RegisterSpec {
  return { name, bytes, type, source: { from: 'fxsave', at, bytes: length } };
}

function sse(count: number): Feature {
  const xmm = Array.from({ length: count }, (_, i) => fxsave(`xmm${i}`, 16, 'vec128', 160 + 16 * i, 16));
  return {
    name: 'org.gnu.gdb.i386.sse',
    types: [{ id: 'x86_mxcsr', bytes: 4, fields: MXCSR }],
    vectors: true,
    registers: [...xmm, fxsave('mxcsr', 4, 'x86_mxcsr', 24, 4)],
  };
}

function bases(bytes: number): RegisterSpec[] {
  return (['fs', 'gs'] as const).map((name) => ({
    name: `${name}_base`,
    bytes,
    type: `int${8 * bytes}`,
    source: { from: 'base', name },
  }));
}

/** What only a system sees. gdb has no feature of its own for it, and shows what any feature has. */
function system(bytes: number): Feature {
  const int = `int${8 * bytes}`;
  const control = (shown: string, type: string, name: RegisterName): RegisterSpec => ({
    name: shown,
    bytes,
    type,
    source: { from: 'register', name },
  });
  const bits = (id: string, fields: FlagsType['fields']): FlagsType => ({
    id,
    bytes,
    fields: fields
      .filter(([, first]) => first < 8 * bytes)
      .map(([name, first, last]) =>
        last === undefined ? [name, first] : [name, first, Math.min(last, 8 * bytes - 1)],
      ),
  });
  return {
    name: 'transmigrate.x86.system',
    types: [bits('x86_cr0', CR0), bits('x86_cr3', CR3), bits('x86_cr4', CR4), bits('x86_efer', EFER)],
    vectors: false,
    registers: [
      ...(bytes === 8 ? [] : bases(bytes)),
      control('k_gs_base', int, 'kernel_gs_base'),
      control('cr0', 'x86_cr0', 'cr0'),
      control('cr2', int, 'cr2'),
      control('cr3', 'x86_cr3', 'cr3'),
      control('cr4', 'x86_cr4', 'cr4'),
      control('cr8', int, 'cr8'),
      control('efer', 'x86_efer', 'efer'),
    ],
  };
}

const CORE_64: readonly RegisterName[] = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rsp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
];
const CORE_32: readonly RegisterName[] = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'rip', 'rflags'];

/** The architecture that is shown. @param withSse whether xmm registers are listed. */
export function architecture(name: ArchitectureName, withSse: boolean): Architecture {
  const is64 = name === 'i386:x86-64';
  const bytes = is64 ? 8 : 4;
  const core: Feature = {
    name: 'org.gnu.gdb.i386.core',
    types: [{ id: 'x86_eflags', bytes: 4, fields: RFLAGS }],
    vectors: false,
    registers: [...general(bytes, is64 ? CORE_64 : CORE_32), ...SELECTORS, ...X87],
  };
  const segments: Feature = {
    name: 'org.gnu.gdb.i386.segments',
    types: [],
    vectors: false,
    registers: bases(8),
  };
  const features = [core, ...(withSse ? [sse(is64 ? 16 : 8)] : []), ...(is64 ? [segments] : []), system(bytes)];
  return { name, features, registers: features.flatMap(({ registers }) => registers) };
}

/** Kinds of vCPU state that begin with an FXSAVE image of 512 bytes. */
const FXSAVE_FIRST: readonly number[] = [VCPU_STATE.fxsave, VCPU_STATE.xsave, VCPU_STATE.xenPvBasic];
const FXSAVE_BYTES = 512;

/** The FXSAVE image of a vCPU; undefined where the image has none. */
export function fxsaveOf({ vcpuStates }: OpenedImage, vcpu: number): Uint8Array | undefined {
  return FXSAVE_FIRST.map((kind) =>
    vcpuStates.find((one) => one.vcpu === vcpu && one.stateKind === kind && one.content.byteLength >= FXSAVE_BYTES),
  )
    .find((found) => found !== undefined)
    ?.content.subarray(0, FXSAVE_BYTES);
}

const CR0_PROTECTED = 1n;

/** The architecture of an image: the widest of its vCPUs' modes, since gdb can't change it later (debug 4.2). */
export function architectureOf(image: OpenedImage): Architecture {
  const online = image.vcpus.filter((vcpu) => vcpu.online);
  const vcpus = online.length > 0 ? online : image.vcpus;
  const { domainType, wordBits } = image.head;
  const isPv = domainType === 'pv';
  const is64 = isPv ? wordBits === 64 : vcpus.some(longModeOf);
  // Where cr0 is not known, real mode is the least likely.
  const isProtected = isPv || vcpus.some(({ registers }) => ((registers.cr0 ?? CR0_PROTECTED) & CR0_PROTECTED) !== 0n);
  const withSse = image.vcpus.some(({ vcpu }) => fxsaveOf(image, vcpu) !== undefined);
  return architecture(is64 ? 'i386:x86-64' : isProtected ? 'i386' : 'i8086', withSse);
}
