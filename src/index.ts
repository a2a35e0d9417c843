/**
 * The public API of Transmigrate. Everything exported here is documented where it is defined, and stays; everything
 * else may change.
 */
export {
  ERRORS,
  EXIT,
  TransmigrateError,
  type ErrorClass,
  type ErrorCode,
  type ErrorDetails,
  type ErrorJson,
  type GuestAt,
} from './errors.ts';

export type { Json, JsonObject } from './bytes/bounded-json.ts';
export type { ByteSink, RandomAccess } from './bytes/endpoints.ts';

export { CODEC, codecName, type CodecId, type CodecName } from './codec/codec.ts';

export { StreamWriter, type WriterOptions } from './stream/writer.ts';
export { StreamDecoder, type DecodedRecord, type DecoderOptions } from './stream/decoder.ts';
export { IndexedImage, type PageState } from './stream/indexed-image.ts';
export { checkChannels, checkMeeting, isMeeting, meet } from './stream/channels.ts';
export { LIMITS } from './stream/limits.ts';
export {
  isIndexed,
  type ByteOrderName,
  type DirectionName,
  type DomainName,
  type KindName,
  type Preamble,
  type PreambleChoice,
} from './stream/preamble.ts';
export type { RecordHeader } from './stream/record-header.ts';
export type { LocalRecord, StreamRecord, UnknownRecord } from './stream/records/record.ts';
export type { About, Ack, Barrier, Checkpoint, Counts, End, Round, Seal } from './stream/records/control.ts';
export type { Dictionary } from './stream/records/dictionary.ts';
export type { FieldType, Schema, SchemaField } from './stream/records/schema.ts';
export { PAGE_CLASS, type PageRuns, type RamBatch } from './stream/records/ram.ts';
export type {
  Cpuid,
  CpuidLeaf,
  GroupName,
  Msr,
  MsrPolicy,
  RegisterName,
  Segment,
  SegmentName,
  TableRegister,
  VcpuState,
  VcpuX86,
} from './stream/records/vcpu.ts';
export type { Device, DeviceData, Disk, DiskPolicy } from './stream/records/device.ts';
export type { ScopeName, TmemClient, TmemHandle, TmemInvalidate, TmemPages, TmemPool } from './stream/records/tmem.ts';
export type { Index, IndexEntry, IndexRoot } from './stream/records/index-records.ts';
export type { Origin } from './stream/records/origin.ts';

export { POOL_FLAG, RESULT, TMEM_LIMITS } from './tmem/constants.ts';
export { TmemEngine, type ClientSettings, type TmemOptions } from './tmem/engine.ts';
export { DESCRIPTOR_BYTES, OPERATION } from './tmem/descriptor.ts';
export { TmemHypercall } from './tmem/hypercall.ts';
export { IncomingTmem, type IncomingPool } from './tmem/incoming.ts';
export {
  checkTmemPolicy,
  decideTmem,
  type NumberRule,
  type TmemDecision,
  type TmemGrant,
  type TmemPolicy,
} from './tmem/policy.ts';
export { TmemSnapshot, type ClientImage, type PagesStep, type PoolImage, type ReadOptions } from './tmem/snapshot.ts';
export { TmemLog, type LogBatch, type LogOptions, type LogStep } from './tmem/log-reader.ts';
export { replayTmem, TmemReplay, type ReplayDifference, type ReplayReport } from './tmem/replay.ts';
export { tmemStatistics, type ClientStatistics, type PoolStatistics, type TmemStatistics } from './tmem/statistics.ts';
export type { PoolCounts } from './tmem/clients.ts';

export type { ByteSource } from './io/source.ts';
export { openFileSource } from './io/file.ts';
export { openPipeSource } from './io/pipe.ts';
export { FileSink } from './io/file-sink.ts';
export { MemorySink, memorySource } from './io/memory.ts';

export {
  restore,
  save,
  type EmulatorOptions,
  type RestoredEmulator,
  type SavedEmulator,
  type SaveOptions,
} from './migrate/runner/in-process.ts';

export { inspectImage, type InspectOptions } from './image/inspect.ts';
export type { Inspection, MemorySummary, PoolSummary } from './image/summary.ts';
export { verifyImage, type Finding, type Verdict, type Verification, type VerifyOptions } from './image/verify.ts';
export type { StreamCounts } from './image/counts.ts';
export type { MemoryDigest, TmemDigest } from './image/content-digest.ts';
export type { PreambleJson, RecordJson } from './image/record-json.ts';
export { imageToV86State } from './image/image-to-v86.ts';
export { v86StateToImage, type V86ToImageOptions } from './image/v86-to-image.ts';
export type { Work } from './io/work.ts';
