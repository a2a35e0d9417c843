import { TransmigrateError } from '../errors.ts';

/** What must be read twice can't be made of what can't be read again. */
export function needsRandomAccess(name: string): TransmigrateError {
  return new TransmigrateError('READ_FAILED', `${name} can't be read a second time, which a digest needs`, {
    next: 'Copy it into a file first.',
  });
}
