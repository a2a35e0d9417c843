/** Virtual hard disks as XCP-ng exports them (spec/foreign/vhd.md): the disk that is in one, read at any place. */
import type { RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError, type ErrorCode } from '../../errors.ts';

/** Footer and header (foreign/vhd 1, 2). */
export const VHD = {
  footerMagic: 'conectix',
  footerBytes: 512,
  headerMagic: 'cxsparse',
  headerBytes: 1024,
  sectorBytes: 512,
  major: 1,
} as const;
const DISK_TYPE = { fixed: 2, dynamic: 3, differencing: 4 } as const;
/** In the table of blocks: none (foreign/vhd 3). */
const UNUSED = 0xffff_ffff;

export const VHD_LIMITS = {
  /** Entries of the table of blocks: 8 TiB in blocks of 2 MiB, and the table has 16 MiB. */
  blocks: 4_194_304,
  /** Of a block: a writer may choose any power of two; all known ones chose 2 MiB. */
  blockBytes: 256 * 1024 * 1024,
} as const;

export interface VhdFooter {
  readonly kind: 'fixed' | 'dynamic';
  /** Bytes of the disk. */
  readonly diskBytes: number;
  /** Where the header of a dynamic disk is. */
  readonly headerAt: number;
}

function fault(code: ErrorCode, what: string, offset: number, field: string, section: string): TransmigrateError {
  return new TransmigrateError(code, what, { offset, path: `VHD/${field}`, section: `foreign/vhd ${section}` });
}

/**
 * Reads a footer: at the end of every such file, and at the start of a dynamic one.
 * @param base where it stands, for errors.
 * @throws NOT_AN_IMAGE, FIELD_VALUE, HEADER_CHECKSUM, UNSUPPORTED_VERSION, UNSUPPORTED_FEATURE
 */
export function parseVhdFooter(bytes: Uint8Array, base: number): VhdFooter {
  if (!startsWith(bytes, VHD.footerMagic)) throw fault('NOT_AN_IMAGE', 'This is no VHD footer', base, 'magic', '1');
  // Virtual PC before 2004 wrote one byte less.
  if (bytes.byteLength < VHD.footerBytes - 1) throw fault('TRUNCATED', 'The footer is cut off', base, 'footer', '1');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checksum(bytes.subarray(0, VHD.footerBytes), 64, base, 'footer', '1');
  const version = view.getUint32(12);
  if (version >>> 16 !== VHD.major)
    throw fault('UNSUPPORTED_VERSION', `VHD of version ${version >>> 16}`, base, 'version', '1');
  const diskBytes = number64(view, 48, base, 'current_size', '1');
  const type = view.getUint32(60);
  if (type === DISK_TYPE.fixed) return { kind: 'fixed', diskBytes, headerAt: 0 };
  if (type === DISK_TYPE.dynamic) {
    return { kind: 'dynamic', diskBytes, headerAt: number64(view, 16, base, 'data_offset', '1') };
  }
  if (type === DISK_TYPE.differencing) {
    throw fault('UNSUPPORTED_FEATURE', 'This VHD holds only what differs from another one', base, 'type', '1').with({
      next: 'Export the whole disk, without a base.',
    });
  }
  throw fault('FIELD_VALUE', `A VHD of type ${type}`, base, 'type', '1');
}

/**
 * The disk in a VHD. Its memory is the table of blocks: 4 bytes for each 2 MiB.
 * @param input is read later too; it stays the caller's.
 * @throws as {@link parseVhdFooter} does, TRUNCATED, LIMIT_EXCEEDED, LENGTH_MISMATCH.
 */
export async function openVhd(input: RandomAccess): Promise<RandomAccess> {
  const footer = await findFooter(input);
  if (footer.kind === 'fixed') {
    if (footer.diskBytes > input.size - VHD.footerBytes) {
      const what = `A disk of ${footer.diskBytes} bytes in a file of ${input.size} with a footer`;
      throw fault('TRUNCATED', what, input.size, 'current_size', '1');
    }
    const size = footer.diskBytes;
    return {
      name: input.name,
      size,
      readAt: (position, into) =>
        input.readAt(position, into.subarray(0, Math.max(0, Math.min(into.byteLength, size - position)))),
    };
  }
  return openDynamic(input, footer);
}

/** That at the start counts where there is one: an export that was cut has no other. */
async function findFooter(input: RandomAccess): Promise<VhdFooter> {
  const bytes = new Uint8Array(VHD.footerBytes);
  const found = await input.readAt(0, bytes);
  if (found === VHD.footerBytes && startsWith(bytes, VHD.footerMagic)) return parseVhdFooter(bytes, 0);
  const at = Math.max(0, input.size - VHD.footerBytes);
  return parseVhdFooter(bytes.subarray(0, await input.readAt(at, bytes)), at);
}

/** Whether a file ends as a VHD does: the start of a fixed one is that of the disk. */
export async function endsAsVhd(input: RandomAccess): Promise<boolean> {
  if (input.size < VHD.footerBytes) return false;
  const bytes = new Uint8Array(VHD.footerBytes);
  await input.readAt(input.size - VHD.footerBytes, bytes);
  return startsWith(bytes, VHD.footerMagic);
}

async function openDynamic(input: RandomAccess, { diskBytes, headerAt }: VhdFooter): Promise<RandomAccess> {
  const header = await readExactly(input, headerAt, VHD.headerBytes, 'header', '2');
  if (!startsWith(header, VHD.headerMagic)) throw fault('FIELD_VALUE', 'There is no header', headerAt, 'header', '2');
  checksum(header, 36, headerAt, 'header', '2');
  const view = new DataView(header.buffer);
  const tableAt = number64(view, 16, headerAt, 'table_offset', '2');
  const [blocks, blockBytes] = [view.getUint32(28), view.getUint32(32)];
  if (blockBytes < VHD.sectorBytes || (blockBytes & (blockBytes - 1)) !== 0) {
    throw fault('FIELD_VALUE', `Blocks of ${blockBytes} bytes`, headerAt, 'block_size', '2');
  }
  if (blocks > VHD_LIMITS.blocks || blockBytes > VHD_LIMITS.blockBytes) {
    const limits = `${VHD_LIMITS.blocks} and ${VHD_LIMITS.blockBytes}`;
    const what = `${blocks} blocks of ${blockBytes} bytes, the limits are ${limits}`;
    throw fault('LIMIT_EXCEEDED', what, headerAt, 'max_table_entries', '2');
  }
  if (blocks * blockBytes < diskBytes) {
    const what = `${blocks} blocks of ${blockBytes} bytes are not the ${diskBytes} of the disk`;
    throw fault('LENGTH_MISMATCH', what, headerAt, 'max_table_entries', '2');
  }
  const table = await readExactly(input, tableAt, blocks * 4, 'table', '3');
  return new DynamicDisk(input, diskBytes, blockBytes, table);
}

class DynamicDisk implements RandomAccess {
  readonly name: string;
  readonly size: number;
  readonly #input: RandomAccess;
  readonly #blockBytes: number;
  readonly #table: DataView;
  readonly #bitmapBytes: number;
  /** The bitmap of one block: neighbours are mostly read one after the other. */
  readonly #bitmap: Uint8Array;
  #bitmapOf = -1;
  #busy: Promise<unknown> = Promise.resolve();

  constructor(input: RandomAccess, size: number, blockBytes: number, table: Uint8Array) {
    this.name = input.name;
    this.size = size;
    this.#input = input;
    this.#blockBytes = blockBytes;
    this.#table = new DataView(table.buffer, table.byteOffset, table.byteLength);
    const sectors = blockBytes / VHD.sectorBytes;
    this.#bitmapBytes = Math.ceil(sectors / 8 / VHD.sectorBytes) * VHD.sectorBytes;
    this.#bitmap = new Uint8Array(this.#bitmapBytes);
  }

  /** One read after the other: they share the bitmap. */
  readAt(position: number, into: Uint8Array): Promise<number> {
    const turn = this.#busy.then(() => this.#read(position, into));
    this.#busy = turn.catch(() => undefined);
    return turn;
  }

  async #read(position: number, into: Uint8Array): Promise<number> {
    const length = Math.max(0, Math.min(into.byteLength, this.size - position));
    for (let done = 0; done < length;) {
      const at = position + done;
      const inside = at % this.#blockBytes;
      const part = into.subarray(done, done + Math.min(length - done, this.#blockBytes - inside));
      await this.#readInBlock(Math.floor(at / this.#blockBytes), inside, part);
      done += part.byteLength;
    }
    return length;
  }

  async #readInBlock(block: number, inside: number, into: Uint8Array): Promise<void> {
    const sector = this.#table.getUint32(block * 4);
    if (sector === UNUSED) {
      into.fill(0);
      return;
    }
    const at = sector * VHD.sectorBytes;
    if (this.#bitmapOf !== block) {
      this.#bitmapOf = -1;
      this.#bitmap.set(await readExactly(this.#input, at, this.#bitmapBytes, `blocks[${block}]/bitmap`, '3'));
      this.#bitmapOf = block;
    }
    const dataAt = at + this.#bitmapBytes + inside;
    const found = await this.#input.readAt(dataAt, into);
    if (found < into.byteLength) {
      throw fault('TRUNCATED', 'The file ends in a block', dataAt + found, `blocks[${block}]`, '3');
    }
    this.#clearUnwritten(inside, into);
  }

  /** A sector whose bit is clear was never written: it is zero, whatever stands there. */
  #clearUnwritten(inside: number, into: Uint8Array): void {
    const first = Math.floor(inside / VHD.sectorBytes);
    const last = Math.floor((inside + into.byteLength - 1) / VHD.sectorBytes);
    for (let sector = first; sector <= last; sector++) {
      const byte = this.#bitmap[sector >> 3];
      if (byte === 0xff || (byte & (0x80 >> (sector & 7))) !== 0) continue;
      const start = Math.max(0, sector * VHD.sectorBytes - inside);
      into.fill(0, start, (sector + 1) * VHD.sectorBytes - inside);
    }
  }
}

async function readExactly(
  input: RandomAccess,
  offset: number,
  length: number,
  path: string,
  section: string,
): Promise<Uint8Array> {
  // Asked before anything is allocated: a length that lies costs nothing.
  if (offset + length > input.size) {
    const what = `${path} needs ${length} bytes from ${offset}, the file has ${input.size}`;
    throw fault('TRUNCATED', what, input.size, path, section);
  }
  const bytes = new Uint8Array(length);
  const found = await input.readAt(offset, bytes);
  if (found < length) throw fault('TRUNCATED', `The file ends in ${path}`, offset + found, path, section);
  return bytes;
}

/** The complement of the sum of all bytes but the sum's own (foreign/vhd 1). */
function checksum(bytes: Uint8Array, at: number, base: number, path: string, section: string): void {
  let sum = 0;
  for (let i = 0; i < bytes.byteLength; i++) if (i < at || i >= at + 4) sum += bytes[i];
  if (~sum >>> 0 !== new DataView(bytes.buffer, bytes.byteOffset).getUint32(at)) {
    throw fault('HEADER_CHECKSUM', `The checksum of the ${path} is wrong`, base + at, path, section);
  }
}

function number64(view: DataView, at: number, base: number, field: string, section: string): number {
  const value = view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
  if (value > Number.MAX_SAFE_INTEGER) {
    throw fault('FIELD_VALUE', `${field} is ${value}, more than any disk has`, base + at, field, section);
  }
  return value;
}

function startsWith(bytes: Uint8Array, text: string): boolean {
  return String.fromCharCode(...bytes.subarray(0, text.length)) === text;
}
