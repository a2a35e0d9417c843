/** What a domain's XML says of it, for the model's head: names and numbers, no more (spec/foreign/libvirt.md 4). */
import type { JsonObject } from '../../../bytes/bounded-json.ts';
import { MACHINE } from '../../model/event.ts';

/** ELF machines by the name that libvirt has for them (foreign/libvirt 4). */
const MACHINES: Readonly<Record<string, { readonly machine: number; readonly bits: 32 | 64 }>> = {
  x86_64: { machine: MACHINE.x8664, bits: 64 },
  i686: { machine: MACHINE.i386, bits: 32 },
  aarch64: { machine: 183, bits: 64 },
  armv7l: { machine: 40, bits: 32 },
  ppc64: { machine: 21, bits: 64 },
  ppc64le: { machine: 21, bits: 64 },
  s390x: { machine: 22, bits: 64 },
  riscv64: { machine: 243, bits: 64 },
};

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

export interface DomainSaid {
  readonly machine: number;
  readonly wordBits: 32 | 64;
  readonly isHvm: boolean;
  /** Name, uuid, number of processors, as far as they are there. */
  readonly about: JsonObject;
}

/** Reads what is needed of a domain's XML. What can't be found is left out: QEMU, and not the XML, is restored. */
export function domainOf(xml: string): DomainSaid {
  const name = elementText(xml, 'name');
  const uuid = elementText(xml, 'uuid');
  const vcpus = Number(elementText(xml, 'vcpu') ?? NaN);
  const type = /<type(?=[\s>])[^>]{0,1024}>\s{0,16}([a-z]{1,16})/.exec(xml);
  const arch = /<type(?=[\s>])[^>]{0,1024}\barch=['"](\w{1,32})['"]/.exec(xml)?.[1] ?? '';
  const known = Object.hasOwn(MACHINES, arch) ? MACHINES[arch] : { machine: MACHINE.none, bits: 64 as const };
  return {
    machine: known.machine,
    wordBits: known.bits,
    isHvm: type?.[1] === 'hvm',
    about: {
      ...(name !== undefined && name.length <= 1024 && { name }),
      ...(uuid !== undefined && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid) && { uuid }),
      ...(Number.isSafeInteger(vcpus) && vcpus > 0 && { vcpus }),
    },
  };
}

/** The text of the first element of this name, without what surrounds it. */
function elementText(xml: string, name: string): string | undefined {
  const found = new RegExp(`<${name}(?=[\\s>])[^>]{0,1024}>([^<]{0,4096})</${name}>`).exec(xml);
  if (found === null) return undefined;
  return found[1].trim().replaceAll(/&(\w{1,8}|#\d{1,7}|#x[0-9a-fA-F]{1,6});/g, (whole, entity: string) => {
    if (!entity.startsWith('#')) return Object.hasOwn(ENTITIES, entity) ? ENTITIES[entity] : whole;
    const code = entity.startsWith('#x') ? parseInt(entity.slice(2), 16) : Number(entity.slice(1));
    return code <= 0x10_ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : whole;
  });
}
