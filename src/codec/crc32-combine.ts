/**
 * The CRC-32 of two byte strings joined, from the CRC of each: so that parts can be summed where they are made.
 *
 * A CRC-32 (RFC 1952, section 8) is the remainder of a polynomial over GF(2) after division by P, of degree 32.
 * Appending n bytes multiplies what came before by x^(8n) modulo P, and the remainder of a sum is the sum of the
 * remainders. (The initial and final inversions cancel out in the sum.) All arithmetic is on 32-bit integers whose
 * highest bit is the coefficient of x^0, as reflected CRCs have it.
 */

/** P without its x^32, reflected. */
const POLYNOMIAL = 0xedb88320 | 0;
/** The polynomial 1. */
const ONE = 0x80000000 | 0;

/** The product of two remainders modulo P. */
function multiply(left: number, right: number): number {
  let product = 0;
  let factor = right;
  // From the coefficient of x^0 on; `factor` is `right` times the power of x that the turn is at.
  for (let bit = 31; bit >= 0; bit--) {
    product ^= factor & -((left >>> bit) & 1);
    factor = (factor >>> 1) ^ (POLYNOMIAL & -(factor & 1));
  }
  return product;
}

/** x^(8 * 2^k) modulo P at index k, enough for every length that a number holds exactly. */
const POWERS = new Int32Array(53);
POWERS[0] = ONE >>> 8;
for (let k = 1; k < POWERS.length; k++) POWERS[k] = multiply(POWERS[k - 1], POWERS[k - 1]);

/** x^(8 * length) modulo P. */
function powerFor(length: number): number {
  let power = ONE;
  let rest = length;
  for (let k = 0; rest > 0; k++) {
    if (rest % 2 === 1) power = multiply(power, POWERS[k]);
    rest = Math.floor(rest / 2);
  }
  return power;
}

/*
 * Streams are cut into parts of equal length, so the operator of the last length is kept: as its power at first, and
 * once the length is seen again as 4 x 256 products, one per value of each byte, which four look-ups then combine.
 */
let cachedLength = -1;
let cachedPower = ONE;
let cachedTable = false;
const products = new Int32Array(4 * 256);

/** Fills the table of products with the cached power, from the 32 products of single bits. */
function fillProducts(): void {
  for (let byte = 0; byte < 4; byte++) {
    const first = byte * 256;
    products[first] = 0;
    for (let bit = 0; bit < 8; bit++) {
      const single = multiply(1 << (byte * 8 + bit), cachedPower);
      const size = 1 << bit;
      for (let value = 0; value < size; value++) products[first + size + value] = products[first + value] ^ single;
    }
  }
}

/**
 * Returns the CRC-32 of A followed by B, as an unsigned number, given the CRC-32 of each and the length of B in
 * bytes. Repeating a `lengthB` is several times faster than changing it.
 *
 * Throws RangeError when `lengthB` is not an integer from 0 to 2^53 - 1: no number that was read gets here unchecked.
 */
export function crc32Combine(crcA: number, crcB: number, lengthB: number): number {
  if (lengthB !== cachedLength) {
    if (!Number.isSafeInteger(lengthB) || lengthB < 0) throw new RangeError(`${lengthB} is not a length`);
    cachedLength = lengthB;
    cachedPower = powerFor(lengthB);
    cachedTable = false;
    return (multiply(crcA | 0, cachedPower) ^ crcB) >>> 0;
  }
  if (!cachedTable) {
    fillProducts();
    cachedTable = true;
  }
  const moved =
    products[crcA & 0xff] ^
    products[256 + ((crcA >>> 8) & 0xff)] ^
    products[512 + ((crcA >>> 16) & 0xff)] ^
    products[768 + (crcA >>> 24)];
  return (moved ^ crcB) >>> 0;
}
