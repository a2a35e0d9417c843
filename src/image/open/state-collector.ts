import type { CpuidLeaf, Msr, VcpuX86 } from '../../stream/records/vcpu.ts';
import type { Disk } from '../../stream/records/device.ts';
import type { ImageEvent, ImageHead } from '../model/event.ts';
import type { OpenedDevice, OpenedImage, OpenedVcpuState } from './opened-image.ts';

/** Gathers what an image holds beside memory: the newest of each. */
export class StateCollector {
  head: ImageHead | undefined;
  readonly #vcpus = new Map<number, Omit<VcpuX86, 'kind'>>();
  readonly #states = new Map<string, OpenedVcpuState>();
  readonly #devices = new Map<string, OpenedDevice>();
  readonly #disks: Omit<Disk, 'kind'>[] = [];
  #cpuid: readonly CpuidLeaf[] | null = null;
  #msrs: readonly Msr[] | null = null;

  /** Takes an event in; what it lends is copied. Pages and tmem are not its. */
  add(event: ImageEvent): void {
    switch (event.kind) {
      case 'head':
        this.head = event;
        break;
      case 'vcpu':
        this.#vcpus.set(event.vcpu.vcpu, event.vcpu);
        break;
      case 'vcpu-state': {
        const { vcpu, stateKind, content } = event;
        this.#states.set(`${vcpu} ${stateKind}`, { vcpu, stateKind, content: content.slice() });
        break;
      }
      case 'cpuid':
        this.#cpuid = event.leaves;
        break;
      case 'msrs':
        this.#msrs = event.msrs;
        break;
      case 'device': {
        const { name, format, version, fingerprint } = event;
        const content = event.content.slice();
        this.device({ name, format, version, fingerprint, bytes: content.byteLength, chunks: () => once(content) });
        break;
      }
      case 'long-device':
        this.device({ ...event.device, chunks: () => event.chunks() });
        break;
      case 'disk':
        this.#disks.push(event.disk);
        break;
      default:
        break;
    }
  }

  /** A device whose content is fetched when it is asked for. */
  device(device: OpenedDevice): void {
    this.#devices.set(device.name, device);
  }

  /** All of it. */
  done(): Pick<OpenedImage, 'vcpus' | 'vcpuStates' | 'cpuid' | 'msrs' | 'devices' | 'disks'> {
    return {
      vcpus: [...this.#vcpus.values()].toSorted((a, b) => a.vcpu - b.vcpu),
      vcpuStates: [...this.#states.values()].toSorted((a, b) => a.vcpu - b.vcpu || a.stateKind - b.stateKind),
      cpuid: this.#cpuid,
      msrs: this.#msrs,
      devices: [...this.#devices.values()],
      disks: this.#disks,
    };
  }
}

async function* once(content: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield content;
}
