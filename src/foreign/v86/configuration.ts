/** What a state says of how its emulator was configured, in the words of our driver (foreign/v86 2). */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import { memorySizeOf } from './memory.ts';
import type { StateHead } from './save-state.ts';

/** Places in the tree. */
const VIDEO = 52;
const NETWORK = 59;
const MORE_SERIAL_PORTS = [79, 80, 81] as const;

/**
 * Memory, video memory, network and serial ports, as a state shows them. It is enough to make a machine of ours that
 * the state may fit; whether it does, the shape decides.
 * @throws FIELD_VALUE for a size of memory that v86 does not have
 */
export function configurationOfState({ tree }: StateHead): JsonObject {
  const video = tree[VIDEO];
  const videoMemoryBytes = Array.isArray(video) ? video[0] : undefined;
  const ports = MORE_SERIAL_PORTS.filter((place) => Array.isArray(tree[place])).length;
  return {
    memoryBytes: memorySizeOf(tree),
    ...(typeof videoMemoryBytes === 'number' && { videoMemoryBytes }),
    network: Array.isArray(tree[NETWORK]) ? 'ne2k' : 'none',
    serialPorts: 1 + ports,
  };
}
