import { ERRORS, type TransmigrateError } from '../../errors.ts';

/** Failures that say nothing of the image: it can't be read or put aside, or nobody wants it any more. */
export function isAboutReading(error: TransmigrateError): boolean {
  const kind = ERRORS[error.code].class;
  return kind === 'store' || kind === 'cancelled';
}
