import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { StreamDecoder } from '../../stream/decoder.ts';
import { isIndexed, type Preamble } from '../../stream/preamble.ts';
import { RecordStore } from '../../stream/record-store.ts';
import type { StreamRecord } from '../../stream/records/record.ts';
import { ContentCheck } from '../content-check.ts';
import { ContentDigest } from '../content-digest.ts';
import { count } from '../counts.ts';
import { headJson } from '../head-json.ts';
import { IndexCheck } from '../index-check.ts';
import { withLookalike } from '../lookalike.ts';
import { VCPU_STATE } from '../model/event.ts';
import { decodersFor, readChannels } from '../read-channels.ts';
import { preambleJson } from '../record-json.ts';
import type { WatchedSource } from '../watched-source.ts';
import { isAboutReading } from './about-reading.ts';
import { PageTableWalk } from './page-tables.ts';
import { trailingFinding } from './trailing.ts';
import { addFindings, finding, findingsOf, judged, newVerification } from './verification.ts';
import type { Verification, VerifyOptions } from './verification.ts';

/** What is verified. */
export interface TmigSubject {
  /** The channels of one stream, in any order: mostly one. */
  readonly sources: readonly WatchedSource[];
  readonly nesting: readonly string[];
  /** Only so far: the end of the CHECKPOINT that all before it is to be judged as. Of one channel. */
  readonly end?: number;
}

/**
 * Reads all of an image of ours and says whether it is sound.
 * @throws READ_FAILED, CANCELLED
 */
export async function verifyTmig(subject: TmigSubject, options: VerifyOptions): Promise<Verification> {
  const { sources } = subject;
  const decoders = decodersFor(sources, { knows: 'all', ...(options.container === true && { container: true }) });
  const result = newVerification();
  result.format = 'tmig';
  result.nesting = [...subject.nesting];
  const digest = options.digest === true ? new ContentDigest() : undefined;
  const pass = new TmigPass(subject, decoders, result, digest);
  try {
    await pass.run(options);
    if (digest !== undefined) await addDigests(result, digest, sources, decoders);
  } catch (thrown) {
    if (!(thrown instanceof TransmigrateError) || isAboutReading(thrown)) throw thrown;
    const source = sources.find(({ name }) => name === thrown.file) ?? sources[0];
    const error = withLookalike(thrown, source.head);
    if (error.code === 'NOT_AN_IMAGE') result.format = 'unknown';
    result.errors.push(finding(error));
  }
  result.bytes = decoders.reduce((sum, decoder) => sum + decoder.offset, 0);
  const preamble = decoders[0]?.preamble;
  result.preamble = preamble === undefined ? null : preambleJson(preamble);
  result.head = preamble === undefined ? null : headJson(preamble);
  if (result.errors.length === 0) pass.findings(options);
  if (digest !== undefined && result.errors.length > 0) Object.assign(result, { memory: null, tmem: null });
  return judged(result);
}

/** One reading of all channels. */
class TmigPass {
  readonly #subject: TmigSubject;
  readonly #decoders: readonly StreamDecoder[];
  readonly #result: Verification;
  readonly #digest: ContentDigest | undefined;
  readonly #content = new ContentCheck();
  readonly #index = new IndexCheck();
  /** Stream-local records that a restore needs. */
  readonly #needed = new Set<string>();
  #walk: PageTableWalk | undefined;
  #checkpointAt = 0;

  constructor(
    subject: TmigSubject,
    decoders: readonly StreamDecoder[],
    result: Verification,
    digest: ContentDigest | undefined,
  ) {
    this.#subject = subject;
    this.#decoders = decoders;
    this.#result = result;
    this.#digest = digest;
  }

  async run({ signal }: VerifyOptions): Promise<void> {
    const { sources, end = Infinity } = this.#subject;
    const result = this.#result;
    for await (const decoded of readChannels(sources, this.#decoders, { signal })) {
      const { header, record, source, applies } = decoded;
      if (record.kind === 'LOCAL' && !record.optional) this.#needed.add(record.dictionary.name);
      // Where channels meet, each has the record, but the round or checkpoint is one.
      count(result.counts, applies ? record.kind : 'MEETING');
      if (record.kind === 'ABOUT') result.about ??= record.about;
      if (record.kind === 'CHECKPOINT') {
        if (source === 0) this.#checkpointAt = header.offset;
        if (applies) result.checkpoint = { number: record.number, offset: this.#checkpointAt };
      }
      // Only one channel alone can have an index (stream 14.4).
      if (isIndexed(this.#decoders[source].preamble!)) this.#index.add(decoded);
      this.#content.check(decoded);
      this.#pageTables(record, this.#decoders[source]);
      if (applies) this.#digest?.add(decoded, source);
      if (record.kind === 'CHECKPOINT' && this.#decoders[0].offset >= end) return;
    }
  }

  /** Page tables of PV guests are walked as those of Xen's images are. Channels bring each page in its order. */
  #pageTables(record: StreamRecord, decoder: StreamDecoder): void {
    const { kind, domainType, wordBits, pageSize, byteOrder } = decoder.preamble!;
    // Nothing restores a core, and its page tables may hold frames of the machine.
    if (kind === 'core' || domainType !== 'pv' || pageSize !== 4096) return;
    if (record.kind === 'RAM') {
      this.#walk ??= new PageTableWalk(wordBits === 32 ? 32 : 64);
      this.#walk.pages({ kind: 'pages', bytesOffset: -1, runs: () => record.runs(decoder.scratch) });
    } else if (record.kind === 'VCPU_STATE' && record.state === VCPU_STATE.xenPvBasic) {
      const { vcpu, state: stateKind, bytes: content } = record;
      this.#walk?.vcpu({ kind: 'vcpu-state', vcpu, stateKind, content }, byteOrder === 'little');
    }
  }

  /** What is wrong with an image that could be read. */
  findings(options: VerifyOptions): void {
    const { sources, end } = this.#subject;
    const result = this.#result;
    // Of an image that was read in part the index says more than was read.
    if (end === undefined) {
      result.warnings.push(...this.#index.warnings().map((warning) => finding(warning, 'warning')));
    }
    // Without a vCPU of Xen's there is nothing that runs on the tables.
    const tables = this.#walk?.hasVcpus === true ? this.#walk.findings() : [];
    addFindings(result, findingsOf(tables, new Map()), options.strict === true);
    for (const [i, decoder] of this.#decoders.entries()) {
      if (decoder.trailing === 0) continue;
      const trailing = { bytes: decoder.trailing, zero: decoder.trailingZero };
      if (i === 0) result.trailing = trailing;
      const file = sources.length > 1 ? sources[i].name : undefined;
      result.warnings.push(trailingFinding(trailing, decoder.offset, true, '13.4', file));
    }
    const { knows } = options;
    for (const name of this.#needed) {
      if (knows !== 'all' && knows?.has(name) !== true) result.warnings.push(finding(notKnown(name), 'warning'));
    }
  }
}

async function addDigests(
  result: Verification,
  digest: ContentDigest,
  sources: readonly ByteSource[],
  decoders: readonly StreamDecoder[],
): Promise<void> {
  const preamble = decoders[0].preamble as Preamble;
  const stores = sources.map((source, i) => new RecordStore(source.random!, decoders[i].preamble!.checksum));
  result.memory = await digest.memory(stores, preamble);
  result.tmem = await digest.tmem(stores);
}

function notKnown(name: string): TransmigrateError {
  return new TransmigrateError('UNKNOWN_RECORD', `A restore needs records that are not known here: ${name}`, {
    section: '3.4',
    data: { name },
    next: `Restore it with the program that knows ${name}.`,
  });
}
