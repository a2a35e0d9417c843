import { TransmigrateError } from '../errors.ts';

/** What the system's errors mean to somebody who wanted to read a file, and what can be done. */
const KNOWN: Readonly<Record<string, readonly [why: string, next?: string]>> = {
  ENOENT: ['there is no such file', 'Check the name, and the directory that it is in.'],
  ENOTDIR: ['a part of its path is not a directory', 'Check the name, and the directory that it is in.'],
  EACCES: ['permission denied', 'Ask its owner for the right to read it, or read it as its owner.'],
  EPERM: ['permission denied', 'Ask its owner for the right to read it, or read it as its owner.'],
  EISDIR: ['it is a directory', 'Name a file in it.'],
  ENXIO: ['it is a socket, or a device that is not there', 'Name a file, a block device or a pipe.'],
  ELOOP: ['its symbolic links go in a circle'],
  ENAMETOOLONG: ['the name is too long'],
  EIO: ['the medium reports an error', 'The medium may be failing: copy the image from it while that can be done.'],
  ENODEV: ['there is no such device'],
  ENOMEDIUM: ['there is no medium in the drive'],
};

/** READ_FAILED for whatever opening or reading threw. */
export function readFailed(name: string, cause: unknown): TransmigrateError {
  if (cause instanceof TransmigrateError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  const [why, next] = KNOWN[code] ?? [cause instanceof Error ? cause.message : String(cause)];
  return cannotRead(name, why, next, cause);
}

/** READ_FAILED for a reason that no system call gave. */
export function cannotRead(name: string, why: string, next?: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('READ_FAILED', `Can't read ${name}: ${why}`, {
    data: { file: name, reason: why },
    ...(cause !== undefined && { cause }),
    ...(next !== undefined && { next }),
  });
}
