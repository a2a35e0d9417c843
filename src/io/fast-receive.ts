/**
 * Receiving into buffers of our own. Node's `data` event makes a buffer of 64 KiB for each read of a socket, which
 * takes more time than all else that is done with the bytes; its option `onread` reads into a buffer that it is given.
 */
import { Socket, type OnReadOpts } from 'node:net';
import { Inlet } from './inlet.ts';

const BUFFER_BYTES = 512 * 1024;
const BUFFERS = 4;

export interface FastInlet {
  readonly inlet: Inlet;
  /** For the options of a socket. */
  readonly onread: OnReadOpts;
  /** Reading goes on when the reader has given a buffer back. */
  attach(socket: Socket): void;
}

export function fastInlet(): FastInlet {
  const inlet = new Inlet();
  const free = Array.from({ length: BUFFERS }, () => new Uint8Array(BUFFER_BYTES));
  let socket: Socket | undefined;
  let stopped = false;
  const release = (buffer: Uint8Array<ArrayBuffer>): void => {
    free.push(buffer);
    if (!stopped) return;
    stopped = false;
    socket?.resume();
  };
  return {
    inlet,
    onread: {
      // Asked for once at the beginning, and after each read.
      buffer: () => free.pop()!,
      callback: (length, buffer) => {
        inlet.push(buffer.subarray(0, length), () => release(buffer as Uint8Array<ArrayBuffer>));
        // The next buffer is taken when this returns; behind it there must be another, or reading stops.
        stopped = free.length < 2;
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
