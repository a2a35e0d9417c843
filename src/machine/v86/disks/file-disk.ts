import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { toHex } from '../../../bytes/hex.ts';
import { TransmigrateError } from '../../../errors.ts';
import { DISK_POLICY, type MachineDisk } from '../../machine.ts';
import { CONFIG_LIMITS } from '../config.ts';
import { Disk } from './disk.ts';

/** A disk that is a file outside: one that nobody writes, known by its digest, or one that is shared. */
export class FileDisk extends Disk {
  readonly #name: string;
  readonly #path: string;
  readonly #fd: number;
  /** SHA-256 of a file that is only read; null for one that is written. */
  readonly #digest: Uint8Array | null;

  private constructor(name: string, path: string, fd: number, bytes: number, digest: Uint8Array | null) {
    super(bytes);
    this.#name = name;
    this.#path = path;
    this.#fd = fd;
    this.#digest = digest;
  }

  /**
   * Opens a file for reading alone, once its content was compared. @throws DISK_MISMATCH, MACHINE_CONFIG, READ_FAILED
   */
  static async readOnly(name: string, path: string, digest: Uint8Array): Promise<FileDisk> {
    const { fd, bytes } = open(name, path, 'r');
    const hash = createHash('sha256');
    // The same open file is read that the guest reads, so that nobody can put another in its place between.
    for await (const piece of createReadStream('', { fd, autoClose: false, start: 0 })) hash.update(piece as Buffer);
    const found = new Uint8Array(hash.digest());
    if (!Buffer.from(digest).equals(found)) {
      closeSync(fd);
      const data = { disk: name, path, expected: toHex(digest), found: toHex(found) };
      throw new TransmigrateError('DISK_MISMATCH', `The disk ${name} (${path}) has another content`, { data });
    }
    return new FileDisk(name, path, fd, bytes, found);
  }

  /** Opens a file for reading and writing. @throws MACHINE_CONFIG, READ_FAILED */
  static external(name: string, path: string): FileDisk {
    const { fd, bytes } = open(name, path, 'r+');
    return new FileDisk(name, path, fd, bytes, null);
  }

  override describe(): MachineDisk {
    const policy = this.#digest === null ? DISK_POLICY.external : DISK_POLICY.readOnly;
    return {
      name: this.#name,
      policy,
      readOnly: this.#digest !== null,
      bytes: this.byteLength,
      digest: this.#digest,
      location: this.#path,
    };
  }

  override close(): void {
    closeSync(this.#fd);
  }

  protected override read(start: number, into: Uint8Array): boolean {
    return transfer(into.byteLength, (at) => readSync(this.#fd, into, at, into.byteLength - at, start + at));
  }

  protected override write(start: number, bytes: Uint8Array): boolean {
    if (this.#digest !== null) return false;
    return transfer(bytes.byteLength, (at) => writeSync(this.#fd, bytes, at, bytes.byteLength - at, start + at));
  }

  protected override state(): unknown[] {
    return [];
  }

  protected override restore(): void {}
}

/** Repeats a short read or write. False when it fails or goes no further: the guest is told, the machine goes on. */
function transfer(length: number, step: (at: number) => number): boolean {
  try {
    for (let at = 0; at < length;) {
      const done = step(at);
      if (done === 0) return false;
      at += done;
    }
    return true;
  } catch {
    return false;
  }
}

function open(name: string, path: string, flags: 'r' | 'r+'): { fd: number; bytes: number } {
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (cause) {
    throw new TransmigrateError('READ_FAILED', `The disk ${name} (${path}) cannot be opened`, { path, cause });
  }
  const { size } = fstatSync(fd);
  if (size === 0 || size % 512 !== 0 || size > CONFIG_LIMITS.diskBytes) {
    closeSync(fd);
    throw new TransmigrateError('MACHINE_CONFIG', `The disk ${name} (${path}) has ${size} bytes: no disk has`, {
      path,
    });
  }
  return { fd, bytes: size };
}
