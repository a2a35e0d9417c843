import type { DestinationState } from '../handover/destination.ts';

/**
 * Earlier attempts that an offer ends (protocol 4.4): a source that offers a machine again under a higher epoch owns
 * it, so what it offered before was never given, and what is held of that is discarded as by KEPT.
 * @returns those of `held`
 */
export function superseded<S extends Pick<DestinationState, 'phase' | 'machine' | 'peer' | 'epoch'>>(
  held: readonly S[],
  offer: { readonly machine: { readonly uuid: string }; readonly epoch: number },
  peer: string,
): readonly S[] {
  return held.filter(
    (each) =>
      (each.phase === 'receiving' || each.phase === 'ready') &&
      each.machine === offer.machine.uuid &&
      each.peer === peer &&
      each.epoch < offer.epoch,
  );
}
