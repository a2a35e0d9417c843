import type { JsonObject } from '../bytes/bounded-json.ts';

/** What was counted while reading. */
export interface StreamCounts extends JsonObject {
  records: number;
  seals: number;
  rounds: number;
  checkpoints: number;
  unknownOptional: number;
}

export function newCounts(): StreamCounts {
  return { records: 0, seals: 0, rounds: 0, checkpoints: 0, unknownOptional: 0 };
}

/** Counts a record by its kind. */
export function count(counts: StreamCounts, kind: string): void {
  counts.records++;
  if (kind === 'SEAL') counts.seals++;
  else if (kind === 'ROUND') counts.rounds++;
  else if (kind === 'CHECKPOINT') counts.checkpoints++;
  else if (kind === 'UNKNOWN') counts.unknownOptional++;
}
