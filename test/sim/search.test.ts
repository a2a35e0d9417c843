import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FAULTS, SOUND, type FaultName } from './handover-logic.ts';
import { searchHandover, SearchFault, type SearchBound } from './search.ts';

/** What takes seconds. `npm run sim -- --search` goes further. */
const BOUNDS: readonly SearchBound[] = [
  { attempts: 1, crashes: 2, writeFailures: 2, settles: 1 },
  { attempts: 2, crashes: 1, writeFailures: 1, settles: 0 },
  { attempts: 2, crashes: 0, writeFailures: 2, settles: 0 },
];

describe('the handover, in every order (H1 to H7)', () => {
  for (const bound of BOUNDS) {
    test(JSON.stringify(bound), (context) => {
      const { states, transitions, ends } = searchHandover(SOUND, bound);
      context.diagnostic(`${states} states, ${transitions} transitions`);
      // A search that is cut short by a defect of its own would find nothing wrong either.
      assert.ok(states > 300, `${states} states`);
      assert.ok(ends.has('source') && ends.has('destination'), [...ends.keys()].join('; '));
      if (bound.crashes > 0) assert.ok(ends.has('unknown, gone') && ends.has('source, gone'));
    });
  }

  for (const fault of Object.keys(FAULTS) as FaultName[]) {
    test(`it finds one that ${fault}`, () => {
      const bound = { attempts: 1, crashes: 1, writeFailures: 1, settles: 0 };
      assert.throws(() => searchHandover(FAULTS[fault], bound), SearchFault);
    });
  }
});
