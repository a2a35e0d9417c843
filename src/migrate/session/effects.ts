/** What the runner of a migration does, and what it tells: protocol 10. */
import type { HandoverEffect } from '../handover/ownership.ts';
import type { HostCapability, Need, Probe } from '../negotiate/judge.ts';
import type { Reason } from '../negotiate/reasons.ts';
import type { SectionName } from '../precopy/shares.ts';
import type { Message, Offer } from '../protocol/messages.ts';

/** A place in the channels of one connection: of each channel its last seal, 0 for none, and the chain there. */
export interface Place {
  readonly leg: number;
  readonly channels: readonly { readonly seal: number; readonly chain: string }[];
  /** Of that connection (protocol 4.6). */
  readonly agreement: string;
}

/** Why a migration ended without moving the machine, or what an operator must hear. */
export interface Failure {
  /** A code of spec/errors.md. */
  readonly code: string;
  readonly message: string;
  readonly reasons?: readonly Reason[];
}

/** Performed in order. Those that take time are answered by an event; while one is out, no second of its kind is. */
export type SessionEffect =
  | Exclude<HandoverEffect, { readonly kind: 'send' }>
  | { readonly kind: 'send'; readonly message: Message }
  /** Over a new connection: its number, which the source's HELLO says. Answer: `connected`, or `disconnected`. */
  | { readonly kind: 'connect'; readonly leg: number }
  /** After what was sent has left. */
  | { readonly kind: 'hangUp' }
  /** The event `tick` at this time, or a little later; a newer `wake` takes the place of an older. */
  | { readonly kind: 'wake'; readonly atMs: number }
  | { readonly kind: 'ended'; readonly failure: Failure | null };

/** Effects of a source alone. */
export type SourceEffect =
  | SessionEffect
  /** Write about so many bytes of this section. Answer: `worked`. */
  | { readonly kind: 'work'; readonly section: SectionName; readonly bytes: number }
  /** SEAL on every channel. Answer: `sealed`; acknowledgements come as they come. */
  | { readonly kind: 'seal' }
  /** ROUND, between barriers where there are several channels. Answer: `roundEnded`. */
  | { readonly kind: 'endRound' }
  /** Slow the guest down to this part of its speed, in percent of what it is slower. */
  | { readonly kind: 'throttle'; readonly percent: number }
  /** Stop the guest, and let its requests in flight finish. Answer: `paused`, with what is left to be sent. */
  | { readonly kind: 'pause' }
  /** Devices, CHECKPOINT, and a SEAL behind it on every channel. Answer: `finished`. */
  | { readonly kind: 'finish' }
  /** What lies above this place is to be sent again. Answer: `resumed`, with what is left. */
  | { readonly kind: 'goBack'; readonly place: Place; readonly sameLeg: boolean };

/** Effects of a destination alone. */
export type DestinationEffect =
  | SessionEffect
  /** Look at what the offer needs of files and drivers. Answer: `probed`. */
  | { readonly kind: 'probe'; readonly offer: Offer }
  /** Hold this back until `free` or `discard` (N2), and make the machine, hidden. */
  | { readonly kind: 'reserve'; readonly need: Need; readonly offer: Offer; readonly uuids: readonly string[] }
  /** ACK, in direction back. */
  | { readonly kind: 'acknowledge'; readonly channel: number; readonly seal: number; readonly chain: string }
  /** Check that all is there and load the devices. Answer: `loaded`, or `failed`. */
  | { readonly kind: 'load' };

/** What a host says of itself when it looks at an offer. */
export interface Probed {
  readonly host: HostCapability;
  readonly probe: Probe;
  readonly measured: { readonly deviceLoadMs: number | null; readonly fsyncMs: number | null };
  /** 64 random hex digits. */
  readonly secret: string;
}

/** A pure step's outcome. */
export interface SessionStep<S, E> {
  readonly state: S;
  readonly effects: readonly E[];
}
