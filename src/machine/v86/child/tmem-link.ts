/** The child's end of tmem: a request goes out and its answer comes in while the guest's OUT instruction waits. */
import { readSync, writeSync } from 'node:fs';
import type { TmemService } from '../../machine.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES, OPERATION } from '../../../tmem/descriptor.ts';
import { TMEM_WIRE } from './messages.ts';

/**
 * A service behind a file descriptor that blocks. The engine is in the daemon (T1); a guest can do nothing before its
 * answer anyway, so its process waits in the system and costs nothing.
 *
 * @param gone called when the other end is closed; must not return.
 */
export function tmemOver(fd: number, gone: () => never): TmemService {
  const out = Buffer.alloc(TMEM_WIRE.request + TMEM_WIRE.page);
  const answer = Buffer.alloc(TMEM_WIRE.answer);

  const writeAll = (length: number): void => {
    for (let at = 0; at < length;) {
      try {
        at += writeSync(fd, out, at, length - at);
      } catch {
        gone();
      }
    }
  };
  const readAll = (into: Uint8Array, length: number): void => {
    for (let at = 0; at < length;) {
      let count: number;
      try {
        count = readSync(fd, into, at, length - at, null);
      } catch {
        count = 0;
      }
      if (count === 0) gone();
      at += count;
    }
  };

  return (descriptor, page) => {
    const view = new DataView(descriptor.buffer, descriptor.byteOffset, DESCRIPTOR_BYTES);
    const isPut = view.getUint32(DESCRIPTOR.operation, true) === OPERATION.put;
    out.writeUInt32LE(isPut ? 1 : 0, 0);
    out.set(descriptor, 4);
    if (isPut) out.set(page, TMEM_WIRE.request);
    writeAll(TMEM_WIRE.request + (isPut ? TMEM_WIRE.page : 0));
    readAll(answer, TMEM_WIRE.answer);
    if (answer.readUInt32LE(4) !== 0) readAll(page, TMEM_WIRE.page);
    view.setUint32(DESCRIPTOR.length, answer.readUInt32LE(8), true);
    return answer.readInt32LE(0);
  };
}
