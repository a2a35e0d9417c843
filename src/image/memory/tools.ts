/** All that looks into the memory of an open image. */
export { exportMapText, exportMemory, wholeRange, type AddressRange, type ExportSink } from './export.ts';
export { findBytes, foundAddress } from './find.ts';
export { Hexdump } from './hexdump.ts';
export { MachineMemory } from './open-memory.ts';
export { readPhysical, readVirtual, type MemoryRead } from './read.ts';
export { stopJson, stopText } from './stop.ts';
