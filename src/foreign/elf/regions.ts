/** What of an ELF file stands where, in the order of the file. */
import { ELF_SIZES, SECTION_TYPE, type ElfFile, type ElfTables } from './elf-file.ts';

/** A stretch of the file. `index` is that of the segment or section. */
export interface ElfRegion {
  readonly what: 'header' | 'program headers' | 'section headers' | 'segment' | 'section';
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * All that header and tables name, ordered by place; of two at the same place the longer is first. Regions may
 * overlap: a section may describe bytes that a segment has too.
 */
export function elfRegions({ header, segments, sections }: ElfFile, tables: ElfTables): ElfRegion[] {
  const regions: ElfRegion[] = [
    { what: 'header', index: 0, offset: 0, length: ELF_SIZES[header.wordBytes].header },
    { what: 'program headers', index: 0, offset: tables.segmentsAt, length: tables.segmentBytes },
    { what: 'section headers', index: 0, offset: tables.sectionsAt, length: tables.sectionBytes },
  ];
  for (const [index, { offset, fileBytes }] of segments.entries()) {
    regions.push({ what: 'segment', index, offset, length: fileBytes });
  }
  for (const [index, { type, offset, bytes }] of sections.entries()) {
    if (type === SECTION_TYPE.null || type === SECTION_TYPE.noBits) continue;
    regions.push({ what: 'section', index, offset, length: bytes });
  }
  return regions.filter(({ length }) => length > 0).toSorted((a, b) => a.offset - b.offset || b.length - a.length);
}
