/**
 * `kill -9` of either host at each moment of a migration that counts, from the rounds to DONE: never two running, no
 * process left, and the guest is somewhere, or its fate is told. KILLS says how often each.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { aimedKill, type Side } from '../../../support/host/aimed-kill.ts';
import { aimOf, AIMS } from '../../../support/host/aims.ts';
import { scratch } from '../../../support/host/fake-host.ts';

const KILLS = Number(process.env['KILLS'] ?? 1);
const directory = scratch(after);
let places = 0;

describe(`kill -9, ${KILLS} times each`, () => {
  for (const name of Object.keys(AIMS)) {
    for (const victim of ['source', 'destination'] as const satisfies readonly Side[]) {
      it(`of the ${victim} ${name}`, { timeout: 120_000 * KILLS }, async () => {
        for (let kill = 0; kill < KILLS; kill++) {
          const place = join(directory.path, String(++places));
          mkdirSync(place);
          await aimedKill(place, aimOf(name, victim));
        }
      });
    }
  }
});
