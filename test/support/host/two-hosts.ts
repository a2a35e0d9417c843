/** Two hosts of machines without guests, with journals, one of which listens. */
import { join } from 'node:path';
import { Host } from '../../../src/host/host.ts';
import { HostTmem } from '../../../src/host/host-tmem.ts';
import { HostJournal } from '../../../src/host/migration/host-journal.ts';
import { migrateSchema, type MigrateChoice } from '../../../src/host/migration/jobs.ts';
import { parse } from '../../../src/host/api.ts';
import { readJournal } from '../../../src/migrate/journal/entries.ts';
import { readFileSync } from 'node:fs';
import { FakeDriver, type FakeHost } from './fake-host.ts';

export interface JournaledHost extends FakeHost {
  readonly journal: HostJournal;
  readonly directory: string;
  readonly port: number;
  /** Kinds of the records in its journal, in order. */
  kinds(): string[];
  end(): Promise<void>;
}

export async function journaledHost(directory: string, tmemBytes = 4 * 2 ** 20): Promise<JournaledHost> {
  const journal = await HostJournal.open(directory);
  const driver = new FakeDriver();
  const tmem = new HostTmem(tmemBytes, 1);
  const host = new Host({ version: '0.0.0', driver, tmem, journal });
  host.migrations.recover();
  const { port } = await host.migrations.listen({ host: '127.0.0.1', port: 0 });
  return {
    host,
    driver,
    tmem,
    journal,
    directory,
    port,
    kinds: () => readJournal(readFileSync(join(directory, 'journal'))).records.map(({ kind }) => kind),
    end: async () => {
      await host.close();
      await journal.close();
    },
  };
}

export function to({ port }: { readonly port: number }, changes: object = {}): MigrateChoice {
  return parse(migrateSchema, { host: '127.0.0.1', port, ...changes });
}
