import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vcpuMode, vcpuState } from '../../../src/cli/text/vcpu.ts';

const PE = '0000000000000011';
const PE_PG = '0000000080000011';
const LMA = '0000000000000500';

interface Given {
  readonly cr0?: string;
  readonly efer?: string;
  readonly rflags?: string;
  /** Attributes of cs. */
  readonly cs?: string;
}

const CASES: readonly (readonly [given: Given, mode: string])[] = [
  [{}, '?'],
  [{ cr0: '0000000000000010', cs: '009b' }, 'real'],
  [{ cr0: PE_PG, cs: '0c9b' }, 'protected 32-bit'],
  [{ cr0: PE, cs: '009b' }, 'protected 16-bit, no paging'],
  [{ cr0: PE_PG }, 'protected'],
  [{ cr0: PE_PG, rflags: '0000000000020202', cs: '00f3' }, 'virtual-8086'],
  [{ cr0: PE_PG, efer: LMA, cs: '0a9b' }, 'long'],
  [{ cr0: PE_PG, efer: LMA }, 'long'],
  [{ cr0: PE_PG, efer: LMA, cs: '0c9b' }, 'compatibility 32-bit'],
  [{ cr0: PE_PG, efer: LMA, cs: '009b', rflags: '0000000000020202' }, 'compatibility 16-bit'],
];

for (const [given, mode] of CASES) {
  test(`the mode of ${JSON.stringify(given)} is ${mode}`, () => {
    const { cs, ...registers } = given;
    assert.equal(vcpuMode({ registers, segments: cs === undefined ? null : { cs: { attributes: cs } } }), mode);
  });
}

test('a vCPU is offline before it is halted', () => {
  assert.equal(vcpuState({ online: true, halted: false }), 'running');
  assert.equal(vcpuState({ online: true, halted: true }), 'halted');
  assert.equal(vcpuState({ online: false, halted: true }), 'offline');
});
