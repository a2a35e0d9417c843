import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../../stream/limits.ts';
import type { CpuidEvent, DeviceEvent, MsrsEvent, VcpuEvent, VcpuStateEvent } from '../model/event.ts';

/** Most bytes of device blobs and vCPU state between two checkpoints (spec/foreign/model.md 3.2). */
const HELD_BYTES = 512 * 1024 * 1024;

/** State that a later one of the same name replaces. */
export type StateEvent = VcpuEvent | VcpuStateEvent | CpuidEvent | MsrsEvent | DeviceEvent;

export function isState(event: { readonly kind: string }): event is StateEvent {
  return ['vcpu', 'vcpu-state', 'cpuid', 'msrs', 'device'].includes(event.kind);
}

/**
 * The newest of each state since the last checkpoint. Foreign formats may give one twice, and ours names each once
 * between two checkpoints (stream 4).
 */
export class HeldState {
  readonly #states = new Map<string, StateEvent>();
  #bytes = 0;

  /** Keeps a copy. @throws LIMIT_EXCEEDED */
  add(event: StateEvent): void {
    const key = keyOf(event);
    this.#bytes += bytesOf(event) - bytesOf(this.#states.get(key));
    // In the order in which they were said last.
    this.#states.delete(key);
    this.#states.set(key, 'content' in event ? { ...event, content: event.content.slice() } : event);
    if (this.#bytes > HELD_BYTES || this.#states.size > LIMITS.statesBetweenCheckpoints) {
      throw new TransmigrateError('LIMIT_EXCEEDED', 'The image has more device state than can be held', {
        section: 'foreign/model 3.2',
        data: { bytes: this.#bytes, states: this.#states.size },
      });
    }
  }

  get empty(): boolean {
    return this.#states.size === 0;
  }

  /** All of them, in the order in which they came; then none is held. */
  *take(): Generator<StateEvent> {
    yield* this.#states.values();
    this.#states.clear();
    this.#bytes = 0;
  }
}

function keyOf(event: StateEvent): string {
  switch (event.kind) {
    case 'vcpu':
      return `vcpu ${event.vcpu.vcpu}`;
    case 'vcpu-state':
      return `vcpu ${event.vcpu} ${event.stateKind}`;
    case 'device':
      return `device ${event.name}`;
    default:
      return event.kind;
  }
}

function bytesOf(event: StateEvent | undefined): number {
  return event !== undefined && 'content' in event ? event.content.byteLength : 0;
}
