/** What a host sees of the simulation that it is in. */
import type { OwnershipRecord, WriteEnd } from '../../src/migrate/handover/ownership.ts';
import type { Message } from '../../src/migrate/protocol/messages.ts';
import type { DestinationSession } from '../../src/migrate/session/destination.ts';
import type { SourceRequest } from '../../src/migrate/session/source-state.ts';
import type { VirtualClock } from './clock.ts';
import type { SimDisk } from './disk.ts';
import type { GuestModel, SimGuest } from './guest.ts';
import type { SideName, SimConnection } from './network.ts';
import type { DestinationPlane } from './planes.ts';
import type { Scenario } from './scenario.ts';
import type { Trace } from './trace.ts';

/** A host, as the simulation sees it. */
export interface HostView {
  readonly side: SideName;
  readonly disk: SimDisk;
  readonly up: boolean;
  guest: SimGuest | null;
}

/** A machine on its way in, as the simulation sees it. */
export interface Arrival {
  readonly session: DestinationSession;
  readonly plane: DestinationPlane | null;
  readonly guest: SimGuest | null;
}

export interface World {
  readonly machine: string;
  readonly clock: VirtualClock;
  readonly trace: Trace;
  readonly scenario: Scenario;
  readonly model: GuestModel;
  readonly healed: boolean;
  readonly guests: { readonly guest: SimGuest; readonly side: SideName }[];
  /** Cut connections that another followed. */
  resumes: number;

  /** @throws always */
  fault(what: string): never;
  newPid(): number;
  requestOf(id: string): SourceRequest;
  /** A connection to the destination, or null. */
  connect(reach: (connection: SimConnection | null) => void): void;
  /** Processes that a host left behind when it ended. */
  orphans(side: SideName): SimGuest[];
  /** A handover message was said: what it says is on the disk, and it may come again at any time. */
  said(host: HostView, message: Message): void;
  paused(guest: SimGuest): void;
  /** The source's guest goes on. */
  resumed(host: HostView, guest: SimGuest, epoch: number): void;
  /** The destination's guest runs: it is compared with what it must be, page by page. */
  runs(host: HostView, guest: SimGuest, id: string, epoch: number): void;
  confirmed(host: HostView, arrival: Arrival): void;
  onWritten(host: HostView, record: OwnershipRecord, end: WriteEnd): void;
  freed(id: string): void;
}
