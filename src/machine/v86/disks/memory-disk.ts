import { DISK_POLICY, type MachineDisk } from '../../machine.ts';
import { Disk } from './disk.ts';

/** A disk whose content travels inside the device blob. */
export class MemoryDisk extends Disk {
  readonly #name: string;
  #content: Uint8Array;

  /** @param content what it starts with, copied; the rest is zero. */
  constructor(name: string, bytes: number, content?: Uint8Array) {
    super(bytes);
    this.#name = name;
    this.#content = new Uint8Array(bytes);
    if (content !== undefined) this.#content.set(content);
  }

  override describe(): MachineDisk {
    const { byteLength: bytes } = this;
    return { name: this.#name, policy: DISK_POLICY.inBlob, readOnly: false, bytes, digest: null, location: '' };
  }

  protected override read(start: number, into: Uint8Array): boolean {
    into.set(this.#content.subarray(start, start + into.byteLength));
    return true;
  }

  protected override write(start: number, bytes: Uint8Array): boolean {
    this.#content.set(bytes, start);
    return true;
  }

  protected override state(): unknown[] {
    return [this.#content];
  }

  protected override restore([content]: readonly unknown[]): void {
    this.#content.set(content as Uint8Array);
  }
}
