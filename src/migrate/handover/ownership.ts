/**
 * Who owns a machine that moves: what both sides of a handover say, write down and do (protocol 7, H1 to H7).
 * Everything here is data. The two machines are in source.ts and destination.ts; they import errors alone.
 */

/** Kinds of journal records about ownership (protocol 7.2). The table is closed; a journal has no others. */
export const OWNERSHIP_RECORDS = [
  'BEGUN',
  'GIVEN',
  'KEPT',
  'TAKEN',
  'DONE',
  'RUNNING',
  'ABANDONED',
  'YIELDED',
] as const;
export type OwnershipKind = (typeof OWNERSHIP_RECORDS)[number];

/** A journal record about ownership. What it says holds once it is durable. */
export interface OwnershipRecord {
  readonly kind: OwnershipKind;
  /** Which side of the migration wrote it. */
  readonly side: 'source' | 'destination';
  /** Of the migration: 32 hex digits. */
  readonly id: string;
  /** Of the machine: its uuid. */
  readonly machine: string;
  readonly epoch: number;
  /** Identity of the other host. Only its answers count (H4). */
  readonly peer: string;
  /** Whether the protocol led to it, or an operator's `settle` (H5). */
  readonly by: 'protocol' | 'operator';
}

/** What the destination says before it may run (H3). */
export interface Confirmation {
  /** Of each channel the chain of its last seal, as hex digits (protocol 6.3). */
  readonly chains: readonly string[];
  /** The hash of the negotiation, as hex digits (protocol 4.6). */
  readonly agreement: string;
}

interface Named {
  readonly id: string;
  readonly epoch: number;
}

/** Messages of the handover (protocol 7.3). All of them may be lost, come twice, late, or in another order. */
export type HandoverMessage =
  | (Named & Confirmation & { readonly kind: 'CONFIRM' })
  | (Named & { readonly kind: 'GIVEN' | 'KEPT' | 'DONE' | 'ABANDONED' | 'YIELDED' })
  /** `gone`: this side owns the machine, and its guest is no more. */
  | (Named & { readonly kind: 'RUNNING' | 'TAKEN'; readonly gone: boolean });

export type HandoverMessageKind = HandoverMessage['kind'];

/** How a journal write ended. */
export type WriteEnd =
  /** The record is on the disk, and its directory too. */
  | 'durable'
  /** Nothing of it is on the disk, and that is durable. */
  | 'notWritten'
  /** Whether it is there will only be known when the journal is read again. */
  | 'doubtful';

/** Something that an operator should hear of; each is a sentence of protocol 7.6. */
export type HandoverReport =
  | { readonly what: 'refused'; readonly message: HandoverMessageKind; readonly why: 'stranger' | 'late' | 'mismatch' }
  /** The peer claims to run a machine that was never given to it. */
  | { readonly what: 'conflict'; readonly epoch: number }
  /** The peer owns the machine, and its guest is no more: only an operator can decide now. */
  | { readonly what: 'peerGone'; readonly epoch: number }
  /** This side owns the machine, and has no copy of it that could run. */
  | { readonly what: 'lost'; readonly epoch: number }
  | { readonly what: 'ended'; readonly owner: Owner; readonly epoch: number };

/** Effects that a runner performs, in the order in which they are given (protocol 7.5). */
export type HandoverEffect =
  /** Write, fsync file and directory, then say how it ended. Nothing else of this migration happens meanwhile. */
  | { readonly kind: 'journal'; readonly record: OwnershipRecord }
  /** To the peer, when there is a connection; dropped when not. */
  | { readonly kind: 'send'; readonly message: HandoverMessage }
  /** The source's guest goes on as before the migration, under this epoch; nothing when it already does. */
  | { readonly kind: 'resume'; readonly epoch: number }
  /** The destination's guest runs, under this epoch. */
  | { readonly kind: 'run'; readonly epoch: number }
  /** The guest of this side must not run any more: its grant is taken away, and it ends. */
  | { readonly kind: 'stop' }
  /** The source's copy, its pages and its tmem are given back. */
  | { readonly kind: 'free' }
  /** The destination's copy and what was reserved for it are given back. */
  | { readonly kind: 'discard' }
  /** Some time later: connect if there is no connection, then the event `again`. */
  | { readonly kind: 'later' }
  | { readonly kind: 'report'; readonly report: HandoverReport };

export type Owner = 'source' | 'destination' | 'unknown';

/** What `owner ID` says (protocol 7.6). */
export interface Ownership {
  readonly owner: Owner;
  readonly epoch: number;
  /** Whether the owner has a guest that can run; false when it crashed with its host. */
  readonly gone: boolean;
}

/** A new state, and what is to be done. */
export interface Step<S> {
  readonly state: S;
  readonly effects: readonly HandoverEffect[];
}

/** Nothing is to be done. */
export function stay<S>(state: S): Step<S> {
  return { state, effects: [] };
}

/** The same step, and more to do after what it has to do. */
export function effects<S>(step: Step<S>, more: readonly HandoverEffect[]): Step<S> {
  return { state: step.state, effects: [...step.effects, ...more] };
}

/** Events that both sides know. */
export type HandoverEvent =
  | { readonly kind: 'written'; readonly end: WriteEnd }
  | { readonly kind: 'message'; readonly from: string; readonly message: HandoverMessage }
  /** A `later` is over, or a new connection to the peer is there. */
  | { readonly kind: 'again' }
  /** The work failed or was cancelled on this side, for whatever reason. */
  | { readonly kind: 'failed' }
  /** The guest of this side ended: its process is no more, or it crashed. */
  | { readonly kind: 'guestGone' }
  | { readonly kind: 'settle'; readonly choice: 'take' | 'abandon' };

/**
 * Whether a claim of the source stands against one of the destination (protocol 7.4): the higher epoch wins, and of
 * equal ones the source's.
 */
export function sourceWins(sourceEpoch: number, destinationEpoch: number): boolean {
  return sourceEpoch >= destinationEpoch;
}
