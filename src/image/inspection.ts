/** What `inspect` says, whatever the format: spec/cli-json.md 1. */
import type { JsonObject } from '../bytes/bounded-json.ts';
import type { ErrorJson } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import type { Work } from '../io/work.ts';
import { newCounts, type StreamCounts } from './counts.ts';
import type { HeadJson } from './head-json.ts';
import type { IdentifyOptions } from './identify/identify.ts';
import type { PoliciesJson } from './policies.ts';
import type { PreambleJson, RecordJson } from './record-json.ts';

export interface InspectOptions extends Work, IdentifyOptions {
  /** List every record: then all of the image is read. */
  readonly records?: boolean;
}

/** Guest memory by kind. Pages that come several times count each time, but for distinctPages. */
export interface MemorySummary {
  pageSize: number;
  pages: number;
  /** pfns that are present at the end. */
  distinctPages: number;
  /** Pages with data beyond the first of each pfn. */
  resentPages: number;
  zeroPages: number;
  rawPages: number;
  compressedPages: number;
  absentPages: number;
  storedBytes: number;
  codecs: Record<string, number>;
  /** Pages of each class (stream 7.1), by name. */
  classes: Record<string, number>;
}

/** What a pool holds. */
export interface PoolSummary {
  incarnation: string;
  pool: number;
  flags: string;
  kind: string;
  shared: boolean;
  precompressed: boolean;
  pageSize: number;
  objectIdBits: number;
  uuid: string;
  pages: number;
  /** null when only the index was read. */
  zeroPages: number | null;
  storedBytes: number;
  invalidated: number;
  destroyed: boolean;
}

/** A layer of an image of others: what its header says, and how many records of each kind it has. */
export interface LayerJson {
  layer: string;
  offset: number;
  header: JsonObject;
  records: Record<string, number>;
}

/** A record of a format of others, in its own words (cli-json 3.1). */
export interface NativeRecordJson {
  layer: string;
  name: string;
  offset: number;
  length: number;
  section: string;
  fields: JsonObject;
}

/** What `inspect` says: spec/cli-json.md 1. */
export interface Inspection {
  ok: boolean;
  format: string;
  /** All layers, outermost first; empty where none is known. */
  nesting: string[];
  file: { name: string; bytes: number | null };
  /** Of an image of ours. */
  preamble: PreambleJson | null;
  /** The machine; null where none is known. */
  head: HeadJson | null;
  about: JsonObject | null;
  complete: boolean;
  indexed: boolean;
  bytesRead: number;
  memory: MemorySummary;
  tmem: { client: JsonObject | null; pools: PoolSummary[] } | null;
  vcpus: JsonObject[];
  devices: JsonObject[];
  disks: JsonObject[];
  policies: PoliciesJson | null;
  origin: { format: string; parts: number; bytes: number } | null;
  dictionary: JsonObject[];
  /** The layers of an image of others, from the outermost record format on. */
  layers: LayerJson[];
  counts: StreamCounts;
  /** Of a stream of others with checkpoints: the last complete one, and where it ends. */
  checkpoint: { number: number; offset: number } | null;
  /** Of xl: whether the source of `xl migrate` gave the machine away. */
  permissionGiven: boolean | null;
  /** What stands behind the image. */
  trailing: { bytes: number; zero: boolean };
  error: ErrorJson | null;
  records?: RecordJson[] | NativeRecordJson[];
}

/** Of an image that nothing is known of yet. */
export function newInspection(source: ByteSource): Inspection {
  return {
    ok: true,
    format: 'unknown',
    nesting: [],
    file: { name: source.name, bytes: source.size },
    preamble: null,
    head: null,
    about: null,
    complete: false,
    indexed: false,
    bytesRead: 0,
    memory: {
      pageSize: 0,
      pages: 0,
      distinctPages: 0,
      resentPages: 0,
      zeroPages: 0,
      rawPages: 0,
      compressedPages: 0,
      absentPages: 0,
      storedBytes: 0,
      codecs: {},
      classes: {},
    },
    tmem: null,
    vcpus: [],
    devices: [],
    disks: [],
    policies: null,
    origin: null,
    dictionary: [],
    layers: [],
    counts: newCounts(),
    checkpoint: null,
    permissionGiven: null,
    trailing: { bytes: 0, zero: true },
    error: null,
  };
}
