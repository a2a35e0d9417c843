/** Moments of a migration at which a host is killed, and what must come of the guest (protocol 7). */
import type { Aim, Side } from './aimed-kill.ts';

/** For each moment, by who is killed. */
export const AIMS: Readonly<Record<string, Omit<Aim, 'victim' | 'runs' | 'settle'> & Fates>> = {
  'in a round': {
    at: ['source', 'scan'],
    phases: { source: 'rounds, live', destination: 'receiving, receiving' },
    source: { runs: null },
    destination: { runs: 'source' },
  },
  'before the guest stands still': {
    at: ['source', 'pause'],
    phases: { source: 'pausing, live', destination: 'receiving, receiving' },
    source: { runs: null },
    destination: { runs: 'source' },
  },
  'before its devices were sent': {
    at: ['source', 'captureDevices'],
    phases: { source: 'final, live', destination: 'receiving, receiving' },
    source: { runs: null },
    destination: { runs: 'source' },
  },
  'while its devices are loaded': {
    at: ['destination', 'loadDeviceState'],
    phases: { source: 'confirming, final', destination: 'loading, receiving' },
    // It is whole there, and its source is gone: the destination confirms to nobody, until an operator decides.
    source: { runs: 'destination', settle: ['destination', 'take'] },
    destination: { runs: 'source' },
  },
  'while GIVEN is not written yet': {
    at: ['source', 'before GIVEN'],
    phases: { source: 'asking, giving', destination: 'asking, ready' },
    source: { runs: 'destination', settle: ['destination', 'take'] },
    destination: { runs: 'source' },
  },
  'when GIVEN is written, and not said': {
    at: ['source', 'after GIVEN'],
    phases: { source: 'asking, giving', destination: 'asking, ready' },
    source: { runs: 'destination' },
    destination: { runs: 'source' },
  },
  'when GIVEN is said, and not heard': {
    at: ['source', 'after GIVEN'],
    unheard: 'GIVEN',
    phases: { source: 'asking, given', destination: 'asking, ready' },
    source: { runs: 'destination' },
    destination: { runs: 'source' },
  },
  'when GIVEN is heard, and RUNNING not written': {
    at: ['destination', 'before RUNNING'],
    phases: { source: 'asking, given', destination: 'asking, starting' },
    source: { runs: 'destination' },
    destination: { runs: 'source' },
  },
  'when RUNNING is written, and not said': {
    at: ['destination', 'after RUNNING'],
    phases: { source: 'asking, given', destination: 'asking, starting' },
    source: { runs: 'destination' },
    // It may have run: only an operator can say that it did nothing that counts.
    destination: { runs: 'source', settle: ['source', 'take'] },
  },
  'when RUNNING is heard, and DONE not written': {
    at: ['source', 'before DONE'],
    phases: { source: 'asking, finishing', destination: 'asking, running' },
    source: { runs: 'destination' },
    destination: { runs: null },
  },
  'when DONE is written, and the copy not freed': {
    at: ['source', 'after DONE'],
    phases: { source: 'asking, finishing', destination: 'asking, running' },
    source: { runs: 'destination' },
    destination: { runs: null },
  },
};

type Fates = Readonly<Record<Side, Pick<Aim, 'runs' | 'settle'>>>;

/** One of them. */
export function aimOf(name: string, victim: Side): Aim {
  const { source, destination, ...aim } = AIMS[name];
  return { ...aim, victim, ...(victim === 'source' ? source : destination) };
}
