/**
 * What a state looks like without its values: which lists, arrays and scalars stand where, and how long (foreign/v86
 * 4). v86 trusts a state: a list that is too short ends in an exception halfway through, an array of another length in
 * writes beside it. So a state from outside is compared with that of a fresh instance first (M5).
 */
import type { Json } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import { bufferIdOf, type StateHead } from './save-state.ts';

/**
 * `scalar` stands for a number or a truth value, which v86 mixes freely; null among them, since JSON has no infinity.
 * `empty` is a place that an instance leaves out, and must be left out of a state too.
 */
export type Shape =
  | { readonly kind: 'scalar' | 'empty' | 'choice' }
  | { readonly kind: 'fixed'; readonly value: number | boolean | string }
  | { readonly kind: 'bounded'; readonly most: number }
  | { readonly kind: 'list'; readonly items: readonly Shape[] }
  | { readonly kind: 'array'; readonly type: string; readonly length: number }
  | {
      readonly kind: 'growing';
      readonly type: string;
      readonly most: number;
      readonly unit: number;
      readonly orEmpty: boolean;
    };

/** Places whose value is part of the configuration: v86 would take another one and go wrong with it. */
const FIXED: readonly RegExp[] = [
  /^\[0\]$/, // size of memory
  /^\[52\]\[0\]$/, // size of video memory
  /^\[(54|79|80|81)\]\[10\]$/, // interrupt of a serial port
  /^\[61\]\[34\]$/, // interrupt of the sound card
  /^\[85\]\[\d\]\[(2|3|5)\]$/, // ports and interrupt of a disk channel
  /^\[5[67]\]\[(2|3|4|5|6)\]$/, // the same before there was one controller
  /^(\[85\]\[\d\]|\[5[67]\])\[[01]\]\[(13|19|20)\]$/, // a drive: whether it is a CD-ROM, its sectors, their size
];

/**
 * Arrays that may have another length, and by how much: what firmware asked for, and the buffer of a drive's transfer.
 */
const GROWING: readonly { place: RegExp; most: number; unit: number; orEmpty: boolean }[] = [
  { place: /^\[62\]$/, most: 1024 * 1024, unit: 1, orEmpty: true },
  { place: /^(\[85\]\[\d\]|\[5[67]\])\[[01]\]\[16\]$/, most: 32 * 1024 * 1024, unit: 4, orEmpty: false },
];

/** Numbers that v86 allocates memory by: columns and rows of text, width and height of graphics. */
const BOUNDED: readonly { place: RegExp; most: number }[] = [
  { place: /^\[52\]\[[45]\]$/, most: 512 },
  { place: /^\[52\]\[1[56]\]$/, most: 8192 },
];

/** Places that are null in a fresh instance and get a number later. */
const LATER: readonly RegExp[] = [/^\[9[01]\]\[3\]$/]; // a status that the printer port has latched

/** The shape of a state. A map counts as empty: no device that we configure has one. */
export function shapeOf(state: StateHead): Shape {
  return describe(state.tree as Json[], '', state);
}

function describe(node: Json | undefined, path: string, state: StateHead): Shape {
  const growing = GROWING.find(({ place }) => place.test(path));
  if (growing !== undefined && node !== null && node !== undefined) {
    const { most, unit, orEmpty } = growing;
    return { kind: 'growing', type: 'Uint8Array', most, unit, orEmpty };
  }
  if (Array.isArray(node)) {
    return { kind: 'list', items: node.map((item, i) => describe(item, `${path}[${i}]`, state)) };
  }
  const id = bufferIdOf(node);
  if (id !== undefined) return { kind: 'array', type: state.buffers[id].type, length: state.buffers[id].length };
  if (typeof node === 'string') return { kind: 'fixed', value: node };
  if (LATER.some((place) => place.test(path))) return { kind: 'choice' };
  if (typeof node === 'number' || typeof node === 'boolean') {
    const bounded = BOUNDED.find(({ place }) => place.test(path));
    if (bounded !== undefined) return { kind: 'bounded', most: bounded.most };
    return FIXED.some((place) => place.test(path)) ? { kind: 'fixed', value: node } : { kind: 'scalar' };
  }
  return { kind: 'empty' };
}

/**
 * Compares a state from outside with the shape of a fresh instance.
 * @throws DEVICE_SHAPE with the first place that differs.
 */
export function checkShape(expected: Shape, state: StateHead): void {
  compare(expected, state.tree as Json[], '', state);
}

function compare(shape: Shape, node: Json | undefined, path: string, state: StateHead): void {
  switch (shape.kind) {
    case 'list': {
      if (!Array.isArray(node)) throw differs(path, 'a list', node, state);
      if (node.length !== shape.items.length) throw differs(path, `a list of ${shape.items.length}`, node, state);
      shape.items.forEach((item, i) => compare(item, node[i], `${path}[${i}]`, state));
      return;
    }
    case 'array': {
      const id = bufferIdOf(node);
      const buffer = id === undefined ? undefined : state.buffers[id];
      if (buffer?.type !== shape.type || buffer.length !== shape.length) {
        throw differs(path, `${shape.type} of ${shape.length} bytes`, node, state);
      }
      return;
    }
    case 'growing': {
      if (shape.orEmpty && Array.isArray(node) && node.length === 0) return;
      const id = bufferIdOf(node);
      const buffer = id === undefined ? undefined : state.buffers[id];
      if (buffer?.type !== shape.type || buffer.length > shape.most || buffer.length % shape.unit !== 0) {
        throw differs(path, `${shape.type} of at most ${shape.most} bytes`, node, state);
      }
      return;
    }
    case 'fixed':
      if (node !== shape.value) throw differs(path, JSON.stringify(shape.value), node, state);
      return;
    case 'bounded':
      if (typeof node !== 'number' || !(node >= 0 && node <= shape.most)) {
        throw differs(path, `a number up to ${shape.most}`, node, state);
      }
      return;
    case 'scalar':
      if (!isScalar(node) && node !== null) throw differs(path, 'a number', node, state);
      return;
    case 'choice':
      if (!isScalar(node) && node !== null) throw differs(path, 'a number or nothing', node, state);
      return;
    case 'empty':
      if (node !== null) throw differs(path, 'nothing', node, state);
  }
}

function isScalar(node: Json | undefined): boolean {
  // A number that JSON cannot hold becomes infinite when it is read.
  return typeof node === 'boolean' || (typeof node === 'number' && Number.isFinite(node));
}

function differs(path: string, expected: string, node: Json | undefined, state: StateHead): TransmigrateError {
  const found = nameOf(node, state);
  const place = `v86 state/state${path}`;
  return new TransmigrateError('DEVICE_SHAPE', `Device state has ${found} where this configuration has ${expected}`, {
    path: place,
    section: 'foreign/v86 4',
    data: { place, expected, found },
  });
}

function nameOf(node: Json | undefined, state: StateHead): string {
  if (node === undefined || node === null) return 'nothing';
  if (Array.isArray(node)) return `a list of ${node.length}`;
  const id = bufferIdOf(node);
  if (id !== undefined) return `${state.buffers[id].type} of ${state.buffers[id].length} bytes`;
  if (typeof node === 'object') return 'a map';
  return typeof node === 'number' ? String(node) : typeof node === 'boolean' ? String(node) : 'text';
}
