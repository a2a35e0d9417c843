/**
 * The layout of v86's `save_state` files (spec/foreign/v86.md): a header, a JSON tree, and the buffers it names.
 * Bytes only: which entry of the tree is which register or device stands in the other files of this folder.
 */
import { parseJsonObject, type Json, type JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError, type ErrorCode } from '../../errors.ts';

/** The header (foreign/v86 1). The version never changed, although the content does with every release. */
export const STATE_HEADER = { magic: 0x86768676, version: 6, bytes: 16 } as const;

/** The magic of a zstd frame: v86's own tools also store states compressed (foreign/v86 1). */
const ZSTD_MAGIC = 0xfd2fb528;

export const STATE_LIMITS = {
  /** Bytes of the JSON tree. Real ones have about 8,000. */
  infoBytes: 1024 * 1024,
  infoDepth: 32,
  buffers: 4096,
  /** Bytes of a whole state: v86 keeps the length in a signed field. */
  stateBytes: 0x7fff_ffff,
} as const;

/** Bytes of an element of each kind of array that a state can hold (foreign/v86 2). */
const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  Uint8Array: 1,
  Int8Array: 1,
  Uint16Array: 2,
  Int16Array: 2,
  Uint32Array: 4,
  Int32Array: 4,
  Float32Array: 4,
  Float64Array: 8,
};

/** Where a buffer lies in the file, and what kind of array is made of it. */
export interface StateBuffer {
  /** From the start of the file. */
  readonly offset: number;
  readonly length: number;
  readonly type: string;
}

/** A state without the bytes of its buffers. */
export interface StateHead {
  /** The whole JSON object, with keys that v86 does not know too. */
  readonly info: JsonObject;
  /** What `get_state` of the processor gave, with `{__state_type__, buffer_id}` in the place of arrays. */
  readonly tree: readonly Json[];
  readonly buffers: readonly StateBuffer[];
  readonly totalBytes: number;
}

/** A state with its bytes. */
export interface SaveState extends StateHead {
  /** The buffers as views into the input. */
  readonly contents: readonly Uint8Array[];
}

const SECTION = 'foreign/v86';

export function stateError(code: ErrorCode, what: string, offset: number, path = ''): TransmigrateError {
  return new TransmigrateError(code, what, {
    offset,
    path: path === '' ? 'v86 state' : `v86 state/${path}`,
    section: SECTION,
  });
}

/** How many bytes from the start {@link parseStateHead} needs. @throws as it does, for what the header says. */
export function stateHeadBytes(header: Uint8Array): number {
  if (header.byteLength < STATE_HEADER.bytes) {
    throw stateError('TRUNCATED', `A v86 state has a header of ${STATE_HEADER.bytes} bytes`, header.byteLength);
  }
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const magic = view.getUint32(0, true);
  if (magic === ZSTD_MAGIC) {
    throw stateError('UNSUPPORTED_CODEC', 'The v86 state is compressed as a whole: decompress it with zstd first', 0);
  }
  if (magic !== STATE_HEADER.magic) throw stateError('NOT_AN_IMAGE', 'These bytes are not a v86 state', 0);
  const version = view.getInt32(4, true);
  if (version !== STATE_HEADER.version) {
    throw stateError('UNSUPPORTED_VERSION', `The layout of this v86 state has version ${version}`, 4);
  }
  const total = view.getInt32(8, true);
  const infoBytes = view.getInt32(12, true);
  if (infoBytes > STATE_LIMITS.infoBytes) {
    throw stateError('LIMIT_EXCEEDED', `A tree of ${infoBytes} bytes, the limit is ${STATE_LIMITS.infoBytes}`, 12);
  }
  if (infoBytes < 2 || aligned(STATE_HEADER.bytes + infoBytes) > total) {
    throw stateError('LENGTH_MISMATCH', `A tree of ${infoBytes} bytes in a state of ${total}`, 8);
  }
  return STATE_HEADER.bytes + infoBytes;
}

/**
 * Reads header and tree, and checks them: the buffers lie one after the other as v86 writes them and fill the file, and
 * each is named by the tree exactly once.
 *
 * @param head at least {@link stateHeadBytes} bytes from the start; more is ignored.
 * @throws NOT_AN_IMAGE, UNSUPPORTED_VERSION, UNSUPPORTED_CODEC, TRUNCATED, LENGTH_MISMATCH, LIMIT_EXCEEDED,
 * JSON_INVALID, FIELD_VALUE.
 */
export function parseStateHead(head: Uint8Array): StateHead {
  const end = stateHeadBytes(head);
  if (head.byteLength < end) throw stateError('TRUNCATED', 'The tree of the v86 state is cut off', head.byteLength);
  const totalBytes = new DataView(head.buffer, head.byteOffset, head.byteLength).getInt32(8, true);
  const info = parseJsonObject(head.subarray(STATE_HEADER.bytes, end), STATE_LIMITS.infoDepth, {
    offset: STATE_HEADER.bytes,
    path: 'v86 state',
    section: SECTION,
  });
  const tree = info['state'];
  if (!Array.isArray(tree)) throw stateError('FIELD_VALUE', 'The state of the processor is not a list', 16, 'state');
  const places = bufferPlaces(info['buffer_infos'], aligned(end), totalBytes);
  const types: (string | undefined)[] = places.map(() => undefined);
  visitTree(tree, 'state', (node, path) => {
    const { type, id } = bufferReference(node, path);
    const place = places[id];
    if (place === undefined) throw stateError('FIELD_VALUE', `There is no buffer ${id}`, 16, path);
    if (types[id] !== undefined) throw stateError('DUPLICATE', `Buffer ${id} is named twice`, 16, path);
    if (place.length % ELEMENT_BYTES[type] !== 0) {
      throw stateError('LENGTH_MISMATCH', `${place.length} bytes are no ${type}`, 16, path);
    }
    types[id] = type;
  });
  const lost = types.indexOf(undefined);
  if (lost >= 0) throw stateError('FIELD_VALUE', `Nothing names buffer ${lost}`, 16, `buffer_infos[${lost}]`);
  return { info, tree, buffers: places.map((place, i) => ({ ...place, type: types[i]! })), totalBytes };
}

/** {@link parseStateHead} for a whole state. The contents are views into `bytes`. */
export function parseSaveState(bytes: Uint8Array): SaveState {
  const head = parseStateHead(bytes);
  if (head.totalBytes !== bytes.byteLength) {
    const code = head.totalBytes > bytes.byteLength ? 'TRUNCATED' : 'TRAILING_DATA';
    throw stateError(code, `The header says ${head.totalBytes} bytes, and ${bytes.byteLength} are there`, 8);
  }
  return { ...head, contents: head.buffers.map(({ offset, length }) => bytes.subarray(offset, offset + length)) };
}

/** What stands before a state's buffers, and where each buffer lies. */
export interface StateLayout {
  /** Header, tree and padding, up to the first buffer. */
  readonly head: Uint8Array;
  readonly offsets: readonly number[];
  readonly totalBytes: number;
}

/** Lays a state out: the inverse of {@link parseStateHead}. `buffer_infos` of `info` is replaced. */
export function layoutState(info: JsonObject, lengths: readonly number[]): StateLayout {
  const relative: number[] = [];
  let size = 0;
  for (const length of lengths) {
    relative.push(size);
    size = aligned(size + length);
  }
  const infos = lengths.map((length, i) => ({ offset: relative[i], length }));
  const text = new TextEncoder().encode(JSON.stringify({ ...info, buffer_infos: infos }));
  const start = aligned(STATE_HEADER.bytes + text.byteLength);
  const totalBytes = start + size;
  if (text.byteLength > STATE_LIMITS.infoBytes || totalBytes > STATE_LIMITS.stateBytes) {
    throw new RangeError(`a v86 state of ${totalBytes} bytes with a tree of ${text.byteLength}`);
  }
  const head = new Uint8Array(start);
  const view = new DataView(head.buffer);
  view.setUint32(0, STATE_HEADER.magic, true);
  view.setInt32(4, STATE_HEADER.version, true);
  view.setInt32(8, totalBytes, true);
  view.setInt32(12, text.byteLength, true);
  head.set(text, STATE_HEADER.bytes);
  return { head, offsets: relative.map((offset) => start + offset), totalBytes };
}

/** Writes a state, as v86 does. The result is new memory. */
export function writeSaveState(info: JsonObject, contents: readonly Uint8Array[]): Uint8Array {
  const { head, offsets, totalBytes } = layoutState(
    info,
    contents.map((content) => content.byteLength),
  );
  const bytes = new Uint8Array(totalBytes);
  bytes.set(head, 0);
  contents.forEach((content, i) => bytes.set(content, offsets[i]));
  return bytes;
}

/** Which buffer a node of the tree names, or undefined when it names none. For trees that were checked. */
export function bufferIdOf(node: Json | undefined): number | undefined {
  if (typeof node !== 'object' || node === null || Array.isArray(node)) return undefined;
  const id = node['buffer_id'];
  return typeof id === 'number' ? id : undefined;
}

/** Rounded up to four: where v86 puts the next buffer. */
export function aligned(offset: number): number {
  return Math.ceil(offset / 4) * 4;
}

function bufferPlaces(infos: Json | undefined, start: number, total: number): { offset: number; length: number }[] {
  if (!Array.isArray(infos)) throw stateError('FIELD_VALUE', 'The list of buffers is not a list', 16, 'buffer_infos');
  if (infos.length > STATE_LIMITS.buffers) {
    throw stateError(
      'LIMIT_EXCEEDED',
      `${infos.length} buffers, the limit is ${STATE_LIMITS.buffers}`,
      16,
      'buffer_infos',
    );
  }
  let next = 0;
  const places = infos.map((info, i) => {
    const path = `buffer_infos[${i}]`;
    const entry = typeof info === 'object' && info !== null && !Array.isArray(info) ? info : {};
    const { offset, length } = entry;
    if (typeof length !== 'number' || !Number.isInteger(length) || length < 0 || length > total) {
      throw stateError('FIELD_VALUE', 'The length of a buffer is not a length', 16, path);
    }
    if (offset !== next) throw stateError('FIELD_VALUE', `A buffer does not start where the last one ended`, 16, path);
    next = aligned(next + length);
    return { offset: start + offset, length };
  });
  if (start + next !== total) {
    throw stateError('LENGTH_MISMATCH', `Tree and buffers take ${start + next} bytes, the header says ${total}`, 8);
  }
  return places;
}

function bufferReference(node: JsonObject, path: string): { type: string; id: number } {
  const type = node['__state_type__'];
  const id = node['buffer_id'];
  if (typeof type !== 'string' || !Object.hasOwn(ELEMENT_BYTES, type)) {
    throw stateError('FIELD_VALUE', 'A node of the tree is of a kind that v86 does not have', 16, path);
  }
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0) {
    throw stateError('FIELD_VALUE', 'The number of a buffer is not a number', 16, path);
  }
  return { type, id };
}

/** Calls back for every object of the tree that stands for an array; maps are walked through. */
function visitTree(nodes: readonly Json[], path: string, visit: (node: JsonObject, path: string) => void): void {
  nodes.forEach((node, i) => {
    if (typeof node !== 'object' || node === null) return;
    const at = `${path}[${i}]`;
    if (Array.isArray(node)) return visitTree(node, at, visit);
    if (node['__state_type__'] !== 'Map') return visit(node, at);
    const entries = node['args'];
    if (!Array.isArray(entries)) throw stateError('FIELD_VALUE', 'A map without entries', 16, at);
    for (const entry of entries) {
      if (!Array.isArray(entry) || entry.length !== 2) throw stateError('FIELD_VALUE', 'No entry of a map', 16, at);
    }
    visitTree(entries, at, visit);
  });
}
