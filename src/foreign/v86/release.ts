/** Which release of v86 wrote a state (foreign/v86 2.2): its header does not say. */
import { TransmigrateError } from '../../errors.ts';

/** How many entries the list of the processor has, by release. */
const ENTRIES: readonly (readonly [entries: number, release: string])[] = [
  [92, '0.5.462'],
  [86, '0.5.278'],
  [85, '0.5.66'],
];

/**
 * The release whose states have so many entries. Releases between those that are known may have as many as one of them:
 * whoever uses one says which.
 * @throws DRIVER_VERSION
 */
export function releaseOfState(entries: number): string {
  const found = ENTRIES.find(([known]) => known === entries);
  if (found !== undefined) return found[1];
  const carried = ENTRIES.map(([, release]) => release);
  const what = `A state with ${entries} entries is of no known release of v86 (${carried.join(', ')})`;
  throw new TransmigrateError('DRIVER_VERSION', what, { data: { driver: 'v86', entries, carried } });
}
