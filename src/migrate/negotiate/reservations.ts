/** What a host has promised to machines that are on their way: protocol 4.4 (N2). */
import { TransmigrateError } from '../../errors.ts';
import { PROTOCOL_LIMITS } from '../protocol/limits.ts';
import type { HostCapability, Need } from './judge.ts';

/** Reservations by migration. A value: what changes it returns another. */
export type Reservations = ReadonlyMap<string, Need & { readonly machine: string; readonly uuids: readonly string[] }>;

export const NOTHING_RESERVED: Reservations = new Map();

/** @throws GUEST_BUSY for a migration that has one already, or one too many: a defect of the caller. */
export function reserve(
  held: Reservations,
  id: string,
  need: Need & { readonly machine: string; readonly uuids: readonly string[] },
): Reservations {
  if (held.has(id) || held.size >= PROTOCOL_LIMITS.reservations) {
    throw new TransmigrateError('GUEST_BUSY', `Nothing can be reserved for ${id}`, { data: { id } });
  }
  return new Map([...held, [id, need]]);
}

/** When the machine runs, is abandoned or discarded. Nothing when there is none. */
export function release(held: Reservations, id: string): Reservations {
  return new Map([...held].filter(([of]) => of !== id));
}

/** What is left of a host for further machines. */
export function without(host: HostCapability, held: Reservations): HostCapability {
  const needs = [...held.values()];
  const sum = (of: (need: Need) => number): number => needs.reduce((total, need) => total + of(need), 0);
  const { tmem } = host;
  return {
    ...host,
    names: [...host.names, ...needs.map(({ name }) => name)],
    machines: [...host.machines, ...needs.map(({ machine }) => machine)],
    freeMemoryBytes: host.freeMemoryBytes - sum(({ memoryBytes }) => memoryBytes),
    freeReservations: Math.min(host.freeReservations, PROTOCOL_LIMITS.reservations - held.size),
    tmem: {
      ...tmem,
      freeBytes: tmem.freeBytes - sum(({ tmemBytes }) => tmemBytes),
      freeSlots: tmem.freeSlots - sum(({ tmemSlots }) => tmemSlots),
      uuids: [...tmem.uuids, ...needs.flatMap(({ uuids }) => uuids)],
    },
  };
}
