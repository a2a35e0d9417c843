/** Transcendent memory: stream 10. */
import type { ByteReader } from '../../bytes/byte-reader.ts';
import { ByteWriter } from '../../bytes/byte-writer.ts';
import { toUuid, fromUuid } from '../../bytes/hex.ts';
import { CODEC, codecName, isCodec, type CodecId } from '../../codec/codec.ts';
import { TransmigrateError } from '../../errors.ts';
import { LIMITS } from '../limits.ts';
import { isOptional } from '../record-types.ts';
import { decodeAt } from './stored.ts';

/** TMEM_CLIENT (stream 10.1): requests to the destination. */
export interface TmemClient {
  readonly kind: 'TMEM_CLIENT';
  readonly compress: boolean;
  /** By an operator. */
  readonly frozen: boolean;
  readonly weight: number;
  readonly cap: number;
  readonly allowancePages: bigint;
  readonly authorised: readonly string[];
}

/** TMEM_POOL (stream 10.2). */
export interface TmemPool {
  readonly kind: 'TMEM_POOL';
  readonly ephemeral: boolean;
  readonly incarnation: bigint;
  /** Pool id: its slot in the client. */
  readonly pool: number;
  readonly shared: boolean;
  readonly precompressed: boolean;
  /** Bytes. */
  readonly pageSize: number;
  readonly objectIdBits: 64 | 192;
  readonly uuid: string;
  /** Pages that the source held: a hint. */
  readonly pages: bigint;
}

/** Flag bits of a pool, which are Xen's (stream 10.2). */
export const POOL_FLAG = { persistent: 1, shared: 2, precompressed: 4 } as const;

export function encodeTmemClient(client: Omit<TmemClient, 'kind'>): Uint8Array {
  if (client.authorised.length > LIMITS.tmemAuthorised) throw new RangeError('too many authorised uuids');
  const writer = new ByteWriter(24 + 16 * LIMITS.tmemAuthorised)
    .u32((client.compress ? 1 : 0) | (client.frozen ? 2 : 0))
    .u32(client.weight)
    .u32(client.cap)
    .u32(client.authorised.length)
    .u64(client.allowancePages);
  for (const uuid of client.authorised) writer.bytes(fromUuid(uuid));
  return writer.done();
}

export function decodeTmemClient(body: ByteReader): TmemClient {
  const flags = body.u32('flags');
  const weight = body.u32('weight');
  const cap = body.u32('cap');
  const count = body.u32('authorised');
  const allowancePages = body.u64('allowancePages');
  if (count > LIMITS.tmemAuthorised) {
    throw body.error(
      'LIMIT_EXCEEDED',
      `${count} authorised uuids, the limit is ${LIMITS.tmemAuthorised}`,
      'authorised',
    );
  }
  const authorised: string[] = [];
  for (let i = 0; i < count; i++) authorised.push(toUuid(body.take(16, `authorised[${i}]`)));
  body.end();
  const compress = (flags & 1) !== 0;
  return { kind: 'TMEM_CLIENT', compress, frozen: (flags & 2) !== 0, weight, cap, allowancePages, authorised };
}

/** The flags word of a pool as it stands in the stream, and as Xen gives it to a guest. */
export function poolFlags(pool: Omit<TmemPool, 'kind'>): number {
  return (
    (pool.ephemeral ? 0 : POOL_FLAG.persistent) |
    (pool.shared ? POOL_FLAG.shared : 0) |
    (pool.precompressed ? POOL_FLAG.precompressed : 0) |
    ((Math.log2(pool.pageSize) - LIMITS.pageShiftMin) << 4) |
    (1 << 24)
  );
}

export function encodeTmemPool(pool: Omit<TmemPool, 'kind'>): Uint8Array {
  if (pool.pool >= LIMITS.tmemPools) throw new RangeError(`pool ${pool.pool}`);
  if (pool.incarnation < 1n) throw new RangeError('incarnations begin at 1');
  return new ByteWriter(48)
    .u64(pool.incarnation)
    .u32(pool.pool)
    .u32(poolFlags(pool))
    .u8(pool.objectIdBits)
    .zeros(7)
    .bytes(fromUuid(pool.uuid))
    .u64(pool.pages)
    .done();
}

export function decodeTmemPool(body: ByteReader, type: number): TmemPool {
  const incarnation = body.u64('incarnation');
  const pool = body.u32('pool');
  const flags = body.u32('flags');
  const objectIdBits = body.u8('objectIdBits');
  body.reserved(7);
  const uuid = toUuid(body.take(16, 'uuid'));
  const pages = body.u64('pages');
  body.end();
  const ephemeral = (flags & POOL_FLAG.persistent) === 0;
  const shift = (flags >>> 4) & 15;
  const wrong = (field: string, what: string): TransmigrateError => body.error('FIELD_VALUE', what, field);
  if (incarnation === 0n) throw wrong('incarnation', 'Incarnation 0 does not exist');
  if (pool >= LIMITS.tmemPools) throw wrong('pool', `Pool ${pool} is above ${LIMITS.tmemPools - 1}`);
  if (flags >>> 24 !== 1 || (flags & 0x00ff_ff08) !== 0) {
    throw wrong('flags', `Pool flags 0x${flags.toString(16)} have another version than 1 or unknown bits`);
  }
  if (shift > LIMITS.pageShiftMax - LIMITS.pageShiftMin) {
    throw wrong('flags', `A pool with pages of 2^${12 + shift} bytes`);
  }
  if (ephemeral !== isOptional(type)) {
    throw wrong('flags', `A pool that is ${ephemeral ? 'not ' : ''}persistent in a record of the other form`);
  }
  if (objectIdBits !== 64 && objectIdBits !== 192) throw wrong('objectIdBits', `Object ids of ${objectIdBits} bits`);
  return {
    kind: 'TMEM_POOL',
    ephemeral,
    incarnation,
    pool,
    shared: (flags & POOL_FLAG.shared) !== 0,
    precompressed: (flags & POOL_FLAG.precompressed) !== 0,
    pageSize: 2 ** (LIMITS.pageShiftMin + shift),
    objectIdBits,
    uuid,
    pages,
  };
}

/** Bytes of a TMEM_PAGES entry, and of what stands before the entries. */
export const TMEM_ENTRY_BYTES = 40;
const HEAD_BYTES = 16;

/**
 * A batch of tmem pages (stream 10.3). It is a view on a record: no object is made for a page, handles are read in
 * place, and the whole thing is valid only as long as the record is.
 */
export class TmemPages {
  readonly kind = 'TMEM_PAGES';
  readonly pool: TmemPool;
  /** How many pages. */
  readonly count: number;
  readonly #body: Uint8Array;
  readonly #view: DataView;
  readonly #where: { offset: number; path: string; section: string };
  /** Where the stored bytes of each entry start in the body. */
  readonly #starts: Uint32Array;

  /** Checks the whole batch but the codecs' data. Used by the decoder. */
  constructor(body: ByteReader, pool: TmemPool) {
    this.pool = pool;
    this.#where = { offset: body.base, path: body.path, section: body.section };
    body.reserved(8); // The incarnation, by which the pool was found.
    this.count = body.u32('count');
    body.reserved(4);
    if (this.count > LIMITS.tmemPages) {
      throw body.error('LIMIT_EXCEEDED', `${this.count} pages, the limit is ${LIMITS.tmemPages}`, 'count');
    }
    if (this.count === 0) throw body.error('FIELD_VALUE', 'A batch without pages', 'count');
    body.take(this.count * TMEM_ENTRY_BYTES, 'entries');
    this.#body = body.bytes;
    this.#view = new DataView(body.bytes.buffer, body.bytes.byteOffset, body.bytes.byteLength);
    this.#starts = new Uint32Array(this.count);
    let start = HEAD_BYTES + this.count * TMEM_ENTRY_BYTES;
    for (let i = 0; i < this.count; i++) {
      this.#starts[i] = start;
      this.#check(i);
      start += this.storedLength(i);
      if (start > body.bytes.byteLength)
        throw this.#error('LENGTH_MISMATCH', i, 'its stored bytes go beyond the record');
    }
    if (start !== body.bytes.byteLength) {
      const left = body.bytes.byteLength - start;
      throw new TransmigrateError('LENGTH_MISMATCH', `${left} bytes stand after the last page`, this.#where);
    }
  }

  /** The whole body, for who passes the batch on as it is. A view. */
  get body(): Uint8Array {
    return this.#body;
  }

  /** Word 0, 1 or 2 of a page's object id. Allocates a BigInt: for printing and single look-ups. */
  objectWord(page: number, word: number): bigint {
    return this.#view.getBigUint64(this.#entry(page) + 8 * word, true);
  }

  /**
   * Lower or upper half of a word of the object id, for code that must not allocate. @param half 0 to 5, little-endian.
   */
  objectHalf(page: number, half: number): number {
    return this.#view.getUint32(this.#entry(page) + 4 * half, true);
  }

  index(page: number): number {
    return this.#view.getUint32(this.#entry(page) + 24, true);
  }

  /** Length of the original content that was stored: the rest of the page is zero (stream 10.3.1). */
  originalLength(page: number): number {
    return this.#view.getUint32(this.#entry(page) + 28, true);
  }

  storedLength(page: number): number {
    return this.#view.getUint32(this.#entry(page) + 32, true);
  }

  codec(page: number): CodecId {
    return this.#body[this.#entry(page) + 36] as CodecId;
  }

  /** The stored bytes: a view into the record. */
  stored(page: number): Uint8Array {
    const start = this.#starts[page];
    return this.#body.subarray(start, start + this.storedLength(page));
  }

  /** The 24 bytes of the object id as they stand in the record. */
  objectBytes(page: number): Uint8Array {
    return this.#body.subarray(this.#entry(page), this.#entry(page) + 24);
  }

  /**
   * Writes the original content into `out` (of at least the pool's page size) and returns its length: the page size,
   * or, in a PRECOMPRESSED pool, the length of the guest's own bytes.
   * @throws CODEC_DATA
   */
  contentInto(page: number, out: Uint8Array): number {
    const length = this.originalLength(page);
    const stored = this.stored(page);
    if (this.pool.precompressed) {
      out.set(stored);
      return length;
    }
    const content = out.subarray(0, length);
    const path = `${this.#where.path}/pages[${page}]`;
    decodeAt(this.codec(page), stored, content, { ...this.#where, path });
    out.fill(0, length, this.pool.pageSize);
    return this.pool.pageSize;
  }

  #entry(page: number): number {
    return HEAD_BYTES + page * TMEM_ENTRY_BYTES;
  }

  #check(page: number): void {
    const { pageSize, precompressed, objectIdBits } = this.pool;
    const codec = this.#body[this.#entry(page) + 36];
    const length = this.originalLength(page);
    const stored = this.storedLength(page);
    if (!isCodec(codec)) throw this.#error('UNSUPPORTED_CODEC', page, `codec ${codec} is unknown`);
    if ((codec === CODEC.opaque) !== precompressed) {
      throw this.#error('FIELD_VALUE', page, `codec ${codecName(codec)} has no place in this pool`);
    }
    if (objectIdBits === 64) {
      for (let half = 2; half < 6; half++) {
        if (this.objectHalf(page, half) !== 0) throw this.#error('FIELD_VALUE', page, 'an object id beyond 64 bits');
      }
    }
    const fits =
      codec === CODEC.zero
        ? length === 0 && stored === 0
        : codec === CODEC.raw || codec === CODEC.opaque
          ? stored === length && length >= 1 && length <= pageSize
          : stored >= 1 && stored < length && length <= pageSize;
    if (!fits) {
      const what = `${stored} stored bytes can't be ${length} bytes in codec ${codecName(codec)}`;
      throw this.#error('LENGTH_MISMATCH', page, what);
    }
  }

  #error(code: 'FIELD_VALUE' | 'LENGTH_MISMATCH' | 'UNSUPPORTED_CODEC', page: number, what: string): TransmigrateError {
    return new TransmigrateError(code, `tmem page ${page} of the batch: ${what}`, {
      ...this.#where,
      path: `${this.#where.path}/pages[${page}]`,
    });
  }
}

/** What a TMEM_INVALIDATE names (stream 10.4). */
export const SCOPE = { pages: 1, objects: 2, pool: 3 } as const;
export type ScopeName = keyof typeof SCOPE;
export const INVALIDATE_ENTRY_BYTES = 32;

/** TMEM_INVALIDATE: a view on a record, valid as long as that is. */
export class TmemInvalidate {
  readonly kind = 'TMEM_INVALIDATE';
  readonly pool: TmemPool;
  readonly scope: ScopeName;
  readonly count: number;
  readonly #view: DataView;

  constructor(body: ByteReader, pool: TmemPool) {
    this.pool = pool;
    body.reserved(8);
    const scope = body.u32('scope');
    this.count = body.u32('count');
    const name = (Object.keys(SCOPE) as ScopeName[]).find((each) => SCOPE[each] === scope);
    if (name === undefined) throw body.error('FIELD_VALUE', `Scope ${scope} does not exist`, 'scope');
    this.scope = name;
    if (this.count > LIMITS.tmemInvalidates) {
      throw body.error('LIMIT_EXCEEDED', `${this.count} entries, the limit is ${LIMITS.tmemInvalidates}`, 'count');
    }
    if ((this.count === 0) !== (name === 'pool')) {
      throw body.error('FIELD_VALUE', `${this.count} entries for scope ${name}`, 'count');
    }
    body.take(this.count * INVALIDATE_ENTRY_BYTES, 'handles');
    body.end();
    this.#view = new DataView(body.bytes.buffer, body.bytes.byteOffset, body.bytes.byteLength);
    if (pool.objectIdBits === 64) {
      for (let i = 0; i < this.count; i++) {
        for (let half = 2; half < 6; half++) {
          if (this.objectHalf(i, half) !== 0) {
            throw body.error('FIELD_VALUE', 'an object id beyond 64 bits', `handles[${i}]`);
          }
        }
      }
    }
    if (name === 'objects') {
      for (let i = 0; i < this.count; i++) {
        if (this.index(i) !== 0) throw body.error('FIELD_VALUE', 'an object with a page index', `handles[${i}]`);
      }
    }
  }

  objectWord(entry: number, word: number): bigint {
    return this.#view.getBigUint64(HEAD_BYTES + entry * INVALIDATE_ENTRY_BYTES + 8 * word, true);
  }

  objectHalf(entry: number, half: number): number {
    return this.#view.getUint32(HEAD_BYTES + entry * INVALIDATE_ENTRY_BYTES + 4 * half, true);
  }

  index(entry: number): number {
    return this.#view.getUint32(HEAD_BYTES + entry * INVALIDATE_ENTRY_BYTES + 24, true);
  }
}

/** A handle within a pool: object id words, and the index of the page. */
export interface TmemHandle {
  readonly object: readonly [bigint, bigint, bigint];
  readonly index: number;
}

export function encodeTmemInvalidate(
  incarnation: bigint,
  scope: ScopeName,
  handles: readonly TmemHandle[],
): Uint8Array {
  if (handles.length > LIMITS.tmemInvalidates) throw new RangeError('too many invalidates for a record');
  if ((handles.length === 0) !== (scope === 'pool')) throw new RangeError(`${handles.length} handles, scope ${scope}`);
  const writer = new ByteWriter(LIMITS.recordBody, HEAD_BYTES + handles.length * INVALIDATE_ENTRY_BYTES);
  writer.u64(incarnation).u32(SCOPE[scope]).u32(handles.length);
  for (const { object, index } of handles) {
    writer
      .u64(object[0])
      .u64(object[1])
      .u64(object[2])
      .u32(scope === 'objects' ? 0 : index)
      .zeros(4);
  }
  return writer.done();
}
