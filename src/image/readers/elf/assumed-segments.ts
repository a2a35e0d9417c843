import type { Segment, SegmentName } from '../../../stream/records/vcpu.ts';

/** Selectors of a processor, and the two bases that such notes tell. */
export interface KnownSelectors {
  readonly selectors: Readonly<Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs', number>>;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
}

/** Attributes as in the VMCB (stream 8.1), of privilege 0: code and data of real mode, and flat ones of 4 GiB. */
const ATTRIBUTES = { realCode: 0x9b, realData: 0x93, code64: 0xa9b, code32: 0xc9b, data: 0xc93 } as const;
const PRIVILEGE_SHIFT = 5;
const NONE: Segment = { selector: 0, attributes: 0, limit: 0, base: 0n };

/**
 * Segments where only selectors are known (spec/foreign/elf.md 4.2.1): of real mode as real mode has them, else flat.
 * @param mode bits of code; 16 for real mode.
 */
export function assumedSegments(known: KnownSelectors, mode: 16 | 32 | 64): Record<SegmentName, Segment> {
  const segment = (name: keyof KnownSelectors['selectors']): Segment => {
    const selector = known.selectors[name] & 0xffff;
    if (mode === 16) {
      const attributes = name === 'cs' ? ATTRIBUTES.realCode : ATTRIBUTES.realData;
      return { selector, attributes, limit: 0xffff, base: BigInt(selector) << 4n };
    }
    const flat = name === 'cs' ? (mode === 64 ? ATTRIBUTES.code64 : ATTRIBUTES.code32) : ATTRIBUTES.data;
    const base = name === 'fs' ? known.fsBase : name === 'gs' ? known.gsBase : 0n;
    return { selector, attributes: flat | ((selector & 3) << PRIVILEGE_SHIFT), limit: 0xffff_ffff, base };
  };
  return {
    es: segment('es'),
    cs: segment('cs'),
    ss: segment('ss'),
    ds: segment('ds'),
    fs: segment('fs'),
    gs: segment('gs'),
    ldtr: NONE,
    tr: NONE,
  };
}
