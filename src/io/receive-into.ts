/**
 * Receiving into memory that is there. Node's `data` event makes a buffer of 64 KiB for each read of a socket, whatever
 * comes, which takes more time than all else that is done with the bytes, and makes the collector run: in the pause of
 * a guest that migrates, too. Node's option `onread` reads into memory that it is given.
 */
import { Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';

/** Says where the next bytes go, and is told how many came. */
export interface Receiver {
  room(): Uint8Array;
  took(length: number): void;
}

/** For the options of a socket that reads into memory of ours. */
export function onreadOf(receiver: Receiver): OnReadOpts {
  return {
    // Asked for once at the beginning, and after each read.
    buffer: () => receiver.room(),
    callback: (length) => {
      receiver.took(length);
      return true;
    },
  };
}

/**
 * Lets a socket of a child process read into memory of ours. Where that can't be had what comes is copied there.
 * @param socket from which nothing was read yet.
 * @returns the socket that is used in its place from now on.
 */
export function receiveInto(socket: Socket, receiver: Receiver): Socket {
  const moved = moveHandle(socket, { onread: onreadOf(receiver) });
  if (moved !== null) return moved;
  socket.on('data', (piece: Buffer) => {
    for (let at = 0; at < piece.byteLength;) {
      const room = receiver.room();
      const length = Math.min(room.byteLength, piece.byteLength - at);
      room.set(piece.subarray(at, at + length));
      at += length;
      receiver.took(length);
    }
  });
  return socket;
}

/** What is used of a socket beyond its documentation. */
interface Inner {
  _handle?: { useUserBuffer?: unknown } | null;
}

/**
 * Gives a socket that exists the options that only a new one can have: its handle moves into another socket. This is
 * not documented, so where it does not look as expected there is null, and the socket is as it was.
 * @param socket from which nothing was read yet.
 */
export function moveHandle(socket: Socket, options: SocketConstructorOpts): Socket | null {
  const inner = socket as unknown as Inner;
  const handle = inner._handle;
  if (typeof handle?.useUserBuffer !== 'function' || socket.bytesRead > 0) return null;
  const moved = new Socket({ handle, ...options } as SocketConstructorOpts);
  if ((moved as unknown as Inner)._handle !== handle) return null;
  inner._handle = null;
  // The server that accepted it, or the child process that it belongs to, waits for its end.
  moved.once('close', () => socket.destroy());
  return moved;
}
