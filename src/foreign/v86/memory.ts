/** Guest memory in v86's states: taking it out of a state, and putting it back (foreign/v86 3). */
import type { Json } from '../../bytes/bounded-json.ts';
import { bufferIdOf, layoutState, parseSaveState, stateError, writeSaveState, type StateHead } from './save-state.ts';

/** Places in the tree (foreign/v86 2). */
const MEMORY_SIZE = 0;
const PACKED_PAGES = 77;
const PAGE_BITMAP = 78;

export const V86_PAGE_BYTES = 4096;
/** v86 rounds memory to this. */
const MEMORY_UNIT = 128 * 1024;
/** The most that v86's signed arithmetic can address. */
export const MEMORY_MOST = 0x8000_0000 - MEMORY_UNIT;

/** The guest's memory of a state: which pages there are, and where they stand. */
export interface StateMemory {
  readonly memoryBytes: number;
  /** A bit for each page, lowest first; pages without it are zero. */
  readonly bitmap: Uint8Array;
  /** Where the pages with a bit stand in the file, one after the other. */
  readonly packedOffset: number;
  readonly packedPages: number;
}

/** @throws FIELD_VALUE or LENGTH_MISMATCH when memory and pages do not fit together. */
export function memoryOfState(head: StateHead, bitmapOf: (offset: number, length: number) => Uint8Array): StateMemory {
  const memoryBytes = memorySizeOf(head.tree);
  const packed = head.buffers[idAt(head.tree, PACKED_PAGES)];
  const map = head.buffers[idAt(head.tree, PAGE_BITMAP)];
  const pages = memoryBytes / V86_PAGE_BYTES;
  if (map.length !== Math.ceil(pages / 8)) {
    throw stateError('LENGTH_MISMATCH', `A bitmap of ${map.length} bytes for ${pages} pages`, map.offset, 'state[78]');
  }
  const bitmap = bitmapOf(map.offset, map.length);
  const packedPages = countBits(bitmap);
  if (packed.length !== packedPages * V86_PAGE_BYTES) {
    const what = `${packed.length} bytes of pages, and the bitmap has ${packedPages}`;
    throw stateError('LENGTH_MISMATCH', what, packed.offset, 'state[77]');
  }
  return { memoryBytes, bitmap, packedOffset: packed.offset, packedPages };
}

/** Size of the guest's memory in bytes. @throws FIELD_VALUE */
export function memorySizeOf(tree: readonly Json[]): number {
  const size = tree[MEMORY_SIZE];
  if (
    typeof size !== 'number' ||
    !Number.isInteger(size) ||
    size <= 0 ||
    size > MEMORY_MOST ||
    size % MEMORY_UNIT !== 0
  ) {
    throw stateError('FIELD_VALUE', 'The size of memory is none that v86 has', 16, 'state[0]');
  }
  return size;
}

/** A full state as memory and a device blob. */
export interface SplitState {
  readonly memory: StateMemory;
  /** The state without memory, as our driver saves it: v86's layout, two buffers empty. New memory. */
  readonly devices: Uint8Array;
}

/** Splits a full state. @throws as parseSaveState and {@link memoryOfState} do. */
export function splitSaveState(bytes: Uint8Array): SplitState {
  const state = parseSaveState(bytes);
  const memory = memoryOfState(state, (offset, length) => bytes.slice(offset, offset + length));
  const empty = new Uint8Array(0);
  const without = [idAt(state.tree, PACKED_PAGES), idAt(state.tree, PAGE_BITMAP)];
  const contents = state.contents.map((content, id) => (without.includes(id) ? empty : content));
  return { memory, devices: writeSaveState(state.info, contents) };
}

/** A full state around pages that are still to be written: `before`, then the pages with a bit, then `after`. */
export interface JoinedState {
  readonly before: Uint8Array;
  readonly packedBytes: number;
  readonly after: Uint8Array;
}

/**
 * Puts a device blob of ours and memory together into a state that v86 restores by itself.
 * @param bitmap a bit for each page that is not zero, lowest first.
 */
export function joinSaveState(devices: Uint8Array, bitmap: Uint8Array): JoinedState {
  const state = parseSaveState(devices);
  const pages = memorySizeOf(state.tree) / V86_PAGE_BYTES;
  if (bitmap.byteLength !== Math.ceil(pages / 8)) throw new RangeError(`a bitmap of ${bitmap.byteLength} bytes`);
  const packedId = idAt(state.tree, PACKED_PAGES);
  const mapId = idAt(state.tree, PAGE_BITMAP);
  const packedBytes = countBits(bitmap) * V86_PAGE_BYTES;
  const contents = state.contents.map((content, id) => (id === mapId ? bitmap : content));
  const lengths = contents.map((content, id) => (id === packedId ? packedBytes : content.byteLength));
  const { head, offsets, totalBytes } = layoutState(state.info, lengths);
  const before = new Uint8Array(offsets[packedId]);
  before.set(head, 0);
  const resume = offsets[packedId] + packedBytes;
  const after = new Uint8Array(totalBytes - resume);
  contents.forEach((content, id) => {
    if (id < packedId) before.set(content, offsets[id]);
    if (id > packedId) after.set(content, offsets[id] - resume);
  });
  return { before, packedBytes, after };
}

/** Which buffers hold the pages and their bitmap. @throws FIELD_VALUE */
export function memoryBuffersOf(tree: readonly Json[]): { readonly packed: number; readonly bitmap: number } {
  return { packed: idAt(tree, PACKED_PAGES), bitmap: idAt(tree, PAGE_BITMAP) };
}

function idAt(tree: readonly Json[], place: number): number {
  const id = bufferIdOf(tree[place]);
  if (id === undefined) throw stateError('FIELD_VALUE', 'There is no buffer here', 16, `state[${place}]`);
  return id;
}

function countBits(bitmap: Uint8Array): number {
  let count = 0;
  for (let byte of bitmap) {
    for (; byte !== 0; byte &= byte - 1) count++;
  }
  return count;
}
