import { ByteReader } from '../../bytes/byte-reader.ts';
import type { Preamble } from '../preamble.ts';
import { recordPath, type RecordHeader } from '../record-header.ts';
import { RECORDS, TYPE } from '../record-types.ts';
import {
  decodeAbout,
  decodeAck,
  decodeBarrier,
  decodeCheckpoint,
  decodeEnd,
  decodeRound,
  decodeSeal,
} from './control.ts';
import type { About, Ack, Barrier, Checkpoint, End, Round, Seal } from './control.ts';
import { decodeDevice, decodeDeviceData, decodeDisk, type Device, type DeviceData, type Disk } from './device.ts';
import { decodeDictionary, type Dictionary } from './dictionary.ts';
import { decodeIndex, decodeIndexRoot, type Index, type IndexRoot } from './index-records.ts';
import { decodeOrigin, type Origin } from './origin.ts';
import { RamBatch } from './ram.ts';
import { decodeTmemClient, decodeTmemPool, TmemInvalidate, TmemPages } from './tmem.ts';
import type { TmemClient, TmemPool } from './tmem.ts';
import { decodeCpuid, decodeMsrs, decodeVcpuState, decodeVcpuX86 } from './vcpu.ts';
import type { Cpuid, MsrPolicy, VcpuState, VcpuX86 } from './vcpu.ts';

/** A record of one's own (stream 12): known by the name that its DICTIONARY gave it. */
export interface LocalRecord {
  readonly kind: 'LOCAL';
  readonly dictionary: Dictionary;
  readonly optional: boolean;
  /** A view into the record: copy it to keep it. */
  readonly body: Uint8Array;
}

/** An optional record that this build does not know, and skips (stream 3.4). */
export interface UnknownRecord {
  readonly kind: 'UNKNOWN';
  /** What a DICTIONARY said of it, if any did. */
  readonly dictionary: Dictionary | null;
  readonly body: Uint8Array;
}

/** Any record, by `kind`. Views in it are valid until the decoder is asked for the next one. */
export type StreamRecord =
  | About
  | Dictionary
  | Seal
  | Barrier
  | Round
  | Checkpoint
  | End
  | Index
  | IndexRoot
  | Ack
  | RamBatch
  | VcpuX86
  | VcpuState
  | Cpuid
  | MsrPolicy
  | Device
  | DeviceData
  | Disk
  | TmemClient
  | TmemPool
  | TmemPages
  | TmemInvalidate
  | Origin
  | LocalRecord
  | UnknownRecord;

/** What the body of a record needs to know of the stream before it. */
export interface BodyContext {
  readonly preamble: Preamble;
  /** The pool that a tmem record speaks of. */
  poolOf(incarnation: bigint, header: RecordHeader): TmemPool;
  /** What a DICTIONARY bound to a number. */
  dictionaryOf(type: number): Dictionary | undefined;
}

/** A reader over a body that places its errors. */
export function bodyReader(header: RecordHeader, body: Uint8Array): ByteReader {
  const section = RECORDS.get(header.type)?.section ?? '12';
  return new ByteReader(body, header.offset, recordPath(header), section);
}

/**
 * Decodes and checks a body whose CRC holds (stream 3.2).
 * @param body without padding; kept by records that are views.
 */
export function decodeBody(header: RecordHeader, body: Uint8Array, context: BodyContext): StreamRecord {
  const reader = bodyReader(header, body);
  const { channels, machine, pageSize } = context.preamble;
  switch (header.type) {
    case TYPE.about:
      return decodeAbout(reader);
    case TYPE.dictionary:
      return decodeDictionary(reader);
    case TYPE.seal:
      return decodeSeal(reader);
    case TYPE.barrier:
      return decodeBarrier(reader, channels);
    case TYPE.round:
      return decodeRound(reader);
    case TYPE.checkpoint:
      return decodeCheckpoint(reader);
    case TYPE.end:
      return decodeEnd(reader, channels);
    case TYPE.index:
      return decodeIndex(reader);
    case TYPE.indexRoot:
      return decodeIndexRoot(reader);
    case TYPE.ack:
      return decodeAck(reader, channels);
    case TYPE.ram: {
      const where = { offset: reader.base, path: reader.path, section: reader.section };
      return new RamBatch(body, body.byteLength, pageSize, where);
    }
    case TYPE.vcpuX86:
      if (machine !== 3 && machine !== 62) {
        throw reader.error('FIELD_VALUE', `A machine of type ${machine} has no x86 registers`, '');
      }
      return decodeVcpuX86(reader);
    case TYPE.vcpuState:
      return decodeVcpuState(reader);
    case TYPE.cpuid:
      return decodeCpuid(reader);
    case TYPE.msr:
      return decodeMsrs(reader);
    case TYPE.device:
      return decodeDevice(reader);
    case TYPE.deviceData:
      return decodeDeviceData(reader);
    case TYPE.disk:
      return decodeDisk(reader);
    case TYPE.tmemClient:
      return decodeTmemClient(reader);
    case TYPE.tmemPool:
    case TYPE.ephemeralPool:
      return decodeTmemPool(reader, header.type);
    case TYPE.tmemPages:
    case TYPE.ephemeralPages:
      return new TmemPages(bodyReader(header, body), context.poolOf(reader.u64('incarnation'), header));
    case TYPE.tmemInvalidate:
    case TYPE.ephemeralInvalidate:
      return new TmemInvalidate(bodyReader(header, body), context.poolOf(reader.u64('incarnation'), header));
    case TYPE.origin:
      return decodeOrigin(reader);
    default:
      return { kind: 'UNKNOWN', dictionary: context.dictionaryOf(header.type) ?? null, body };
  }
}
