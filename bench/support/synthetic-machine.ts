/** A machine of synthetic memory that stands in for a guest whose hypervisor marks what it writes. */
import { createHash } from 'node:crypto';
import { isZeroRange } from '../../src/codec/platform.ts';
import type { Driver, Made } from '../../src/host/driver.ts';
import { HostTmem } from '../../src/host/host-tmem.ts';
import { Host } from '../../src/host/host.ts';
import { HostJournal } from '../../src/host/migration/host-journal.ts';
import type { TlsOptions } from '../../src/io/tls.ts';
import type { PageBatch, ScanBudget, ScanSlice } from '../../src/machine/machine.ts';
import { FakeMachine } from '../../test/support/host/fake-machine.ts';
import { PAGE } from './synthetic-memory.ts';

export class SyntheticMachine extends FakeMachine {
  /** One byte a page that is to be looked at again. */
  #marked = new Uint8Array(0);

  constructor(bytes: number) {
    super({ pages: bytes / PAGE, tmem: null });
  }

  override startScan(): Promise<void> {
    this.#marked = new Uint8Array(this.capabilities.pages).fill(1);
    return Promise.resolve();
  }

  override markDirty(pfns: Uint32Array): Promise<void> {
    for (const pfn of pfns) this.#marked[pfn] = 1;
    return Promise.resolve();
  }

  override endScan(): Promise<void> {
    return Promise.resolve();
  }

  override scan(first: number, { pages = 2048, dirty = 256, into }: ScanBudget = {}): Promise<ScanSlice> {
    const end = Math.min(first + pages, this.capabilities.pages);
    const bytes = into ?? new Uint8Array(dirty * PAGE);
    const taken = new Uint32Array(dirty);
    const zero = new Uint32Array(dirty);
    let data = 0;
    let zeros = 0;
    let pfn = first;
    while (pfn < end && data + zeros < dirty) {
      if (this.#marked[pfn] === 0) {
        pfn++;
        continue;
      }
      if (isZeroRange(this.memory, pfn * PAGE, PAGE)) {
        this.#marked[pfn] = 0;
        zero[zeros++] = pfn++;
        continue;
      }
      // What follows and is to be taken, too, is one copy.
      const most = Math.min(end, pfn + dirty - data - zeros);
      const from = pfn;
      const at = data * PAGE;
      do {
        this.#marked[pfn] = 0;
        taken[data++] = pfn++;
      } while (pfn < most && this.#marked[pfn] === 1 && !isZeroRange(this.memory, pfn * PAGE, PAGE));
      bytes.set(this.memory.subarray(from * PAGE, pfn * PAGE), at);
    }
    const found = { pfns: taken.subarray(0, data), bytes: bytes.subarray(0, data * PAGE) };
    return Promise.resolve({ dirty: found, zero: zero.subarray(0, zeros), next: pfn, stoppedMs: 0 });
  }

  override loadPages({ pfns, bytes }: PageBatch): Promise<void> {
    for (let i = 0; i < pfns.length;) {
      let run = 1;
      while (pfns[i + run] === pfns[i] + run) run++;
      this.memory.set(bytes.subarray(i * PAGE, (i + run) * PAGE), pfns[i] * PAGE);
      i += run;
    }
    return Promise.resolve();
  }

  digest(): string {
    return createHash('sha256').update(this.memory).digest('hex');
  }
}

export class SyntheticDriver implements Driver {
  readonly kinds = [{ name: 'fake', versions: ['1.0'], pageBytes: PAGE, deviceBytes: 8, tmem: true }];
  /** What the next guest that is created has. */
  next: SyntheticMachine | null = null;
  last: SyntheticMachine | null = null;

  create(): Promise<Made> {
    return Promise.resolve(this.#made(this.next!));
  }

  forImage({ memoryBytes }: { readonly memoryBytes: number }): Promise<Made> {
    return Promise.resolve(this.#made(new SyntheticMachine(memoryBytes)));
  }

  #made(machine: SyntheticMachine): Made {
    this.last = machine;
    const memoryBytes = machine.memory.byteLength;
    return { machine, configuration: { memoryBytes }, mostDeviceBytes: 1024 };
  }
}

export interface SyntheticHost {
  readonly host: Host;
  readonly driver: SyntheticDriver;
  readonly port: number;
}

/** A host of such machines that takes migrations, with its journal in a directory. */
export async function syntheticHost(directory: string, tls: TlsOptions | undefined): Promise<SyntheticHost> {
  const journal = await HostJournal.open(directory);
  const driver = new SyntheticDriver();
  const host = new Host({ version: '0.0.0', driver, tmem: new HostTmem(0, 1), journal, tls });
  const { port } = await host.migrations.listen({ host: '127.0.0.1', port: 0 });
  return { host, driver, port };
}
