/**
 * The part of the public API that also runs in a browser: everything but files, pipes and running machines. A bundler
 * that follows the conditions of package.json takes it in place of index.ts.
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
export { StreamWriter } from './stream/writer.ts';
export type { WriterOptions } from './stream/writer-options.ts';
export { StreamDecoder, type DecodedRecord, type DecoderOptions } from './stream/decoder.ts';
export { IndexedImage } from './stream/indexed-image.ts';
export type { PageState } from './stream/ram-pages.ts';
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
export { MemorySink, memorySource } from './io/memory.ts';
export { openImage, type OpenOptions } from './image/open/open-image.ts';
export type {
  AbsentRun,
  ImageMemory,
  MemoryBatch,
  OpenedDevice,
  OpenedImage,
  OpenedVcpuState,
  PageContent,
} from './image/open/opened-image.ts';
export type { ImageEvent, ImageHead } from './image/model/event.ts';
export type { FormatName } from './image/identify/layers.ts';
export type { OpenedTmem, OpenedTmemPage } from './image/open/opened-tmem.ts';
export {
  checkImage,
  REFUSALS,
  type CheckOptions,
  type ImageCheck,
  type Refusal,
  type RefusalReason,
} from './image/check/check-image.ts';
export {
  parseHostDescription,
  readHostDescription,
  type DriverDescription,
  type HostDescription,
  type HostTmemDescription,
} from './image/check/host-description.ts';
export type { ImageNeeds } from './image/check/needs.ts';
export { diffImages, type DiffOptions } from './image/diff/diff-images.ts';
export type { Part } from './image/diff/parts.ts';
export type {
  BlobDiff,
  ClassRange,
  CpuidDiff,
  CpuidPolicyDiff,
  DeviceDiff,
  DevicesDiff,
  DiffSide,
  DisksDiff,
  ImageDiff,
  KeyDiff,
  KeyList,
  MemoryDiff,
  MsrPolicyDiff,
  OnlyPages,
  PageBytes,
  PageRange,
  RangeList,
  RegisterDiff,
  Side,
  TmemDiff,
  TmemHandleJson,
  TmemPagesList,
  VcpuDiff,
  VcpusDiff,
  VcpuStateDiff,
  VcpuStatesDiff,
} from './image/diff/result.ts';
export { repairImage, type RepairMode, type RepairOptions, type RepairReport } from './image/repair/repair-image.ts';
export type { PageFate } from './image/repair/page-account.ts';
export type { SalvageMap, Skipped } from './image/repair/salvage-map.ts';
export type { SalvageOptions } from './image/repair/salvage-tmig.ts';
export type { LostDevice } from './image/repair/state-salvage.ts';
export type { TmemFate } from './image/repair/tmem-salvage.ts';
export { convertImage, type Conversion, type ConvertOptions } from './image/convert/convert.ts';
export type { ConversionLoss, LossKind } from './image/convert/losses.ts';
export type { ImageFinding } from './image/model/reader.ts';
export type { Work } from './io/work.ts';
export { inspectImage } from './image/inspect.ts';
export type {
  InspectOptions,
  Inspection,
  LayerJson,
  MemorySummary,
  NativeRecordJson,
  PoolSummary,
} from './image/inspection.ts';
export type { HeadJson } from './image/head-json.ts';
export type { PoliciesJson } from './image/policies.ts';
export type { FindingLevel } from './image/model/reader.ts';
export { verifyImage, type Finding, type Verdict, type Verification, type VerifyOptions } from './image/verify.ts';
export type { StreamCounts } from './image/counts.ts';
export type { MemoryDigest, TmemDigest } from './image/content-digest.ts';
export type { PreambleJson, RecordJson } from './image/record-json.ts';
export { imageToV86State } from './image/image-to-v86.ts';
export { v86StateToImage, type V86ToImageOptions } from './image/v86-to-image.ts';
export { blobSource, type BlobLike } from './io/blob.ts';
