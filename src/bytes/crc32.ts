/**
 * CRC-32 in plain JavaScript, for machines that bring none: eight bytes at a time by eight tables ("slicing-by-8",
 * Kounavis and Berry, 2005). The polynomial is that of zip (RFC 1952, section 8).
 */
const POLYNOMIAL = 0xedb88320;
const SLICES = 8;

/** Table s has what a byte does that stands s bytes before the end of what is taken at once. */
const TABLES = makeTables();

function makeTables(): Uint32Array[] {
  const tables = Array.from({ length: SLICES }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) !== 0 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
    tables[0][byte] = value >>> 0;
  }
  for (let slice = 1; slice < SLICES; slice++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[slice - 1][byte];
      tables[slice][byte] = ((before >>> 8) ^ tables[0][before & 0xff]) >>> 0;
    }
  }
  return tables;
}

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES;

/** The CRC of `bytes`; `seed` is that of the bytes before them, 0 at the start. */
export function crc32InJavaScript(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed;
  let at = 0;
  const end = bytes.length - (bytes.length % SLICES);
  for (; at < end; at += SLICES) {
    crc ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    crc =
      T7[crc & 0xff] ^
      T6[(crc >>> 8) & 0xff] ^
      T5[(crc >>> 16) & 0xff] ^
      T4[crc >>> 24] ^
      T3[bytes[at + 4]] ^
      T2[bytes[at + 5]] ^
      T1[bytes[at + 6]] ^
      T0[bytes[at + 7]];
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ T0[(crc ^ bytes[at]) & 0xff];
  return ~crc >>> 0;
}
