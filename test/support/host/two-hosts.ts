/** Two hosts of machines without guests, with journals, one of which listens. */
import { join } from 'node:path';
import { Host } from '../../../src/host/host.ts';
import type { Speaks } from '../../../src/host/migration/migrations.ts';
import { HostTmem } from '../../../src/host/host-tmem.ts';
import { HostJournal } from '../../../src/host/migration/host-journal.ts';
import { migrateSchema, type MigrateChoice } from '../../../src/host/migration/jobs.ts';
import { parse } from '../../../src/host/api.ts';
import type { JournalRecord } from '../../../src/migrate/journal/records.ts';
import type { OwnState } from '../../../src/migrate/section/own.ts';
import type { TlsOptions } from '../../../src/io/tls.ts';
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

export interface JournaledChoice {
  readonly tmemBytes?: number;
  readonly port?: number;
  readonly tls?: TlsOptions;
  readonly speaks?: Speaks;
  readonly own?: readonly OwnState[];
  /** Called before records are written; what it waits for, the write waits for. */
  readonly before?: (records: readonly JournalRecord[]) => Promise<void> | void;
}

export async function journaledHost(directory: string, choice: JournaledChoice = {}): Promise<JournaledHost> {
  const { tmemBytes = 4 * 2 ** 20, before } = choice;
  const journal = await HostJournal.open(directory);
  const { append } = journal;
  Object.assign(journal, {
    append: async (records: readonly JournalRecord[]) => {
      await before?.(records);
      return append(records);
    },
  });
  const driver = new FakeDriver();
  const tmem = new HostTmem(tmemBytes, 1);
  let host: Host;
  try {
    host = new Host({
      version: '0.0.0',
      driver,
      tmem,
      journal,
      tls: choice.tls,
      own: choice.own,
      speaks: choice.speaks,
    });
  } catch (error) {
    await journal.close();
    throw error;
  }
  host.migrations.recover();
  const { port } = await host.migrations.listen({ host: '127.0.0.1', port: choice.port ?? 0 });
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
