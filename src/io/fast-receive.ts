/**
 * Receiving into buffers of our own. Node's `data` event makes a buffer of 64 KiB for each read of a socket, which
 * takes more time than all else that is done with the bytes; its option `onread` reads into a buffer that it is given.
 */
import { Socket, type OnReadOpts } from 'node:net';
import { Inlet } from './inlet.ts';

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
  const free: Filling[] = Array.from({ length: BUFFERS }, () => {
    return { bytes: new Uint8Array(BUFFER_BYTES), filled: 0, out: 0 };
  });
  let current = free.pop()!;
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
        if (BUFFER_BYTES - from.filled < LEAST_BYTES) current = free.pop()!;
        stopped = free.length === 0;
        return !stopped;
      },
    },
    attach: (to) => {
      socket = to;
    },
  };
}

/** What is used of a socket beyond its documentation. */
interface Inner {
  _handle?: { useUserBuffer?: unknown } | null;
}

/**
 * Gives an accepted socket the option that only a connecting one has: its handle moves into another socket. This is not
 * documented, so where it does not look as expected there is null, and the socket is as it was.
 * @param accepted from a server with `pauseOnConnect`: nothing has been read from it.
 */
export function moveAccepted(accepted: Socket): { readonly socket: Socket; readonly inlet: Inlet } | null {
  const inner = accepted as unknown as Inner;
  const handle = inner._handle;
  if (typeof handle?.useUserBuffer !== 'function' || accepted.bytesRead > 0) return null;
  const fast = fastInlet();
  const options = { handle, onread: fast.onread, allowHalfOpen: true };
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  if ((socket as unknown as Inner)._handle !== handle) return null;
  inner._handle = null;
  // The server counts the socket that it accepted.
  socket.once('close', () => accepted.destroy());
  fast.attach(socket);
  return { socket, inlet: fast.inlet };
}
