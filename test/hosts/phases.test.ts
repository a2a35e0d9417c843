/**
 * `kill -9` of a host at moments of a migration that are hard to hit: of each kind one, with processes. phases.slow.ts
 * has all of them.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { aimedKill, type Side } from '../support/host/aimed-kill.ts';
import { aimOf } from '../support/host/aims.ts';
import { scratch } from '../support/host/fake-host.ts';

const directory = scratch(after);
let places = 0;

const KILLS: readonly (readonly [victim: Side, when: string])[] = [
  ['destination', 'before the guest stands still'],
  ['source', 'before its devices were sent'],
  ['source', 'while its devices are loaded'],
  ['source', 'when GIVEN is written, and not said'],
  ['destination', 'when GIVEN is said, and not heard'],
  ['destination', 'when RUNNING is written, and not said'],
];

describe('kill -9', { concurrency: 2 }, () => {
  for (const [victim, when] of KILLS) {
    it(`of the ${victim} ${when}`, { timeout: 60_000 }, async () => {
      const place = join(directory.path, String(++places));
      mkdirSync(place);
      await aimedKill(place, aimOf(when, victim));
    });
  }
});
