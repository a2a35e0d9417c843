/** What a host's journal holds: protocol 8.2. */
import { z } from 'zod';
import type { JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import { OWNERSHIP_RECORDS } from '../handover/ownership.ts';
import { PROTOCOL_LIMITS } from '../protocol/limits.ts';

const id = z.string().regex(/^[0-9a-f]{32}$/);
const machine = z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
const text = z.string().min(1).max(4096);
const pid = z
  .int()
  .min(1)
  .max(2 ** 31 - 1);
/** Start of a process as its system counts it; with the number it names one process for ever. */
const started = z.string().regex(/^\d{1,20}$/);

/** How a peer is asked again (H4). */
const howSchema = z.discriminatedUnion('transport', [
  z.object({ transport: z.enum(['tcp', 'tls']), host: text, port: z.int().min(1).max(65_535) }),
  z.object({ transport: z.literal('stdio'), command: z.array(text).min(1).max(64) }),
  /** It must come by itself: a source that listens nowhere. */
  z.object({ transport: z.literal('waits') }),
]);

const ownershipSchema = z.object({
  kind: z.enum(OWNERSHIP_RECORDS),
  side: z.enum(['source', 'destination']),
  id,
  machine,
  epoch: z.int().min(1).max(PROTOCOL_LIMITS.epoch),
  peer: id,
  by: z.enum(['protocol', 'operator']),
});

const recordSchema = z.union([
  ownershipSchema,
  /** The host's own identity, drawn when the journal was made: first in it, and once. */
  z.object({ kind: z.literal('HOST'), identity: id }),
  /** A process that may run a guest: written before it is granted anything (H6). */
  z.object({ kind: z.literal('PROCESS'), machine, pid, started }),
  z.object({ kind: z.literal('PROCESS_ENDED'), pid, started }),
  /** How the other side of a migration is asked again: written together with the first record of it. */
  z.object({ kind: z.literal('PEER'), id, identity: id, how: howSchema }),
]);

/** A record of a journal. */
export type JournalRecord = z.infer<typeof recordSchema>;
export type PeerHow = z.infer<typeof howSchema>;

/** @throws FIELD_VALUE: an entry that is whole, and that this build can't read. */
export function checkRecord(fields: JsonObject, offset: number): JournalRecord {
  const parsed = recordSchema.safeParse(fields);
  if (parsed.success) return parsed.data;
  throw new TransmigrateError('FIELD_VALUE', 'The journal has an entry that makes no sense here', {
    offset,
    path: 'journal',
    section: 'protocol 8.2',
    data: { entry: fields },
    next: 'Use the transmigrate that wrote it, or a newer one.',
  });
}
