import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { TransmigrateError } from '../errors.ts';

/** Most bytes of a socket's path: `sun_path` of Linux has 108 with the zero at the end, of others as few as 104. */
const PATH_BYTES = 103;

/**
 * Has a server listen on a unix socket that only its owner can open (mode 0600, in a directory made with mode 0700).
 * @throws USAGE for a path that is too long; WRITE_FAILED when there is no place for the socket; HOST_RUNNING when
 * another host listens there.
 */
export async function listen(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_BYTES) {
    throw new TransmigrateError('USAGE', `The path of a socket has at most ${PATH_BYTES} bytes: ${path}`, {
      next: 'Name a shorter one with --socket, or set TRANSMIGRATE_SOCKET.',
    });
  }
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw cannotListen(path, cause);
  }
  await clearStale(path);
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (cause) {
    throw (cause as NodeJS.ErrnoException).code === 'EADDRINUSE' ? running(path) : cannotListen(path, cause);
  } finally {
    process.umask(before);
  }
  await chmod(path, 0o600);
}

/** A socket that nobody listens on is left over from a host that was killed. */
async function clearStale(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there === undefined) return;
  if (!there.isSocket()) {
    throw new TransmigrateError('WRITE_FAILED', `${path} is there already, and it is no socket`, {
      next: 'Name another --socket.',
    });
  }
  const why = await new Promise<string>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve('');
    });
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
  });
  // A host that has too much to do to answer is one that runs.
  if (why === '' || why === 'EAGAIN') throw running(path);
  if (why !== 'ECONNREFUSED' && why !== 'ENOENT') throw cannotListen(path, new Error(why));
  try {
    await unlink(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cannotListen(path, cause);
  }
}

function running(path: string): TransmigrateError {
  return new TransmigrateError('HOST_RUNNING', `Another host listens on ${path}`, { data: { socket: path } });
}

function cannotListen(path: string, cause: unknown): TransmigrateError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const why = code === 'EACCES' || code === 'EROFS' ? 'permission denied' : message;
  return new TransmigrateError('WRITE_FAILED', `Can't listen on ${path}: ${why}`, {
    cause,
    data: { socket: path },
    next: 'Name a --socket in a directory of your own.',
  });
}
