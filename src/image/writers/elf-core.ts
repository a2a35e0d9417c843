import type { ByteSink } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { CPU_NOTE } from '../../foreign/elf/cpu-notes.ts';
import { ELF_LIMITS, ELF_MACHINE } from '../../foreign/elf/elf-file.ts';
import { parseNotes, type ElfNote } from '../../foreign/elf/note.ts';
import { layoutProgramCore } from '../../foreign/elf/program-core.ts';
import { ElfWriter } from '../../foreign/elf/writer.ts';
import type { Work } from '../../io/work.ts';
import { DEVICE_FORMAT } from '../model/event.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { cpuNotes } from './cpu-notes.ts';
import { PageRanges } from './elf-ranges.ts';
import { checkCancelled, contentOfDevice, findDevice } from './work.ts';

const FOUR_GIB = 2 ** 32;

/**
 * Writes a core with program headers, for gdb and all that reads what QEMU dumps (foreign/elf 5.1.2). Memory is read
 * twice: what is zero must be known before the first page. The sink is not ended.
 * @throws IMAGE_UNFIT for memory in more pieces than a core can have; CANCELLED; the image's errors, and what the sink
 * throws
 */
export async function writeElfCore(image: OpenedImage, sink: ByteSink, work: Work): Promise<void> {
  const { memory, head, vcpus } = image;
  const { pageSize, pfnEnd } = memory;
  const found = new PageRanges(pageSize);
  for await (const batch of memory.batches()) {
    checkCancelled(work);
    found.add(batch);
    work.onProgress?.(batch.firstPfn * pageSize, null);
  }
  const is32 = head.machine === ELF_MACHINE.i386;
  const { ranges } = found;
  const layout = layoutProgramCore({
    wordBytes: is32 && pfnEnd * pageSize <= FOUR_GIB && fits32(ranges, pageSize) ? 4 : 8,
    littleEndian: head.byteOrder === 'little',
    machine: head.machine,
    notes: [...cpuNotes(vcpus, !is32), ...(await otherNotes(image))],
    ranges: ranges.map(({ first, data, zero }) => ({
      physical: first * pageSize,
      virtual: BigInt(first * pageSize),
      fileBytes: data * pageSize,
      memoryBytes: (data + zero) * pageSize,
    })),
    align: pageSize,
  });
  const writer = new ElfWriter(sink, layout.file);
  await writer.put(layout.notes.offset, layout.notes.bytes);
  let next = 0;
  for await (const { firstPfn, pages, bytes } of memory.batches()) {
    checkCancelled(work);
    for (let at = firstPfn; at < firstPfn + pages;) {
      while (ranges[next].first + ranges[next].data + ranges[next].zero <= at) next++;
      const { first, data, zero } = ranges[next];
      const dataEnd = Math.min(firstPfn + pages, first + data);
      if (at < dataEnd) {
        const part = bytes.subarray((at - firstPfn) * pageSize, (dataEnd - firstPfn) * pageSize);
        await writer.put(layout.offsets[next] + (at - first) * pageSize, part);
      }
      at = Math.min(firstPfn + pages, first + data + zero);
    }
    work.onProgress?.(writer.position, layout.bytes);
  }
  await writer.end(layout.bytes);
}

/** Whether all places in the file fit into 32 bits, with room for tables and notes. */
function fits32(ranges: readonly { readonly data: number }[], pageSize: number): boolean {
  const bytes = ranges.reduce((sum, { data }) => sum + data * pageSize, 0);
  return bytes + ELF_LIMITS.headBytes + ELF_LIMITS.noteBytes < FOUR_GIB;
}

/** Notes of a core that the image was made from, but for those of processors. */
async function otherNotes(image: OpenedImage): Promise<ElfNote[]> {
  const device = findDevice(image, 'elf-notes', DEVICE_FORMAT.elfNotes);
  if (device === undefined || device.bytes > ELF_LIMITS.noteBytes || image.head.byteOrder === 'big') return [];
  try {
    const notes = parseNotes(await contentOfDevice(device), { wordBytes: 8, littleEndian: true }, 0);
    return notes.filter(({ name, type }) => {
      const isOfProcessor = [CPU_NOTE.status, CPU_NOTE.qemu].some((own) => own.name === name && own.type === type);
      return !isOfProcessor;
    });
  } catch (error) {
    // What is no row of notes is in no core: it was refused where it was read, or comes from nowhere.
    if (error instanceof TransmigrateError && error.code === 'LENGTH_MISMATCH') return [];
    throw error;
  }
}
