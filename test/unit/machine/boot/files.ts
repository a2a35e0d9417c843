/** Kernels and images for tests, written field by field from their specifications. */

export interface Segment {
  readonly virtual: number;
  readonly physical: number;
  readonly content: Uint8Array;
  readonly memoryBytes?: number;
  readonly type?: number;
}

/** A 32-bit ELF executable for x86. */
export function elfFile(entry: number, segments: readonly Segment[]): Uint8Array {
  const headers = 52 + segments.length * 32;
  const size = segments.reduce((sum, { content }) => sum + content.length, headers);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 3, true);
  view.setUint32(20, 1, true);
  view.setUint32(24, entry, true);
  view.setUint32(28, 52, true);
  view.setUint16(40, 52, true);
  view.setUint16(42, 32, true);
  view.setUint16(44, segments.length, true);
  let at = headers;
  for (const [i, { virtual, physical, content, memoryBytes = content.length, type = 1 }] of segments.entries()) {
    const fields = [type, at, virtual, physical, content.length, memoryBytes, 5, 4096];
    for (const [j, field] of fields.entries()) view.setUint32(52 + i * 32 + j * 4, field, true);
    bytes.set(content, at);
    at += content.length;
  }
  return bytes;
}

export interface BzImageFields {
  readonly protectedMode?: Uint8Array;
  readonly setupSectors?: number;
  readonly protocol?: number;
  readonly loadFlags?: number;
  readonly initrdAddressMax?: number;
  readonly preferredAddress?: number;
  readonly initBytes?: number;
  readonly payload?: Uint8Array;
}

/** A bzImage whose payload stands at the beginning of its protected-mode part. */
export function bzImageFile({
  setupSectors = 3,
  protocol = 0x020f,
  loadFlags = 1,
  initrdAddressMax = 0x7fffffff,
  preferredAddress = 0x400000,
  initBytes = 0x200000,
  payload = Uint8Array.of(0x1f, 0x8b, 8, 0),
  protectedMode = new Uint8Array(5000).fill(0x90),
}: BzImageFields = {}): Uint8Array {
  const setup = ((setupSectors === 0 ? 4 : setupSectors) + 1) * 512;
  const bytes = new Uint8Array(setup + protectedMode.length);
  const view = new DataView(bytes.buffer);
  bytes.set(protectedMode, setup);
  bytes.set(payload, setup);
  view.setUint8(0x1f1, setupSectors);
  view.setUint16(0x1fe, 0xaa55, true);
  // A jump over the header: it ends at 0x202 + 0x6a.
  view.setUint8(0x200, 0xeb);
  view.setUint8(0x201, 0x6a);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, protocol, true);
  view.setUint8(0x211, loadFlags);
  view.setUint32(0x22c, initrdAddressMax, true);
  view.setUint32(0x238, 2047, true);
  view.setUint32(0x24c, payload.length, true);
  view.setUint32(0x258, preferredAddress, true);
  view.setUint32(0x260, initBytes, true);
  return bytes;
}

export interface MultibootFields {
  readonly flags?: number;
  /** Where in the file the header stands. */
  readonly at?: number;
  readonly load?: number;
  readonly loadEnd?: number;
  readonly bssEnd?: number;
  readonly entry?: number;
  readonly byteLength?: number;
}

/** A multiboot image with the address fields, loaded whole from its beginning unless told otherwise. */
export function multibootFile({
  flags = 0x10000,
  at = 0,
  load = 0x100000,
  byteLength = 4096,
  loadEnd = load + byteLength,
  bssEnd = load + byteLength + 0x1000,
  entry = load + at + 32,
}: MultibootFields = {}): Uint8Array {
  const bytes = new Uint8Array(byteLength).fill(0x90);
  const view = new DataView(bytes.buffer);
  const magic = 0x1badb002;
  const fields = [magic, flags, -(magic + flags), load + at, load, loadEnd, bssEnd, entry];
  for (const [i, field] of fields.entries()) view.setUint32(at + i * 4, field, true);
  return bytes;
}
