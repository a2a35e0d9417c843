/** What `monitor` does in gdb: what its own commands can't ask for (debug 4.7). */
import { SEGMENTS, type TableRegister, type VcpuX86 } from '../../stream/records/vcpu.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import { Hexdump } from '../memory/hexdump.ts';
import type { MachineMemory } from '../memory/open-memory.ts';
import { readPhysical } from '../memory/read.ts';
import { stopText } from '../memory/stop.ts';

/** Most bytes of `monitor phys`. */
const PHYS_BYTES = 4096;
/** Longest command. */
const COMMAND_CHARACTERS = 256;

const HELP = [
  'phys ADDRESS LENGTH    physical memory, at most 4096 bytes',
  'vcpu [N]               what a vCPU has that gdb does not show: mode, segments, tables',
  'translate ADDRESS [N]  where a virtual address is, or why nowhere',
  'help                   this',
  'Numbers are decimal, or hex with 0x. Nothing can be changed, and nothing runs: this is a saved image.',
];

/** Lines that answer a command. @param vcpu the one that is meant where none is named */
export async function monitor(machine: MachineMemory, vcpu: number, command: string): Promise<string[]> {
  if (command.length > COMMAND_CHARACTERS) return ['the command is too long'];
  const [word = 'help', ...rest] = command.split(' ').filter((one) => one !== '');
  const numbers = rest.map(numberOf);
  const [first, second] = numbers;
  if (word === 'help' && rest.length === 0) return HELP;
  if (word === 'phys' && rest.length === 2 && first !== undefined && second !== undefined) {
    return physical(machine, first, second);
  }
  const isTranslate = word === 'translate' && rest.length >= 1 && rest.length <= 2;
  const isVcpu = word === 'vcpu' && rest.length <= 1;
  if ((isTranslate || isVcpu) && numbers.every((one) => one !== undefined)) {
    const named = isVcpu ? first : second;
    const wanted = named === undefined ? vcpu : Number(named);
    const found = machine.image.vcpus.find((one) => one.vcpu === wanted);
    if (found === undefined) return ['the image has no such vCPU'];
    return isVcpu ? vcpuLines(found, machine.space(wanted)) : translated(found.vcpu, machine.space(wanted), first!);
  }
  return ['this is no command; there are:', ...HELP];
}

function numberOf(text: string): bigint | undefined {
  return /^(?:0x[0-9a-f]{1,16}|\d{1,19})$/i.test(text) ? BigInt(text) : undefined;
}

async function physical(machine: MachineMemory, address: bigint, length: bigint): Promise<string[]> {
  if (length > PHYS_BYTES) return [`at most ${PHYS_BYTES} bytes`];
  const into = new Uint8Array(Number(length));
  const { bytes, stop } = await readPhysical(machine.pages, address, into);
  const dump = new Hexdump();
  const end = address + BigInt(bytes);
  return [
    ...dump.lines(address, into.subarray(0, bytes)),
    ...dump.end(end),
    ...(stop === null ? [] : [stopText(stop)]),
  ];
}

async function translated(vcpu: number, space: AddressSpace, address: bigint): Promise<string[]> {
  const found = await space.translate(address);
  if (!found.mapped) return [`vCPU ${vcpu}: ${stopText(found.stop)}`];
  const how = found.pageBytes === 0 ? 'no paging' : `page of ${found.pageBytes} bytes, entry ${hex(found.entry)}`;
  return [`vCPU ${vcpu}: ${hex(address)} is physical ${hex(found.physical)} (${how})`];
}

function vcpuLines(vcpu: Omit<VcpuX86, 'kind'>, { paging }: AddressSpace): string[] {
  const { registers, segments, gdtr, idtr } = vcpu;
  const state = vcpu.online ? (vcpu.halted ? 'halted' : 'running') : 'offline';
  const mode =
    paging.mode === null
      ? `paging unknown: no ${paging.registers.join(', ')}`
      : `paging ${paging.mode}${paging.mode === 'none' ? '' : `, tables at ${hex(paging.root)}`}`;
  const named = Object.entries(registers).filter(([name]) => !/^(?:r\d+|r[a-ds][xip]|r[bs]p|rip|rflags)$/.test(name));
  return [
    `vCPU ${vcpu.vcpu}: ${state}; ${mode}`,
    ...named.map(([name, value]) => `${name.padEnd(14)} ${hex(value)}`),
    ...(segments === null
      ? ['segments: not known']
      : SEGMENTS.map((name) => {
          const { selector, attributes, limit, base } = segments[name];
          const place = `base ${hex(base)} limit ${hex(limit)}`;
          return `${name.padEnd(14)} ${hex(selector)} ${place} attributes ${hex(attributes)}`;
        })),
    ...tableLine('gdtr', gdtr),
    ...tableLine('idtr', idtr),
  ];
}

function tableLine(name: string, table: TableRegister | null): string[] {
  return table === null ? [] : [`${name.padEnd(14)} base ${hex(table.base)} limit ${hex(table.limit)}`];
}

function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}
