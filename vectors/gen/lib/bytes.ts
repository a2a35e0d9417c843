// Bytes, checksums and made-up content: nothing here knows the stream.
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export const zeros = (size: number): Buffer => Buffer.alloc(size);
export const u8 = (value: number): Buffer => Buffer.from([value]);
export const ascii = (text: string): Buffer => Buffer.from(text, 'latin1');
export const utf8 = (text: string): Buffer => Buffer.from(text, 'utf8');
export const cat = (...parts: Buffer[]): Buffer => Buffer.concat(parts);
export const bytesOf = (hexDigits: string): Buffer => Buffer.from(hexDigits.replaceAll(' ', ''), 'hex');

export function u16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeUInt16LE(value);
  return out;
}

export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

export function u64(value: bigint | number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
}

/** A string of section 1.4, from text or (to be wrong on purpose) from bytes. */
export function string(text: string | Buffer): Buffer {
  const bytes = typeof text === 'string' ? utf8(text) : text;
  return cat(u16(bytes.length), bytes);
}

export const crc = (bytes: Buffer): number => crc32(bytes);
export const sha256Of = (parts: Buffer[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
export const sha256 = (...parts: Buffer[]): Buffer => sha256Of(parts);

/** The checksum at the end of a zlib wrapper. */
export function adler32(bytes: Buffer): number {
  let low = 1;
  let high = 0;
  for (const byte of bytes) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return high * 65536 + low;
}

export const hex = (bytes: Buffer): string => bytes.toString('hex');
export const hexOf = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');
export const upTo8 = (length: number): number => (8 - (length % 8)) % 8;

export function uuidText(bytes: Buffer): string {
  const digits = hex(bytes);
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    digits.slice(12, 16),
    digits.slice(16, 20),
    digits.slice(20, 32),
  ].join('-');
}

/** Sixteen bytes that belong to a word; used for stream ids and uuids. */
export const idOf = (word: string): Buffer => sha256(utf8(word)).subarray(0, 16);

/** Bytes that do not compress: SHA-256 of the seed and a counter, one after the other. */
export function noise(seed: string, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let have = 0; have < size; have += 32) parts.push(sha256(utf8(`${seed}/${have}`)));
  return cat(...parts).subarray(0, size);
}

/** Bytes that compress well: numbered lines of text, cut at the size. */
export function text(seed: string, size: number): Buffer {
  let out = '';
  for (let line = 0; out.length < size; line++) out += `${seed} line ${line} as the guest wrote it\n`;
  return ascii(out.slice(0, size));
}

/** Text pages one after the other, each with its own words. */
export function textPages(seed: string, pages: number, pageSize = 4096): Buffer {
  const parts: Buffer[] = [];
  for (let page = 0; page < pages; page++) parts.push(text(`${seed} page ${page}`, pageSize));
  return cat(...parts);
}
