/** The parent's end of tmem: a guest's process asks, the engine answers, and the guest goes on. */
import type { Socket } from 'node:net';
import { receiveInto } from '../../io/receive-into.ts';
import type { TmemService } from '../machine.ts';
import { DESCRIPTOR, DESCRIPTOR_BYTES, OPERATION } from '../../tmem/descriptor.ts';
import { TMEM_RESULT } from '../tmem-request.ts';
import { TMEM_WIRE } from './child/messages.ts';

/**
 * Answers each request that comes on the socket. A guest has one request at a time, so one buffer each way is enough.
 * @param socket from which nothing was read yet.
 * @param failed called when the service throws or the child writes nonsense; nothing is answered any more.
 * @returns the socket that is used from now on.
 */
export function serveTmem(socket: Socket, service: TmemService, failed: (reason: string) => void): Socket {
  const request = Buffer.alloc(TMEM_WIRE.request + TMEM_WIRE.page);
  const descriptor = new Uint8Array(request.buffer, request.byteOffset + 4, DESCRIPTOR_BYTES);
  const view = new DataView(descriptor.buffer, descriptor.byteOffset, DESCRIPTOR_BYTES);
  const put = request.subarray(TMEM_WIRE.request);
  const answer = Buffer.alloc(TMEM_WIRE.answer + TMEM_WIRE.page);
  const page = new Uint8Array(answer.buffer, answer.byteOffset + TMEM_WIRE.answer, TMEM_WIRE.page);
  let filled = 0;

  const needed = (): number => (request.readUInt32LE(0) === 0 ? TMEM_WIRE.request : TMEM_WIRE.request + TMEM_WIRE.page);

  const serve = (): void => {
    const operation = view.getUint32(DESCRIPTOR.operation, true);
    const result = service(descriptor, needed() > TMEM_WIRE.request ? put : page);
    const withPage = operation === OPERATION.get && result === TMEM_RESULT.done;
    answer.writeInt32LE(result, 0);
    answer.writeUInt32LE(withPage ? 1 : 0, 4);
    answer.writeUInt32LE(view.getUint32(DESCRIPTOR.length, true), 8);
    // The buffer is free again when the child asks next, and it asks only once it has the answer.
    served.write(answer.subarray(0, TMEM_WIRE.answer + (withPage ? TMEM_WIRE.page : 0)));
  };

  const served = receiveInto(socket, {
    room: () => request.subarray(filled),
    took: (length) => {
      filled += length;
      try {
        while (filled >= TMEM_WIRE.request && filled >= needed()) {
          const used = needed();
          serve();
          request.copyWithin(0, used, filled);
          filled -= used;
        }
      } catch (error) {
        served.destroy();
        failed(error instanceof Error ? error.message : String(error));
      }
    },
  });
  return served;
}
