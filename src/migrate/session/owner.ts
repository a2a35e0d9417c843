/** Who owns a machine, for whoever asks (H5): protocol 7.6. Asking changes nothing. */
import { ownerByDestination, type DestinationState } from '../handover/destination.ts';
import { sourceWins, type Ownership } from '../handover/ownership.ts';
import { ownerBySource, type SourceState } from '../handover/source.ts';
import type { MessageOf } from '../protocol/messages.ts';

/** What a host answers to OWNER about one migration; it may know nothing of it. */
export function answerOwner(
  id: string,
  known: SourceState | DestinationState | null,
  side: 'source' | 'destination',
): MessageOf<'OWNERSHIP'> {
  if (known === null) return { kind: 'OWNERSHIP', id, epoch: 0, owner: 'unknown', gone: false, state: 'unknown' };
  const view = side === 'source' ? ownerBySource(known as SourceState) : ownerByDestination(known as DestinationState);
  return { kind: 'OWNERSHIP', id, ...view, state: known.phase };
}

/**
 * What both sides together say. Who claims it for itself counts more than what one side believes of the other; of two
 * claims the higher epoch, and of equal ones the source's (7.4).
 * @param destination null when it did not answer: then the source alone is believed.
 */
export function ownerOf(source: Ownership | null, destination: Ownership | null): Ownership {
  const bySource = source?.owner === 'source' ? source : null;
  const byDestination = destination?.owner === 'destination' ? destination : null;
  if (bySource !== null && byDestination !== null) {
    return sourceWins(bySource.epoch, byDestination.epoch) ? bySource : byDestination;
  }
  if (bySource !== null || byDestination !== null) return (bySource ?? byDestination)!;
  // Neither claims it. The source's word that it gave it away holds until the destination has said what became of it.
  if (source !== null && source.owner !== 'unknown' && destination === null) return source;
  const epoch = Math.max(source?.epoch ?? 0, destination?.epoch ?? 0);
  return { owner: 'unknown', epoch, gone: source?.gone === true };
}
