import type { JsonObject } from '../bytes/bounded-json.ts';
import type { ByteSink, RandomAccess } from '../bytes/endpoints.ts';
import { CODEC, type CodecId } from '../codec/codec.ts';
import { configurationOfState } from '../foreign/v86/configuration.ts';
import { memoryBuffersOf, memoryOfState, V86_PAGE_BYTES, type StateMemory } from '../foreign/v86/memory.ts';
import { registersOf } from '../foreign/v86/registers.ts';
import { releaseOfState } from '../foreign/v86/release.ts';
import {
  parseSaveState,
  parseStateHead,
  STATE_HEADER,
  stateError,
  stateHeadBytes,
  writeSaveState,
} from '../foreign/v86/save-state.ts';
import { StreamWriter } from '../stream/writer.ts';

export interface V86ToImageOptions {
  /** The exact version of v86 that wrote the state; when absent it is told by the state (foreign/v86 2). */
  readonly version?: string | undefined;
  /** 16 random bytes that name the stream. */
  readonly streamId: Uint8Array;
  /** How memory and devices are stored; raw when absent. */
  readonly codec?: CodecId | undefined;
  /** What else ABOUT shall say: name, uuid, tool; its `configuration` goes beside what the state shows. */
  readonly about?: JsonObject | undefined;
}

/** The name of the blob's format in the record DEVICE (stream 9.1), and the kind of VCPU_STATE for FXSAVE (8.2). */
const FORMAT = 'v86-state';
const FXSAVE = 1;
const EM_386 = 3;
/** Pages that are read at once: 1 MiB. */
const STEP_PAGES = 256;

/**
 * Converts a state that v86 saved alone into an image: memory as pages, the processor as a record, the rest as the
 * device blob. Memory is read a megabyte at a time. {@link imageToV86State} gives the state back, byte for byte.
 *
 * @throws the errors of the state's reader, DRIVER_VERSION, what reading and the sink throw. The sink is not ended.
 */
export async function v86StateToImage(
  state: RandomAccess,
  sink: ByteSink,
  { version, streamId, codec = CODEC.raw, about = {} }: V86ToImageOptions,
): Promise<{ readonly version: string; readonly pages: number }> {
  const { memory, devices } = await readState(state);
  const parsed = parseSaveState(devices);
  const release = version ?? releaseOfState(parsed.tree.length);
  const pages = memory.memoryBytes / V86_PAGE_BYTES;
  const { configuration, ...rest } = about;
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 32,
      domainType: 'emulated',
      machine: EM_386,
      pageSize: V86_PAGE_BYTES,
      streamId,
      indexed: true,
    },
    {
      ...rest,
      source: { hypervisor: 'v86', versions: { v86: release } },
      configuration: { ...configurationOfState(parsed), ...(configuration as JsonObject | undefined) },
      driver: { name: 'v86', version: release },
      memory: { bytes: memory.memoryBytes, pages },
      vcpus: 1,
    },
    { codec },
  );
  const { halted, registers, segments, gdtr, idtr, fxsave } = registersOf(parsed);
  await writer.vcpu({ vcpu: 0, online: true, halted, registers: { ...registers }, segments, gdtr, idtr });
  await writer.vcpuState(0, FXSAVE, fxsave);
  // What the configuration was can't be told by the state: no fingerprint.
  const fingerprint = new Uint8Array(32);
  await writer.device({ device: 0, name: 'machine', format: FORMAT, version: release, fingerprint }, devices);
  await writeMemory(writer, state, memory);
  await writer.checkpoint();
  await writer.end();
  return { version: release, pages };
}

/** Everything but the pages. */
async function readState(state: RandomAccess): Promise<{ memory: StateMemory; devices: Uint8Array }> {
  const header = await exactly(state, 0, STATE_HEADER.bytes);
  const head = parseStateHead(await exactly(state, 0, stateHeadBytes(header)));
  if (head.totalBytes !== state.size) {
    const code = head.totalBytes > state.size ? 'TRUNCATED' : 'TRAILING_DATA';
    throw stateError(code, `The header says ${head.totalBytes} bytes, and ${state.size} are there`, 8);
  }
  const { packed, bitmap } = memoryBuffersOf(head.tree);
  const contents: Uint8Array[] = [];
  for (const [id, { offset, length }] of head.buffers.entries()) {
    contents.push(id === packed ? new Uint8Array(0) : await exactly(state, offset, length));
  }
  const memory = memoryOfState(head, () => contents[bitmap]);
  contents[bitmap] = new Uint8Array(0);
  return { memory, devices: writeSaveState(head.info, contents) };
}

async function writeMemory(writer: StreamWriter, state: RandomAccess, memory: StateMemory): Promise<void> {
  const pages = memory.memoryBytes / V86_PAGE_BYTES;
  let at = memory.packedOffset;
  for (let first = 0; first < pages;) {
    const present = has(memory.bitmap, first);
    let length = 1;
    while (first + length < pages && has(memory.bitmap, first + length) === present) length++;
    if (present) {
      length = Math.min(length, STEP_PAGES);
      await writer.ram(first, length, await exactly(state, at, length * V86_PAGE_BYTES));
      at += length * V86_PAGE_BYTES;
    } else {
      await writer.zero(first, length);
    }
    first += length;
  }
}

async function exactly(state: RandomAccess, position: number, length: number): Promise<Uint8Array> {
  // What the head says was not compared with the size before the first reads.
  const bytes = new Uint8Array(Math.max(0, Math.min(length, state.size - position)));
  const found = await state.readAt(position, bytes);
  if (found === length) return bytes;
  throw stateError('TRUNCATED', `The v86 state ends at ${state.size}`, position + found);
}

function has(bits: Uint8Array, page: number): boolean {
  return (bits[page >> 3] & (1 << (page & 7))) !== 0;
}
