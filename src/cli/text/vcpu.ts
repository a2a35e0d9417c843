import type { Fields } from './fields.ts';
import { asFields, countField, hexField, textField } from './fields.ts';
import { tableLines } from './table.ts';
import type { Column } from './table.ts';
import type { Layout } from './style.ts';

const CR0_PROTECTION = 1n;
const CR0_PAGING = 1n << 31n;
const EFER_LONG_ACTIVE = 1n << 10n;
const RFLAGS_VIRTUAL_8086 = 1n << 17n;
// Bits of segment attributes as stream 8.1 numbers them.
const CODE_LONG = 1n << 9n;
const CODE_BIG = 1n << 10n;

/**
 * In which mode a vCPU runs: real, virtual-8086, protected or long, with the width of its code where that is not the
 * mode's own. `?` when the image does not say.
 */
export function vcpuMode(vcpu: Fields): string {
  const registers = asFields(vcpu.registers);
  const cr0 = hexField(registers, 'cr0');
  if (cr0 === null) return '?';
  if ((cr0 & CR0_PROTECTION) === 0n) return 'real';
  const attributes = hexField(asFields(asFields(vcpu.segments).cs), 'attributes');
  const known = hexField(registers, 'efer');
  // Of a PV guest EFER is not known; only long mode has code that is long.
  const isLong = known === null && attributes !== null && (attributes & CODE_LONG) !== 0n;
  const efer = known ?? (isLong ? EFER_LONG_ACTIVE : 0n);
  if ((efer & EFER_LONG_ACTIVE) !== 0n) {
    if (attributes === null) return 'long';
    return (attributes & CODE_LONG) !== 0n ? 'long' : `compatibility ${codeBits(attributes)}-bit`;
  }
  if (((hexField(registers, 'rflags') ?? 0n) & RFLAGS_VIRTUAL_8086) !== 0n) return 'virtual-8086';
  const width = attributes === null ? '' : ` ${codeBits(attributes)}-bit`;
  return `protected${width}${(cr0 & CR0_PAGING) === 0n ? ', no paging' : ''}`;
}

function codeBits(attributes: bigint): number {
  return (attributes & CODE_BIG) === 0n ? 16 : 32;
}

/** `running`, `halted` or `offline`. */
export function vcpuState(vcpu: Fields): string {
  if (vcpu.online === false) return 'offline';
  return vcpu.halted === true ? 'halted' : 'running';
}

/** A register as `0x...`, empty when the image does not have it. */
export function registerText(vcpu: Fields, name: string): string {
  const text = textField(asFields(vcpu.registers), name);
  return text === '' ? '' : `0x${text}`;
}

const COLUMNS: readonly Column[] = [
  { title: 'vcpu', align: 'right' },
  { title: 'state' },
  { title: 'mode' },
  { title: 'rip', align: 'right' },
  { title: 'rsp', align: 'right', rank: 1 },
  { title: 'cr3', align: 'right', rank: 2 },
  { title: 'rflags', align: 'right', rank: 3 },
  { title: 'not known', rank: 4 },
];

const GROUPS = 'general segments control cr8 efer syscall pat tsc xcr0 apic tables debug'.split(' ');

/** The vCPUs as a table. */
export function vcpuLines(vcpus: readonly object[], layout: Layout): string[] {
  const rows = vcpus.map((entry) => {
    const vcpu = asFields(entry);
    const register = (name: string) => shortRegister(registerText(vcpu, name));
    return [
      countField(vcpu, 'vcpu'),
      vcpuState(vcpu),
      vcpuMode(vcpu),
      register('rip'),
      register('rsp'),
      register('cr3'),
      register('rflags'),
      unknownGroups(vcpu.known),
    ];
  });
  return tableLines(COLUMNS, rows, layout);
}

/** Leading zeros say nothing and cost half a line; addresses of 32-bit guests stay aligned by the column. */
function shortRegister(text: string): string {
  return text.replace(/^0x0+(?=[0-9a-f])/, '0x');
}

function unknownGroups(known: unknown): string {
  if (!Array.isArray(known)) return '';
  return GROUPS.filter((group) => !known.includes(group)).join(' ');
}
