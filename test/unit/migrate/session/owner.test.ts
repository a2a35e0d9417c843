import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { answerOwner, ownerOf } from '../../../../src/migrate/session/owner.ts';
import { ID, Pair } from '../../../support/session-pair.ts';

/** What both say at a moment of a migration, and what follows from it. */
function at(until: string): string[] {
  const pair = new Pair().run(until);
  const source = answerOwner(ID, pair.source.handover, 'source');
  const destination = answerOwner(ID, pair.destination.handover, 'destination');
  return [source.owner, destination.owner, ownerOf(source, destination).owner];
}

describe('who owns it (H5)', () => {
  for (const [until, source, destination, both] of [
    ['> OFFER', 'source', 'unknown', 'source'],
    ['source work', 'source', 'source', 'source'],
    ['< CONFIRM', 'source', 'unknown', 'source'],
    ['source journal GIVEN', 'unknown', 'unknown', 'unknown'],
    ['> GIVEN', 'unknown', 'unknown', 'unknown'],
    ['destination journal RUNNING', 'unknown', 'unknown', 'unknown'],
    ['destination report', 'unknown', 'destination', 'destination'],
    ['> DONE', 'destination', 'destination', 'destination'],
  ] as const) {
    test(`at ${until}`, () => assert.deepEqual(at(until), [source, destination, both]));
  }

  test('of two claims the higher epoch counts, and of equal ones the source’s', () => {
    const source = { owner: 'source', epoch: 8, gone: false } as const;
    const destination = { owner: 'destination', epoch: 7, gone: false } as const;
    assert.equal(ownerOf(source, destination), source);
    assert.equal(ownerOf({ ...source, epoch: 6 }, destination), destination);
    assert.equal(ownerOf({ ...source, epoch: 7 }, destination).owner, 'source');
  });

  test('of a destination that does not answer, the source’s word is all there is', () => {
    const done = { owner: 'destination', epoch: 7, gone: false } as const;
    assert.equal(ownerOf(done, null), done);
    assert.equal(ownerOf({ owner: 'unknown', epoch: 7, gone: false }, null).owner, 'unknown');
    assert.deepEqual(ownerOf(null, null), { owner: 'unknown', epoch: 0, gone: false });
  });

  test('a host that never heard of it says so', () => {
    assert.deepEqual(answerOwner(ID, null, 'destination'), {
      kind: 'OWNERSHIP',
      id: ID,
      epoch: 0,
      owner: 'unknown',
      gone: false,
      state: 'unknown',
    });
  });
});
