/** Notes of ELF files (spec/foreign/elf.md, section 3). */
import { elfError } from './elf-error.ts';
import { FieldReader, FieldWriter, type ElfShape } from './fields.ts';

/** Three words before each note; name and content are padded to four. */
const NOTE_HEADER_BYTES = 12;
const NOTE_ALIGN = 4;
/** A note's name that is longer is none: the longest known has 11 bytes. */
const NAME_LIMIT = 256;

export interface ElfNote {
  readonly name: string;
  readonly type: number;
  /** Of its header in the file. */
  readonly offset: number;
  /** A view into what was parsed. */
  readonly content: Uint8Array;
}

/**
 * Reads a row of notes.
 * @param base where they stand in the file.
 * @throws LENGTH_MISMATCH for a note that does not fit.
 */
export function parseNotes(bytes: Uint8Array, shape: ElfShape, base: number): ElfNote[] {
  const notes: ElfNote[] = [];
  let at = 0;
  while (bytes.byteLength - at >= NOTE_HEADER_BYTES) {
    const path = `notes[${notes.length}]`;
    const read = new FieldReader(bytes.subarray(at, at + NOTE_HEADER_BYTES), shape, base + at, path, '3');
    const [nameBytes, contentBytes, type] = [read.u32(), read.u32(), read.u32()];
    const contentAt = at + NOTE_HEADER_BYTES + padded(nameBytes);
    const end = contentAt + contentBytes;
    if (nameBytes > NAME_LIMIT || end > bytes.byteLength) {
      const left = bytes.byteLength - at;
      const what = `A note with a name of ${nameBytes} and ${contentBytes} bytes, and ${left} are left`;
      throw elfError('LENGTH_MISMATCH', what, base + at, path, '3');
    }
    const name = bytes.subarray(at + NOTE_HEADER_BYTES, at + NOTE_HEADER_BYTES + nameBytes);
    notes.push({
      name: String.fromCharCode(...name).replace(/\0[^]*$/, ''),
      type,
      offset: base + at,
      content: bytes.subarray(contentAt, end),
    });
    at = contentAt + padded(contentBytes);
  }
  return notes;
}

/** Writes a row of notes. */
export function encodeNotes(notes: readonly Omit<ElfNote, 'offset'>[], shape: ElfShape): Uint8Array {
  const length = notes.reduce((sum, note) => sum + noteBytes(note), 0);
  const write = new FieldWriter(length, shape);
  let at = 0;
  for (const note of notes) {
    const name = new TextEncoder().encode(`${note.name}\0`);
    write.seek(at).u32(name.byteLength).u32(note.content.byteLength).u32(note.type).raw(name);
    write.seek(at + NOTE_HEADER_BYTES + padded(name.byteLength)).raw(note.content);
    at += noteBytes(note);
  }
  return write.bytes;
}

function noteBytes({ name, content }: Omit<ElfNote, 'offset'>): number {
  return NOTE_HEADER_BYTES + padded(name.length + 1) + padded(content.byteLength);
}

function padded(length: number): number {
  return Math.ceil(length / NOTE_ALIGN) * NOTE_ALIGN;
}
