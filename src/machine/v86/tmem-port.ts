/** The tmem hypercall as two I/O ports of the emulator (spec/hypercall.md). */
import type { TmemService } from '../machine.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES, OPERATION } from '../../tmem/descriptor.ts';
import { TMEM_PAGE_BYTES, TMEM_RESULT } from '../tmem-request.ts';
import { guestMemory, type V86Cpu } from './emulator.ts';

/** Ports and what they say (hypercall 1). */
export const TMEM_PORT = { doorbell: 0x7e0, version: 0x7e4, present: 0x6d65_6d74, interfaceVersion: 1 } as const;

const STATUS_DONE = 1;

/**
 * Gives the guest of this emulator the hypercall. The service answers before it returns, so the answer is in the
 * descriptor when the guest's OUT is done. A descriptor is the guest's: nothing of it is believed.
 */
export function attachTmemPort(cpu: V86Cpu, service: TmemService): void {
  const descriptor = new Uint8Array(DESCRIPTOR_BYTES);
  const view = new DataView(descriptor.buffer);
  const page = new Uint8Array(TMEM_PAGE_BYTES);
  const result = descriptor.subarray(DESCRIPTOR.result, DESCRIPTOR.result + 4);
  const length = descriptor.subarray(DESCRIPTOR.length, DESCRIPTOR.length + 4);
  const status = descriptor.subarray(DESCRIPTOR.status, DESCRIPTOR.status + 4);
  const device = { name: 'tmem' };

  const ring = (value: number): void => {
    const address = value >>> 0;
    const memory = guestMemory(cpu);
    // There is nowhere to write an answer to.
    if (address % DESCRIPTOR_BYTES !== 0 || address + DESCRIPTOR_BYTES > memory.byteLength) return;
    memory.copy(descriptor, 0, address, address + DESCRIPTOR_BYTES);
    const answer = request(memory);
    view.setInt32(DESCRIPTOR.result, answer, true);
    view.setUint32(DESCRIPTOR.status, STATUS_DONE, true);
    const gets = view.getUint32(DESCRIPTOR.operation, true) === OPERATION.get;
    if (gets && answer === TMEM_RESULT.done) {
      cpu.write_blob(page, Number(view.getBigUint64(DESCRIPTOR.page, true)));
      cpu.write_blob(length, address + DESCRIPTOR.length);
    }
    cpu.write_blob(result, address + DESCRIPTOR.result);
    cpu.write_blob(status, address + DESCRIPTOR.status);
  };

  const request = (memory: Buffer): number => {
    const operation = view.getUint32(DESCRIPTOR.operation, true);
    if (operation < OPERATION.newPool || operation > OPERATION.flushObject) return TMEM_RESULT.invalid;
    if (view.getBigUint64(DESCRIPTOR.reserved, true) !== 0n) return TMEM_RESULT.invalid;
    const isPut = operation === OPERATION.put;
    // Only a put into a precompressed pool states a length (hypercall 5); whether the pool is one, the service knows.
    if (!isPut && view.getUint32(DESCRIPTOR.length, true) !== 0) return TMEM_RESULT.invalid;
    if (isPut || operation === OPERATION.get) {
      const low = view.getUint32(DESCRIPTOR.page, true);
      const high = view.getUint32(DESCRIPTOR.page + 4, true);
      if (high !== 0 || low % TMEM_PAGE_BYTES !== 0 || low + TMEM_PAGE_BYTES > memory.byteLength) {
        return TMEM_RESULT.badAddress;
      }
      if (isPut) memory.copy(page, 0, low, low + TMEM_PAGE_BYTES);
    }
    return service(descriptor, page);
  };

  cpu.io.register_read(TMEM_PORT.doorbell, device, undefined, undefined, () => TMEM_PORT.present);
  cpu.io.register_write(TMEM_PORT.doorbell, device, undefined, undefined, ring);
  cpu.io.register_read(TMEM_PORT.version, device, undefined, undefined, () => TMEM_PORT.interfaceVersion);
}
