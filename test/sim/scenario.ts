/** What one seed is: a guest, a network, disks, and what goes wrong with them. */
import { random, type Random } from '../support/random.ts';

/** Faults that are planted, one at a time: the simulation must find each. */
export const SIM_FAULTS = [
  /** The destination runs when it confirms. */
  'runs before GIVEN',
  /** A host acts before what it wrote is on the disk. */
  'acts before its fsync',
  /** The source frees its copy when GIVEN is durable. */
  'frees too early',
  /** One invalidation is not sent. */
  'loses an invalidation',
  /** One page that was changed is taken for clean. */
  'skips a dirty page',
  /** After a cut what was on the way is taken for held. */
  'forgets what was on the way',
] as const;
export type SimFault = (typeof SIM_FAULTS)[number];

/** A moment of the handover at which something happens for sure, once. */
export interface Moment {
  readonly side: 'source' | 'destination';
  /** As {@link MOMENTS} names it. */
  readonly effect: string;
  readonly when: 'before' | 'after';
  readonly what: 'crash' | 'cut';
}

/** Effects of the handover, by the side that performs them. */
export const MOMENTS = {
  source: [
    'journal BEGUN',
    'send OFFER',
    'pause',
    'finish',
    'send FINAL',
    'journal GIVEN',
    'send GIVEN',
    'journal DONE',
    'free',
    'send DONE',
    'journal TAKEN',
    'goBack',
  ],
  destination: [
    'send ACCEPT',
    'reserve',
    'load',
    'send CONFIRM',
    'journal RUNNING',
    'run',
    'send RUNNING',
    'journal ABANDONED',
    'send ABANDONED',
    'send HOLDS',
    'acknowledge',
  ],
} as const;

export interface Scenario {
  readonly seed: string;
  readonly random: Random;
  readonly pages: number;
  /** Milliseconds between two things that the guest does at full speed. */
  readonly guestMs: number;
  /** Of memory, how many pages it changes mostly. */
  readonly hotPages: number;
  /** Of 100 operations, how many are tmem's. */
  readonly tmemPart: number;
  readonly ephemeral: boolean;
  readonly downtimeMs: number;
  readonly force: boolean;
  readonly bytesPerMs: number;
  readonly delayMs: number;
  /** Chances, of 10,000: for each frame that it cuts its connection, is lost, comes twice, or before the one before. */
  readonly cuts: number;
  readonly frames: number;
  /** For each handover message that was ever said that it comes again later. */
  readonly replays: number;
  /** For each effect that its host crashes. */
  readonly crashes: number;
  /** What happens for sure, each once. */
  readonly moments: readonly Moment[];
  /** For each write that the disk is full or fails. */
  readonly diskFaults: number;
  /** Partitions, each with its begin and length. */
  readonly partitions: readonly { readonly atMs: number; readonly forMs: number }[];
  /** When the operator cancels, or null. */
  readonly cancelMs: number | null;
  readonly fsyncMs: number;
  readonly fault: SimFault | null;
}

export function scenarioOf(seed: string, fault: SimFault | null): Scenario {
  const generator = random(`sim ${seed}`);
  const often = (chance: number, value: () => number): number => (generator.below(100) < chance ? value() : 0);
  const partitions = Array.from({ length: generator.below(4) === 0 ? 1 + generator.below(3) : 0 }, () => ({
    atMs: generator.below(3000),
    forMs: generator.pick([5, 100, 2000, 20_000, 90_000]),
  }));
  const pages = generator.pick([17, 64, 150, 256]);
  return {
    seed,
    random: generator,
    pages,
    hotPages: 1 + generator.below(pages >> generator.below(4)),
    guestMs: generator.pick([0.2, 1, 5, 50]),
    tmemPart: generator.pick([0, 30, 60, 95]),
    ephemeral: generator.below(2) === 0,
    downtimeMs: generator.pick([30, 80, 80, 150, 150, 2000]),
    force: generator.below(4) === 0,
    bytesPerMs: generator.pick([500, 2000, 10_000, 40_000, 400_000]),
    delayMs: generator.pick([0.05, 1, 20]),
    cuts: often(30, () => generator.pick([20, 100, 400])),
    frames: often(20, () => generator.pick([20, 100])),
    replays: often(40, () => generator.pick([1000, 5000])),
    moments: Array.from({ length: generator.pick([0, 0, 1, 1, 2]) }, () => {
      const side = generator.pick(['source', 'destination'] as const);
      const effect = generator.pick<string>(MOMENTS[side]);
      const when = generator.pick(['before', 'after'] as const);
      return { side, effect, when, what: generator.pick(['crash', 'cut', 'cut'] as const) };
    }),
    crashes: often(25, () => generator.pick([20, 100, 400])),
    diskFaults: often(25, () => generator.pick([500, 3000])),
    partitions,
    cancelMs: generator.below(12) === 0 ? generator.below(1500) : null,
    fsyncMs: generator.pick([1, 5, 30]),
    fault,
  };
}
