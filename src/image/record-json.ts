/** What a record, and a preamble, look like as JSON: spec/cli-json.md, sections 2 and 3. */
import { TransmigrateError } from '../errors.ts';
import type { Json, JsonObject } from '../bytes/bounded-json.ts';
import { hexNumber, toHex } from '../bytes/hex.ts';
import { codecName } from '../codec/codec.ts';
import { Sha256 } from '../codec/platform.ts';
import type { DecodedRecord } from '../stream/decoder.ts';
import { featureNames, MAY_IGNORE, MUST_KNOW, type Preamble } from '../stream/preamble.ts';
import { isLocal, isOptional, RECORDS } from '../stream/record-types.ts';
import type { Dictionary } from '../stream/records/dictionary.ts';
import type { RamBatch } from '../stream/records/ram.ts';
import type { StreamRecord } from '../stream/records/record.ts';
import { printBySchema } from '../stream/records/schema.ts';
import { poolFlags, type TmemInvalidate, type TmemPages } from '../stream/records/tmem.ts';
import { knownGroups, type VcpuX86 } from '../stream/records/vcpu.ts';

/** A record as JSON (cli-json 3). */
export interface RecordJson {
  sequence: number;
  offset: number;
  /** 8 hex digits. */
  type: string;
  name: string;
  section: string;
  optional: boolean;
  length: number;
  fields: JsonObject;
}

/** A preamble as JSON (cli-json 2). */
export interface PreambleJson extends Omit<Preamble, 'mustKnow' | 'mayIgnore' | 'checksum'> {
  mustKnow: string[];
  mayIgnore: string[];
  /** 8 hex digits. */
  checksum: string;
}

export function preambleJson(preamble: Preamble): PreambleJson {
  const { mustKnow, mayIgnore, checksum, ...plain } = preamble;
  return {
    ...plain,
    mustKnow: featureNames(mustKnow, MUST_KNOW),
    mayIgnore: featureNames(mayIgnore, MAY_IGNORE),
    checksum: hexNumber(checksum, 8),
  };
}

/** Name of a record for people: of the table, of its DICTIONARY, or `unknown`. */
export function recordName(type: number, record: StreamRecord): string {
  const known = RECORDS.get(type);
  if (known !== undefined) return known.name;
  return record.kind === 'LOCAL' || record.kind === 'UNKNOWN' ? (record.dictionary?.name ?? 'unknown') : 'unknown';
}

/** Section of stream.md that describes a type. */
export function sectionOf(type: number): string {
  return RECORDS.get(type)?.section ?? (isLocal(type) ? '12' : '3.4');
}

/** A record with everything in it. @param scratch room for one unit. @throws CODEC_DATA */
export function recordJson(decoded: DecodedRecord, scratch: Uint8Array): RecordJson {
  const { header, record } = decoded;
  try {
    return {
      sequence: header.sequence,
      offset: header.offset,
      type: hexNumber(header.type, 8),
      name: recordName(header.type, record),
      section: sectionOf(header.type),
      optional: isOptional(header.type),
      length: header.length,
      fields: fieldsOf(record, scratch),
    };
  } catch (error) {
    throw inRecord(error, decoded);
  }
}

/** An error that came up while a record's content was looked at, with the record it is about. */
export function inRecord(error: unknown, { header, record }: DecodedRecord): unknown {
  if (error instanceof TransmigrateError) {
    error.record ??= { sequence: header.sequence, name: recordName(header.type, record) };
  }
  return error;
}

/** The fields of a record (cli-json 3). */
export function fieldsOf(record: StreamRecord, scratch: Uint8Array): JsonObject {
  switch (record.kind) {
    case 'ABOUT':
      return { about: record.about };
    case 'DICTIONARY':
      return dictionaryJson(record);
    case 'SEAL':
      return { number: record.number, offset: record.offset, chain: toHex(record.chain) };
    case 'BARRIER':
      return { number: record.number, chains: record.chains.map(toHex) };
    case 'ROUND':
      return { round: record.round };
    case 'CHECKPOINT':
      return { number: record.number, guestTimeNs: String(record.guestTimeNs) };
    case 'END':
      return { ...record.counts, chains: record.chains.map(toHex) };
    case 'INDEX':
      return { entries: record.entries.length };
    case 'INDEX_ROOT':
      return { segments: record.segments.length };
    case 'ACK':
      return { channel: record.channel, seal: record.seal, chain: toHex(record.chain) };
    case 'RAM':
      return ramJson(record, scratch);
    case 'VCPU_X86':
      return vcpuJson(record);
    case 'VCPU_STATE':
      return { vcpu: record.vcpu, kind: record.state, bytes: record.bytes.byteLength, sha256: digest(record.bytes) };
    case 'X86_CPUID':
      return {
        leaves: record.leaves.map((leaf) =>
          Object.fromEntries(Object.entries(leaf).map(([name, value]) => [name, hexNumber(value as number, 8)])),
        ),
      };
    case 'X86_MSR':
      return {
        msrs: record.msrs.map(({ index, flags, value }) => ({
          index: hexNumber(index, 8),
          flags: hexNumber(flags, 8),
          value: hexNumber(value, 16),
        })),
      };
    case 'DEVICE': {
      const { device, name, format, version, bytes, fingerprint, sha256 } = record;
      return { device, name, format, version, bytes, fingerprint: toHex(fingerprint), sha256: toHex(sha256) };
    }
    case 'DEVICE_DATA': {
      const { device, codec, offset, bytes, stored } = record;
      return { device, codec: codecName(codec), offset, bytes, stored: stored.byteLength };
    }
    case 'DISK': {
      const { disk, name, policy, readOnly, bytes, sha256, format, locator } = record;
      const digestHex = sha256 === null ? null : toHex(sha256);
      return { disk, name, policy, readOnly, bytes: String(bytes), sha256: digestHex, format, locator };
    }
    case 'TMEM_CLIENT': {
      const { compress, frozen, weight, cap, allowancePages, authorised } = record;
      return { compress, frozen, weight, cap, allowancePages: String(allowancePages), authorised: [...authorised] };
    }
    case 'TMEM_POOL':
      return {
        incarnation: String(record.incarnation),
        pool: record.pool,
        flags: hexNumber(poolFlags(record), 8),
        kind: record.ephemeral ? 'ephemeral' : 'persistent',
        shared: record.shared,
        precompressed: record.precompressed,
        pageSize: record.pageSize,
        objectIdBits: record.objectIdBits,
        uuid: record.uuid,
        pages: String(record.pages),
      };
    case 'TMEM_PAGES':
      return tmemPagesJson(record, scratch);
    case 'TMEM_INVALIDATE':
      return {
        incarnation: String(record.pool.incarnation),
        scope: record.scope,
        handles: list(record.count, (entry) => handleJson(record, entry)),
      };
    case 'ORIGIN': {
      const { part, codec, bytes, stored, format } = record;
      return { part, codec: codecName(codec), bytes, stored: stored.byteLength, format };
    }
    case 'LOCAL':
    case 'UNKNOWN': {
      const schema = record.dictionary?.schema ?? null;
      return schema === null ? { bytes: toHex(record.body.subarray(0, 64)) } : printBySchema(schema, record.body);
    }
  }
}

export function dictionaryJson(record: Dictionary): JsonObject {
  const { record: number, name, version, text, schema } = record;
  return { record: number, name, version, text, schema: schema as Json };
}

function ramJson(batch: RamBatch, scratch: Uint8Array): JsonObject {
  const hash = new Sha256();
  batch.visit(
    {
      data: (_first, pages, _class, source, at) => hash.update(source.subarray(at, at + pages * batch.pageSize)),
      zero: () => undefined,
      absent: () => undefined,
    },
    scratch,
  );
  return {
    pages: batch.pages,
    extents: list(batch.extents, (extent) => ({
      first: batch.extentFirst(extent),
      pages: batch.extentPages(extent),
      class: batch.extentClass(extent),
    })),
    zeroPages: batch.zeroPages,
    units: list(batch.units, (unit) => ({
      codec: codecName(batch.unitCodec(unit)),
      pages: batch.unitPages(unit),
      stored: batch.unitStored(unit),
      checksum: hexNumber(batch.unitChecksum(unit), 8),
    })),
    content: toHex(hash.digest()),
  };
}

/** A vCPU's fields (cli-json 3). */
export function vcpuJson(record: VcpuX86): JsonObject {
  const table = (register: VcpuX86['gdtr']): JsonObject | null =>
    register === null ? null : { base: hexNumber(register.base, 16), limit: hexNumber(register.limit, 8) };
  const segments =
    record.segments === null
      ? null
      : Object.fromEntries(
          Object.entries(record.segments).map(([name, { selector, attributes, limit, base }]) => [
            name,
            {
              selector: hexNumber(selector, 4),
              attributes: hexNumber(attributes, 4),
              limit: hexNumber(limit, 8),
              base: hexNumber(base, 16),
            },
          ]),
        );
  return {
    vcpu: record.vcpu,
    online: record.online,
    halted: record.halted,
    known: knownGroups(record),
    registers: Object.fromEntries(
      Object.entries(record.registers).map(([name, value]) => [name, hexNumber(value, 16)]),
    ),
    segments,
    gdtr: table(record.gdtr),
    idtr: table(record.idtr),
  };
}

function tmemPagesJson(record: TmemPages, scratch: Uint8Array): JsonObject {
  return {
    incarnation: String(record.pool.incarnation),
    pages: list(record.count, (page) => ({
      ...handleJson(record, page),
      codec: codecName(record.codec(page)),
      bytes: record.originalLength(page),
      stored: record.storedLength(page),
      content: digest(scratch.subarray(0, record.contentInto(page, scratch))),
    })),
  };
}

function handleJson(record: TmemPages | TmemInvalidate, entry: number): JsonObject {
  return {
    object: [0, 1, 2].map((word) => String(record.objectWord(entry, word))),
    index: record.index(entry),
  };
}

function list(count: number, make: (position: number) => JsonObject): JsonObject[] {
  return Array.from({ length: count }, (_, position) => make(position));
}

function digest(bytes: Uint8Array): string {
  const hash = new Sha256();
  hash.update(bytes);
  return toHex(hash.digest());
}
