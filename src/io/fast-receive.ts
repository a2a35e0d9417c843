/** Receiving into a few large buffers that are used again and again, for whoever reads pieces. */
import type { OnReadOpts, Socket } from 'node:net';
import { Inlet } from './inlet.ts';
import { moveHandle } from './receive-into.ts';

/** Reads go one behind the other into a buffer, so that what they bring is one piece for a reader that is behind. */
const BUFFER_BYTES = 2 * 1024 * 1024;
const BUFFERS = 3;
/** With less room than this at its end the next buffer is begun. */
const LEAST_BYTES = 128 * 1024;

/** A buffer, as far as it was read into, and how many pieces of it the reader has not given back. */
interface Filling {
  readonly bytes: Uint8Array<ArrayBuffer>;
  filled: number;
  out: number;
}

export interface FastInlet {
  readonly inlet: Inlet;
  /** For the options of a socket. */
  readonly onread: OnReadOpts;
  /** Reading goes on when the reader has given a buffer back. */
  attach(socket: Socket): void;
}

export function fastInlet(): FastInlet {
  const inlet = new Inlet();
  // Made when they are needed: a connection over which little comes has one.
  const free: Filling[] = [];
  let made = 0;
  const another = (): Filling => {
    const buffer = free.pop();
    if (buffer !== undefined) return buffer;
    made++;
    return { bytes: new Uint8Array(BUFFER_BYTES), filled: 0, out: 0 };
  };
  let current = another();
  let socket: Socket | undefined;
  let stopped = false;
  const giveBack = (buffer: Filling): void => {
    buffer.filled = 0;
    free.push(buffer);
    if (!stopped) return;
    stopped = false;
    socket?.resume();
  };
  return {
    inlet,
    onread: {
      // Asked for once at the beginning, and after each read.
      buffer: () => current.bytes.subarray(current.filled),
      callback: (length) => {
        const from = current;
        from.out++;
        inlet.push(from.bytes.subarray(from.filled, from.filled + length), () => {
          if (--from.out === 0 && from !== current) giveBack(from);
        });
        from.filled += length;
        // What is read into next must be there, whether reading stops or not; so it stops before the last is used up.
        if (BUFFER_BYTES - from.filled < LEAST_BYTES) current = another();
        stopped = free.length === 0 && made === BUFFERS;
        return !stopped;
      },
    },
    attach: (to) => {
      socket = to;
    },
  };
}

/**
 * Lets an accepted socket receive so, too. @returns null where that can't be had, and the socket is as it was.
 * @param accepted from a server with `pauseOnConnect`: nothing has been read from it.
 */
export function moveAccepted(accepted: Socket): { readonly socket: Socket; readonly inlet: Inlet } | null {
  const fast = fastInlet();
  const socket = moveHandle(accepted, { onread: fast.onread, allowHalfOpen: true });
  if (socket === null) return null;
  fast.attach(socket);
  return { socket, inlet: fast.inlet };
}
