import type { ErrorJson } from '../errors.ts';
import type { SaveResult } from './api.ts';

/** Trailer of an image that is an answer's body: how it ended, as JSON, percent-encoded. */
export const TRAILER = 'x-end';

/** What the trailer says. */
export type ImageEnd = { readonly result: SaveResult } | { readonly error: ErrorJson };
