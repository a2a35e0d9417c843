/**
 * What v86 leaves out of its states, in a key of our own beside its tree (foreign/v86 5). v86 steps over a key that it
 * does not know, so a state with it is still one of v86's.
 */
import type { Json, JsonObject } from '../../bytes/bounded-json.ts';
import { fromHex, toHex } from '../../bytes/hex.ts';
import { stateError } from './save-state.ts';

const KEY = 'transmigrate';
export const SERIAL_PORTS = 4;
/** Bytes that may wait in a serial port: far more than a person or a script types ahead. */
export const SERIAL_INPUT_MOST = 64 * 1024;

export interface StateExtension {
  /** The clock that v86 measures its timers with, when the state was made, in milliseconds from an arbitrary start. */
  readonly microtickMs: number;
  /** The same moment as the time of day, in milliseconds since 1970. */
  readonly wallClockMs: number;
  /** Registers that v86 before December 2025 does not save: the last result of its lazy flags, x87 status, MXCSR. */
  readonly lastResult: number;
  readonly fpuStatusWord: number;
  readonly mxcsr: number;
  /** Bytes that reached a serial port and that the guest has not read yet, for each port. */
  readonly serialInput: readonly Uint8Array[];
}

/** `info` with the extension in it. */
export function withExtension(info: JsonObject, extension: StateExtension): JsonObject {
  const waiting = extension.serialInput.map((bytes) => toHex(bytes));
  return { ...info, [KEY]: { version: 1, ...extension, serialInput: waiting } };
}

/**
 * The extension of a state, or null where v86 made it alone. @throws FIELD_VALUE, LIMIT_EXCEEDED, UNSUPPORTED_VERSION
 */
export function extensionOf(info: JsonObject): StateExtension | null {
  const value = info[KEY];
  if (value === undefined) return null;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('is no object', '');
  if (value['version'] !== 1) throw stateError('UNSUPPORTED_VERSION', 'What is beside the tree is newer', 16, KEY);
  return {
    microtickMs: finite(value, 'microtickMs'),
    wallClockMs: finite(value, 'wallClockMs'),
    lastResult: integer(value, 'lastResult', -0x8000_0000, 0x7fff_ffff),
    fpuStatusWord: integer(value, 'fpuStatusWord', 0, 0xffff),
    mxcsr: integer(value, 'mxcsr', 0, 0xffff),
    serialInput: serialInput(value['serialInput']),
  };
}

function wrong(what: string, field: string): Error {
  return stateError(
    'FIELD_VALUE',
    `What transmigrate put beside the tree ${what}`,
    16,
    field === '' ? KEY : `${KEY}/${field}`,
  );
}

function finite(object: JsonObject, field: string): number {
  const value = object[field];
  if (typeof value !== 'number' || !Number.isFinite(value) || Math.abs(value) > 8.64e15)
    throw wrong('has no time', field);
  return value;
}

function integer(object: JsonObject, field: string, least: number, most: number): number {
  const value = object[field];
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    throw wrong('has no such number', field);
  }
  return value;
}

function serialInput(value: Json | undefined): Uint8Array[] {
  if (!Array.isArray(value) || value.length > SERIAL_PORTS) throw wrong('has no serial ports', 'serialInput');
  return value.map((text) => {
    if (typeof text !== 'string' || !/^([0-9a-f]{2})*$/.test(text)) throw wrong('has no hexadecimal', 'serialInput');
    if (text.length > 2 * SERIAL_INPUT_MOST) {
      throw stateError('LIMIT_EXCEEDED', `More than ${SERIAL_INPUT_MOST} bytes wait in a serial port`, 16, KEY);
    }
    return fromHex(text);
  });
}
