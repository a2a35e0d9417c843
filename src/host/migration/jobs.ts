/** What is said of migrations: spec/cli-json.md 16. */
import { z } from 'zod';
import type { Limits } from '../../migrate/precopy/convergence.ts';
import type { Progress } from '../../migrate/precopy/progress.ts';
import type { JobEntry } from '../../migrate/runner/job-log.ts';
import type { DestinationRunner } from '../../migrate/runner/destination-runner.ts';
import type { SourceRunner } from '../../migrate/runner/source-runner.ts';
import type { Reason } from '../../migrate/negotiate/reasons.ts';
import type { MessageOf } from '../../migrate/protocol/messages.ts';
import type { Failure } from '../../migrate/session/effects.ts';
import { ownerByDestination } from '../../migrate/handover/destination.ts';
import { ownerBySource } from '../../migrate/handover/source.ts';

/** A path of the daemon's, absolute. */
const path = z.string().min(1).max(4096).regex(/^\//, 'a path is absolute');

const whole = (least: number, most: number): z.ZodInt => z.int().min(least).max(most);

/** What may be changed while a migration runs (L3). */
export const limitsSchema = z.strictObject({
  /** The longest that the guest may stand still, as predicted. */
  downtimeMs: whole(1, 3_600_000).optional(),
  /** null: no limit. */
  bytesPerSecond: whole(1024, 2 ** 40)
    .nullable()
    .optional(),
  force: z.boolean().optional(),
  throttlePercent: whole(0, 99).optional(),
  rounds: whole(1, 1000).optional(),
});

/** Where machines may come to; port 0: the system chooses. */
export const listenSchema = z.strictObject({
  host: z.string().min(1).max(255),
  port: whole(0, 65_535),
  /** Where what comes is kept (protocol 10.1). */
  record: path.optional(),
});

/** Of `receive --stdio`: the same. */
export const receiveSchema = listenSchema.pick({ record: true });

/** Where to, of `migrate` and `check`. */
export const targetSchema = z.strictObject({
  host: z.string().min(1).max(255).optional(),
  port: whole(1, 65_535).optional(),
  /** In the place of both: what is run, and speaks for the other host on its standard input and output. */
  command: z.array(z.string().min(1).max(4096)).min(1).max(64).optional(),
  codec: z.enum(['raw', 'zstd']).default('raw'),
});

export const migrateSchema = targetSchema.extend({ limits: limitsSchema.default({}) });

export const settleSchema = z.strictObject({ choice: z.enum(['take', 'abandon']) });

export type ListenChoice = z.infer<typeof listenSchema>;
export type LimitsChoice = z.infer<typeof limitsSchema>;
export type TargetChoice = z.infer<typeof targetSchema>;
export type MigrateChoice = z.infer<typeof migrateSchema>;

/** One migration, on the side that this host has of it. */
export interface JobInfo {
  readonly id: string;
  readonly side: 'source' | 'destination';
  readonly name: string | null;
  /** The machine's uuid; null when that is not known. */
  readonly machine: string | null;
  /** Where it goes to; null on a destination. */
  readonly to: string | null;
  /** Identity of the other host; null before it is known. */
  readonly peer: string | null;
  readonly epoch: number | null;
  /** Of the session, and of the handover (protocol 7.1). */
  readonly phase: string;
  readonly handover: string | null;
  readonly owner: 'source' | 'destination' | 'unknown';
  readonly gone: boolean;
  readonly connected: boolean;
  readonly progress: Progress | null;
  readonly limits: Limits | null;
  readonly downtimeMs: number | null;
  readonly failure: Failure | null;
}

/** With everything that happened. */
export interface JobStory extends JobInfo {
  readonly events: readonly JobEntry[];
  /** Lines in between that were not kept. */
  readonly eventsDropped: number;
}

/** What a host answers to the question whether it would take a guest. */
export interface CheckAnswer {
  readonly fits: boolean;
  readonly reasons: readonly Reason[];
  /** What it would hold back, and has measured; null when it would not take it. */
  readonly accepted: Omit<MessageOf<'ACCEPT'>, 'kind' | 'secret'> | null;
}

/** Who owns a machine, and whether the other side was asked and has answered. */
export type OwnerAnswer = Omit<MessageOf<'OWNERSHIP'>, 'kind'> & { readonly asked: boolean };

/** What a migration did. */
export interface MigrateResult {
  readonly id: string;
  readonly name: string;
  readonly machine: string;
  readonly to: string;
  readonly epoch: number;
  readonly rounds: number;
  readonly legs: number;
  readonly ramPages: number;
  readonly ramBytes: number;
  readonly tmemPages: number;
  readonly tmemBytes: number;
  readonly invalidations: number;
  /** Of state of one's own. */
  readonly ownBytes: number;
  /** How long the guest stood still, as its source saw it, with both fsyncs; 0 for one that was paused before. */
  readonly downtimeMs: number;
  readonly totalMs: number;
}

export function sourceInfo(runner: SourceRunner, to: string | null): JobInfo {
  const { session } = runner;
  const { request, handover, phase, limits, progress, connected, failure, leg } = session;
  const owned = handover === null ? null : ownerBySource(handover);
  const known = request.offer.machine;
  return {
    id: request.id,
    side: 'source',
    name: known.name,
    machine: known.uuid,
    to,
    peer: handover?.peer ?? null,
    epoch: handover?.epoch ?? request.offer.epoch,
    phase,
    handover: handover?.phase ?? null,
    owner: owned?.owner ?? 'source',
    gone: owned?.gone ?? false,
    connected,
    progress: { ...progress, phase, legs: leg },
    limits,
    downtimeMs: runner.downtimeMs,
    failure: phase === 'ended' && handover?.phase === 'done' ? null : failure,
  };
}

export function destinationInfo(runner: DestinationRunner): JobInfo {
  const { session } = runner;
  const { handover, offer, phase } = session;
  const owned = handover === null ? null : ownerByDestination(handover);
  return {
    id: runner.id,
    side: 'destination',
    name: offer?.machine.name ?? null,
    machine: handover?.machine ?? offer?.machine.uuid ?? null,
    to: null,
    peer: session.peer,
    epoch: handover?.epoch ?? offer?.epoch ?? null,
    phase,
    handover: handover?.phase ?? null,
    owner: owned?.owner ?? 'source',
    gone: owned?.gone ?? false,
    connected: runner.connected,
    progress: null,
    limits: null,
    downtimeMs: null,
    failure: session.failure,
  };
}
