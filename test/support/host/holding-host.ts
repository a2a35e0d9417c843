/**
 * A host as `host run` makes one, in a process of its own, that stops at one moment of a migration and waits there: its
 * next line of standard input lets it go on. It says when it got there, and answers everything else meanwhile.
 *
 *   node holding-host.ts SOCKET STATE MOMENT
 */
import { once } from 'node:events';
import type { Driver, Made } from '../../../src/host/driver.ts';
import { Host } from '../../../src/host/host.ts';
import { HostTmem } from '../../../src/host/host-tmem.ts';
import { HostJournal } from '../../../src/host/migration/host-journal.ts';
import { serve } from '../../../src/host/server.ts';
import { V86Driver } from '../../../src/host/v86-driver.ts';
import type { JournalRecord } from '../../../src/migrate/journal/records.ts';

/** What its guest's process is asked for. */
const OPERATIONS = ['scan', 'pause', 'captureDevices', 'loadPages', 'loadDeviceState', 'resume'] as const;

/**
 * Where a host stops: before it asks a guest's process for something, or before a record is written into its journal
 * and after the record is durable there.
 */
export type Moment = `${'before' | 'after'} ${JournalRecord['kind']}` | (typeof OPERATIONS)[number];

class HeldDriver implements Driver {
  readonly kinds;
  readonly #driver = new V86Driver();
  readonly #reach: (moment: Moment) => Promise<void>;

  constructor(reach: (moment: Moment) => Promise<void>) {
    this.#reach = reach;
    this.kinds = this.#driver.kinds;
  }

  async create(...args: Parameters<Driver['create']>): Promise<Made> {
    const made = await this.#driver.create(...args);
    // It is resumed once to begin with.
    return this.#held(made, { resume: 1 });
  }

  async forImage(...args: Parameters<Driver['forImage']>): Promise<Made> {
    // Loading devices is tried with its own.
    return this.#held(await this.#driver.forImage(...args), { loadDeviceState: 1 });
  }

  /** @param skipped how often an operation comes before the migration has got to it. */
  #held(made: Made, skipped: { [operation in (typeof OPERATIONS)[number]]?: number }): Made {
    const { machine } = made;
    for (const operation of OPERATIONS) {
      const perform = machine[operation].bind(machine) as (...args: unknown[]) => Promise<unknown>;
      let left = skipped[operation] ?? 0;
      const held = async (...args: unknown[]): Promise<unknown> => {
        if (left-- <= 0) await this.#reach(operation);
        return perform(...args);
      };
      Object.assign(machine, { [operation]: held });
    }
    return made;
  }
}

if (import.meta.main) {
  const [socket, state, held] = process.argv.slice(2);
  let reached = false;
  const reach = async (moment: Moment): Promise<void> => {
    if (moment !== held || reached) return;
    reached = true;
    console.log(moment);
    await once(process.stdin, 'data');
  };
  const journal = await HostJournal.open(state);
  const { append } = journal;
  Object.assign(journal, {
    append: async (records: readonly JournalRecord[]) => {
      for (const { kind } of records) await reach(`before ${kind}`);
      const end = await append(records);
      for (const { kind } of records) await reach(`after ${kind}`);
      return end;
    },
  });
  const tmem = new HostTmem(64 * 2 ** 20, 1);
  const host = new Host({ version: '0.0.0', driver: new HeldDriver(reach), tmem, journal });
  await serve(host, socket);
  host.migrations.recover();
}
