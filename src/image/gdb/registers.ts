/** Values of registers, as gdb gets them: hex digits in the order of memory, or `x` for what is not known. */
import { hexNumber, toHex } from '../../bytes/hex.ts';
import type { VcpuX86 } from '../../stream/records/vcpu.ts';
import type { RegisterSpec } from './architecture.ts';

/** @param fxsave the FXSAVE image of the vCPU, where it is known. */
export function registerHex(
  { bytes, source }: RegisterSpec,
  { registers, segments }: Omit<VcpuX86, 'kind'>,
  fxsave: Uint8Array | undefined,
): string {
  switch (source.from) {
    case 'register':
      return littleEndian(registers[source.name], bytes);
    case 'selector':
      return littleEndian(segments === null ? undefined : BigInt(segments[source.name].selector), bytes);
    case 'base':
      return littleEndian(segments?.[source.name].base, bytes);
    case 'fxsave':
      if (fxsave === undefined) return 'x'.repeat(2 * bytes);
      return toHex(fxsave.subarray(source.at, source.at + source.bytes)).padEnd(2 * bytes, '0');
    case 'tags':
      return littleEndian(fxsave === undefined ? undefined : BigInt(tagsOf(fxsave)), bytes);
  }
}

function littleEndian(value: bigint | undefined, bytes: number): string {
  if (value === undefined) return 'x'.repeat(2 * bytes);
  const digits = hexNumber(BigInt.asUintN(8 * bytes, value), 2 * bytes);
  return digits.match(/../g)!.reverse().join('');
}

const TAG = { valid: 0, zero: 1, special: 2, empty: 3 } as const;

/**
 * The tag word of FSAVE: two bits for each register. FXSAVE keeps only whether it is empty; the rest shows in the value
 * (Intel SDM volume 1, 8.1.7 and 10.5.1.1).
 */
function tagsOf(fxsave: Uint8Array): number {
  const view = new DataView(fxsave.buffer, fxsave.byteOffset, fxsave.byteLength);
  const top = (view.getUint16(2, true) >> 11) & 7;
  const full = view.getUint8(4);
  let tags = 0;
  for (let i = 0; i < 8; i++) {
    // Values are kept in the order of the stack, tags in that of the registers.
    const at = 32 + 16 * ((i - top) & 7);
    const tag = (full & (1 << i)) === 0 ? TAG.empty : tagOf(view.getBigUint64(at, true), view.getUint16(at + 8, true));
    tags |= tag << (2 * i);
  }
  return tags;
}

function tagOf(significand: bigint, signAndExponent: number): number {
  const exponent = signAndExponent & 0x7fff;
  if (exponent === 0) return significand === 0n ? TAG.zero : TAG.special;
  return exponent === 0x7fff || significand < 2n ** 63n ? TAG.special : TAG.valid;
}
