/** What a host concludes from its journal when it starts again (protocol 8.3, H6). */
import { TransmigrateError } from '../../errors.ts';
import { recoverDestination, type DestinationState } from '../handover/destination.ts';
import { OWNERSHIP_RECORDS, type OwnershipRecord } from '../handover/ownership.ts';
import { recoverSource, type SourceState } from '../handover/source.ts';
import type { JournalRecord, PeerHow } from './records.ts';

/** A process that may still run a guest: ended, if it is still the same one, before anything else is done. */
export interface LeftProcess {
  readonly machine: string;
  readonly pid: number;
  readonly started: string;
}

export interface Recovered {
  /** Null in a new journal. */
  readonly identity: string | null;
  /** To be ended first, and awaited. */
  readonly processes: readonly LeftProcess[];
  /** Migrations by id, as they are now. Those that have not ended are asked about again. */
  readonly sources: ReadonlyMap<string, SourceState>;
  readonly destinations: ReadonlyMap<string, DestinationState>;
  readonly peers: ReadonlyMap<string, { readonly identity: string; readonly how: PeerHow }>;
  /** The highest epoch of each machine: the next attempt takes one above it. */
  readonly epochs: ReadonlyMap<string, number>;
}

/** @throws JOURNAL_DAMAGED when the records can't have been written one after the other. */
export function recover(records: readonly JournalRecord[]): Recovered {
  let identity: string | null = null;
  const processes = new Map<string, LeftProcess>();
  const newest = new Map<string, OwnershipRecord>();
  const peers = new Map<string, { identity: string; how: PeerHow }>();
  const epochs = new Map<string, number>();
  for (const [at, record] of records.entries()) {
    switch (record.kind) {
      case 'HOST':
        if (identity !== null && identity !== record.identity) throw impossible('two identities', at);
        identity = record.identity;
        break;
      case 'PROCESS':
        processes.set(`${record.pid}/${record.started}`, record);
        break;
      case 'PROCESS_ENDED':
        processes.delete(`${record.pid}/${record.started}`);
        break;
      case 'PEER':
        peers.set(record.id, { identity: record.identity, how: record.how });
        break;
      default: {
        const before = newest.get(record.id);
        if (before !== undefined && !follows(before, record)) {
          throw impossible(`${record.kind} of ${record.id} after ${before.kind}`, at);
        }
        newest.set(record.id, record);
        epochs.set(record.machine, Math.max(epochs.get(record.machine) ?? 0, record.epoch));
      }
    }
  }
  const sources = new Map<string, SourceState>();
  const destinations = new Map<string, DestinationState>();
  for (const [id, record] of newest) {
    if (record.side === 'source') sources.set(id, recoverSource(record));
    else destinations.set(id, recoverDestination(record, record));
  }
  return { identity, processes: [...processes.values()], sources, destinations, peers, epochs };
}

/**
 * The records of a journal that is written anew: what is still needed, in their order (protocol 8.4). Who owned what a
 * peer may still ask about stays, and so does the highest epoch of each machine.
 */
export function compact(records: readonly JournalRecord[]): readonly JournalRecord[] {
  const { processes, epochs } = recover(records);
  const live = new Set(processes.map(({ pid, started }) => `${pid}/${started}`));
  const newest = new Map<string, JournalRecord>();
  for (const record of records) if (isOwnership(record)) newest.set(record.id, record);
  const kept = new Set<string>();
  for (const record of newest.values()) if (isOwnership(record) && asked(record, epochs)) kept.add(record.id);
  return records.filter((record) => {
    switch (record.kind) {
      case 'HOST':
        return true;
      case 'PROCESS':
        return live.has(`${record.pid}/${record.started}`);
      case 'PROCESS_ENDED':
        return false;
      case 'PEER':
        return kept.has(record.id);
      default:
        return kept.has(record.id) && newest.get(record.id) === record;
    }
  });
}

function isOwnership(record: JournalRecord): record is OwnershipRecord {
  return (OWNERSHIP_RECORDS as readonly string[]).includes(record.kind);
}

/**
 * Whether somebody may still ask about it. A destination that has forgotten an ABANDONED writes it again when it is
 * asked; one that forgot RUNNING would deny that it ran.
 */
function asked(record: OwnershipRecord, epochs: ReadonlyMap<string, number>): boolean {
  return record.kind === 'GIVEN' || record.kind === 'RUNNING' || record.epoch === epochs.get(record.machine);
}

/** Which record of a migration may follow which on one side (protocol 8.2). */
const AFTER: Readonly<Record<OwnershipRecord['kind'], readonly OwnershipRecord['kind'][]>> = {
  BEGUN: ['GIVEN', 'KEPT', 'YIELDED'],
  GIVEN: ['KEPT', 'TAKEN', 'DONE'],
  KEPT: ['YIELDED'],
  TAKEN: ['DONE', 'YIELDED'],
  DONE: [],
  RUNNING: ['ABANDONED', 'YIELDED'],
  ABANDONED: [],
  YIELDED: [],
};

function follows(before: OwnershipRecord, record: OwnershipRecord): boolean {
  // A write that was in doubt is repeated.
  if (before.kind === record.kind && before.epoch === record.epoch) return true;
  if (before.side !== record.side || before.machine !== record.machine || record.epoch < before.epoch) return false;
  if (!AFTER[before.kind].includes(record.kind)) return false;
  // What ran is only given up by an operator, and under a higher epoch (H2, H5).
  if (before.kind === 'RUNNING' && record.kind === 'ABANDONED') {
    return record.by === 'operator' && record.epoch > before.epoch;
  }
  return true;
}

function impossible(what: string, at: number): TransmigrateError {
  return new TransmigrateError('JOURNAL_DAMAGED', `The journal can't be trusted: it has ${what}`, {
    path: `journal/${at}`,
    section: 'protocol 8.2',
  });
}
