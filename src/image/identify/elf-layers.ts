import { ELF, parseElfHeader, parseSections, SECTION_TYPE, type ElfHeader } from '../../foreign/elf/elf-file.ts';
import { FieldReader } from '../../foreign/elf/fields.ts';
import { XEN_NOTE_NAME } from '../../foreign/elf/xen-notes.ts';
import { viewAt, type Peek } from './peek.ts';

/** A core with program headers, or one of Xen's shape: empty for programs and libraries. */
export async function elfLayers(peek: Peek): Promise<string[]> {
  const header = parseElfHeader(await peek.head(64));
  if (header.type !== ELF.core) return [];
  if (header.segmentCount > 0) return ['elf-core'];
  return (await hasXenNote(peek, header)) ? ['xen-core'] : [];
}

async function hasXenNote(peek: Peek, header: ElfHeader): Promise<boolean> {
  const { sectionsAt, sectionBytes, sectionCount } = header;
  const table = await viewAt(peek, sectionsAt, sectionBytes * sectionCount);
  if (table === undefined || sectionCount === 0) return false;
  const bytes = new Uint8Array(table.buffer, table.byteOffset, table.byteLength);
  const note = parseSections(header, bytes.slice()).find(({ type }) => type === SECTION_TYPE.note);
  const view = note === undefined ? undefined : await viewAt(peek, note.offset, 16);
  if (note === undefined || view === undefined) return false;
  const start = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const nameBytes = new FieldReader(start, header, note.offset, 'notes', '3').u32();
  return nameBytes === 4 && String.fromCharCode(...start.subarray(12, 15)) === XEN_NOTE_NAME;
}
