/** Virtual hard disks, made from the specification alone: nothing of src is used. */
const SECTOR = 512;

function sealed(bytes: Uint8Array, at: number): Uint8Array {
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  new DataView(bytes.buffer).setUint32(at, ~sum);
  return bytes;
}

function footer(size: number, type: number, headerAt: bigint): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('conectix'));
  view.setUint32(8, 2);
  view.setUint32(12, 0x10000);
  view.setBigUint64(16, headerAt);
  view.setBigUint64(40, BigInt(size));
  view.setBigUint64(48, BigInt(size));
  view.setUint32(60, type);
  return sealed(bytes, 64);
}

/** A fixed one: the disk, and a footer. */
export function fixedVhd(disk: Uint8Array): Uint8Array {
  return new Uint8Array([...disk, ...footer(disk.length, 2, 0xffff_ffff_ffff_ffffn)]);
}

/**
 * A dynamic one. Blocks of zeros are left out, sectors of zeros hold rubbish under a clear bit; blocks stand
 * backwards.
 */
export function dynamicVhd(disk: Uint8Array, blockBytes = 2 * 1024 * 1024, type = 3): Uint8Array {
  const blocks = Math.ceil(disk.length / blockBytes);
  const bitmapBytes = Math.ceil(blockBytes / SECTOR / 8 / SECTOR) * SECTOR;
  const tableBytes = Math.ceil((blocks * 4) / SECTOR) * SECTOR;
  const table = new Uint8Array(tableBytes).fill(0xff);
  const parts: Uint8Array[] = [];
  let at = SECTOR + 1024 + tableBytes;
  for (let block = blocks - 1; block >= 0; block--) {
    const data = new Uint8Array(blockBytes);
    data.set(disk.subarray(block * blockBytes, (block + 1) * blockBytes));
    if (data.every((byte) => byte === 0)) continue;
    const bitmap = new Uint8Array(bitmapBytes);
    for (let sector = 0; sector < blockBytes / SECTOR; sector++) {
      const bytes = data.subarray(sector * SECTOR, (sector + 1) * SECTOR);
      if (bytes.some((byte) => byte !== 0)) bitmap[sector >> 3] |= 0x80 >> (sector & 7);
      else bytes.fill(0xee);
    }
    new DataView(table.buffer).setUint32(block * 4, at / SECTOR);
    parts.push(bitmap, data);
    at += bitmapBytes + blockBytes;
  }
  const header = new Uint8Array(1024);
  const view = new DataView(header.buffer);
  header.set(new TextEncoder().encode('cxsparse'));
  view.setBigUint64(8, 0xffff_ffff_ffff_ffffn);
  view.setBigUint64(16, BigInt(SECTOR + 1024));
  view.setUint32(24, 0x10000);
  view.setUint32(28, blocks);
  view.setUint32(32, blockBytes);
  const end = footer(disk.length, type, BigInt(SECTOR));
  return new Uint8Array(Buffer.concat([end, sealed(header, 36), table, ...parts, end]));
}
