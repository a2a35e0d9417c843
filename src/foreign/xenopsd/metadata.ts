/** The metadata of a suspend image: an S-expression as OCaml's sexplib writes it (foreign/xenopsd 3). */
import { decodeText } from '../../bytes/text.ts';
import { TransmigrateError, type ErrorCode } from '../../errors.ts';
import { XENOPSD_LIMITS } from './sections.ts';

/** An atom or a list. */
export type Sexp = string | readonly Sexp[];

export interface XenopsdMetadata {
  /** When the image was made, as xenopsd wrote it. */
  readonly time: string;
  /** Bits of a word of the toolstack. */
  readonly wordSize: number;
  /** The machine as xenopsd knows it, its own text; null where there is none. */
  readonly vm: string | null;
  /** All fields, these too. */
  readonly fields: ReadonlyMap<string, Sexp>;
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', b: '\b', r: '\r' };

/**
 * @param content the section XENOPS. @param offset of it in the stream.
 * @throws STRING_INVALID, FIELD_VALUE, LIMIT_EXCEEDED
 */
export function parseXenopsdMetadata(content: Uint8Array, offset: number): XenopsdMetadata {
  const path = 'xenopsd section XENOPS';
  const section = 'foreign/xenopsd 3';
  const error = (code: ErrorCode, what: string, at = 0): TransmigrateError =>
    new TransmigrateError(code, what, { offset: offset + at, path, section });
  const expression = parseSexp(decodeText(content, offset, path, section), error);
  if (typeof expression === 'string') throw error('FIELD_VALUE', 'The metadata are no list');
  const fields = new Map<string, Sexp>();
  for (const field of expression) {
    const [name, value] = typeof field === 'string' ? [] : field;
    if (typeof name !== 'string' || value === undefined || field.length !== 2) {
      throw error('FIELD_VALUE', 'A field of the metadata is no pair');
    }
    fields.set(name, value);
  }
  const time = fields.get('time');
  const word = fields.get('word_size');
  const vm = fields.get('vm_str') ?? null;
  if (typeof time !== 'string' || typeof word !== 'string' || !/^\d{1,4}$/.test(word) || Array.isArray(vm)) {
    throw error('FIELD_VALUE', 'The metadata have no time or word size');
  }
  return { time, wordSize: Number(word), vm: vm as string | null, fields };
}

/** Reads one S-expression that fills the text. */
function parseSexp(text: string, error: (code: ErrorCode, what: string, at?: number) => TransmigrateError): Sexp {
  const open: Sexp[][] = [];
  let result: Sexp | undefined;
  let nodes = 0;
  const add = (node: Sexp, at: number): void => {
    if (++nodes > XENOPSD_LIMITS.metadataNodes) throw error('LIMIT_EXCEEDED', 'The metadata have too many atoms', at);
    const list = open.at(-1);
    if (list !== undefined) list.push(node);
    else if (result === undefined) result = node;
    else throw error('FIELD_VALUE', 'Something stands after the metadata', at);
  };
  for (let at = 0; at < text.length;) {
    const c = text[at];
    if (/\s/.test(c)) {
      at++;
    } else if (c === '(') {
      if (open.length === XENOPSD_LIMITS.metadataDepth) throw error('LIMIT_EXCEEDED', 'The metadata are too deep', at);
      open.push([]);
      at++;
    } else if (c === ')') {
      const list = open.pop();
      if (list === undefined) throw error('FIELD_VALUE', 'A bracket closes nothing', at);
      add(list, at++);
    } else if (c === '"') {
      const [value, end] = quoted(text, at + 1);
      if (end < 0) throw error('FIELD_VALUE', 'A text does not end', at);
      add(value, at);
      at = end;
    } else {
      const end = text.slice(at).search(/[\s()"]/);
      const atom = end < 0 ? text.slice(at) : text.slice(at, at + end);
      add(atom, at);
      at += atom.length;
    }
  }
  if (open.length > 0 || result === undefined) throw error('FIELD_VALUE', 'The metadata end too early', text.length);
  return result;
}

/** A text from after its quote, and where it ends; -1 where it does not. */
function quoted(text: string, start: number): [value: string, end: number] {
  const parts: string[] = [];
  for (let at = start; at < text.length;) {
    const c = text[at];
    if (c === '"') return [parts.join(''), at + 1];
    if (c !== '\\') {
      let end = at;
      while (end < text.length && text[end] !== '"' && text[end] !== '\\') end++;
      parts.push(text.slice(at, end));
      at = end;
      continue;
    }
    const number = /^(?:\d{3}|x[\da-fA-F]{2})/.exec(text.slice(at + 1, at + 4))?.[0];
    if (number !== undefined) {
      parts.push(String.fromCodePoint(number.startsWith('x') ? Number(`0${number}`) : Number(number)));
      at += 1 + number.length;
    } else if (text[at + 1] === '\n') {
      // A line that goes on: its indentation is not part of the text.
      at += 2;
      while (text[at] === ' ' || text[at] === '\t') at++;
    } else {
      const next = text[at + 1] ?? '';
      parts.push(ESCAPES[next] ?? next);
      at += 2;
    }
  }
  return ['', -1];
}
