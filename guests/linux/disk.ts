/**
 * The disk of the Linux guest: a partition table, a swap area, and an empty Minix file system, which is simple enough
 * to be made anywhere without tools, and which Debian's kernel knows.
 */

const SECTOR = 512;
const PAGE = 4096;
const MIB = 1024 * 1024;

export const DISK_BYTES = 96 * MIB;
/** `/dev/sda1`: a swap area as mkswap makes it. */
export const SWAP = { at: MIB, byteLength: 64 * MIB } as const;
/** `/dev/sda2`: a Minix file system (version 1, names of 30 characters) with nothing in it. */
export const DATA = { at: 65 * MIB, byteLength: 31 * MIB } as const;

const TYPE_SWAP = 0x82;
const TYPE_LINUX = 0x83;

export function makeDisk(): Uint8Array {
  const bytes = new Uint8Array(DISK_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, { at, byteLength, type }] of [
    { ...SWAP, type: TYPE_SWAP },
    { ...DATA, type: TYPE_LINUX },
  ].entries()) {
    const entry = 446 + i * 16;
    // Cylinders, heads and sectors that say "see the other fields".
    bytes.set([0xfe, 0xff, 0xff], entry + 1);
    view.setUint8(entry + 4, type);
    bytes.set([0xfe, 0xff, 0xff], entry + 5);
    view.setUint32(entry + 8, at / SECTOR, true);
    view.setUint32(entry + 12, byteLength / SECTOR, true);
  }
  view.setUint16(510, 0xaa55, true);
  makeSwap(bytes.subarray(SWAP.at, SWAP.at + SWAP.byteLength));
  makeMinix(bytes.subarray(DATA.at, DATA.at + DATA.byteLength));
  return bytes;
}

/** The header of a swap area (Linux, include/linux/swap.h: union swap_header): version, last page, no bad pages. */
function makeSwap(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(1024, 1, true);
  view.setUint32(1028, bytes.length / PAGE - 1, true);
  bytes.set(new TextEncoder().encode('SWAPSPACE2'), PAGE - 10);
}

/**
 * A file system (Linux, include/uapi/linux/minix_fs.h): boot block, superblock, a bitmap of inodes and one of zones,
 * the inodes, the zones. Bit 0 of each bitmap, and what is beyond the last inode and zone, counts as used.
 */
function makeMinix(bytes: Uint8Array): void {
  const block = 1024;
  const magic = 0x138f;
  const [inodes, inodeBytes, entryBytes] = [4096, 32, 32];
  const zones = bytes.length / block;
  const inodeMapBlocks = Math.ceil((inodes + 1) / (block * 8));
  const zoneMapBlocks = Math.ceil((zones + 1) / (block * 8));
  const inodesAt = 2 + inodeMapBlocks + zoneMapBlocks;
  const firstZone = inodesAt + (inodes * inodeBytes) / block;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (const [i, value] of [inodes, zones, inodeMapBlocks, zoneMapBlocks, firstZone, 0].entries()) {
    view.setUint16(block + i * 2, value, true);
  }
  view.setUint32(block + 12, (7 + 512 + 512 * 512) * block, true);
  view.setUint16(block + 16, magic, true);
  view.setUint16(block + 18, 1, true);
  const useAllBut = (at: number, blocks: number, from: number, to: number): void => {
    bytes.fill(0xff, at * block, (at + blocks) * block);
    for (let bit = from; bit < to; bit++) bytes[at * block + (bit >> 3)] &= ~(1 << (bit & 7));
  };
  // Inode 1 and the first zone are the root's.
  useAllBut(2, inodeMapBlocks, 2, inodes + 1);
  useAllBut(2 + inodeMapBlocks, zoneMapBlocks, 2, zones - firstZone + 1);
  const root = inodesAt * block;
  view.setUint16(root, 0o040755, true);
  view.setUint32(root + 4, 2 * entryBytes, true);
  view.setUint8(root + 13, 2);
  view.setUint16(root + 14, firstZone, true);
  for (const [i, name] of ['.', '..'].entries()) {
    view.setUint16(firstZone * block + i * entryBytes, 1, true);
    bytes.set(new TextEncoder().encode(name), firstZone * block + i * entryBytes + 2);
  }
}
