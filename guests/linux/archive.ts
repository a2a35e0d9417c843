/** A cpio archive, "newc", as Linux takes it (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface ArchiveEntry {
  /** Without a slash at the beginning. */
  readonly path: string;
  /** Type and permissions, as in `st_mode`. */
  readonly mode: number;
  /** Content of a file, or where a link leads. */
  readonly content?: Uint8Array | string;
}

export const MODE = { file: 0o100644, program: 0o100755, folder: 0o040755, link: 0o120777 } as const;

/** The same entries give the same bytes: no times, no owners. */
export function archive(entries: readonly ArchiveEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const text = new TextEncoder();
  let length = 0;
  const add = (bytes: Uint8Array): void => {
    const padding = (4 - ((length + bytes.length) % 4)) % 4;
    parts.push(bytes, new Uint8Array(padding));
    length += bytes.length + padding;
  };
  for (const [i, { path, mode, content = '' }] of [...entries, { path: 'TRAILER!!!', mode: 0 }].entries()) {
    const bytes = typeof content === 'string' ? text.encode(content) : content;
    const name = text.encode(`${path}\0`);
    // inode, mode, uid, gid, links, mtime, size, device, device of the file, length of the name, checksum
    const fields = [i + 1, mode, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length, 0];
    const header = text.encode(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`);
    const named = new Uint8Array(header.length + name.length);
    named.set(header);
    named.set(name, header.length);
    add(named);
    add(bytes);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
