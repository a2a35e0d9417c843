// Builds one channel of a stream, right or wrong on purpose, and keeps beside the bytes what a reader must report.
import { cat, crc, hex, hexOf, idOf, sha256, u16, u32, u64, u8, upTo8, utf8, uuidText, zeros } from './bytes.ts';
import type { Json, JsonObject } from './bytes.ts';
import { features, kinds, optionalBit, recordTypes } from './format.ts';
import { Machine } from './machine.ts';

export type PreambleFields = {
  magic: Buffer;
  major: number;
  minor: number;
  kind: number;
  byteOrder: number;
  wordBits: number;
  domainType: number;
  machine: number;
  pageShift: number;
  direction: number;
  mustKnow: bigint;
  mayIgnore: bigint;
  streamId: Buffer;
  channels: number;
  channel: number;
  reserved: number;
};

export type Tally = {
  ramPages: number;
  ramZeroPages: number;
  ramAbsentPages: number;
  tmemPages: number;
  tmemInvalidations: number;
  deviceBytes: number;
};

export type Listing = {
  pages: number;
  incarnation: bigint;
  low: bigint;
  high: bigint;
  lowIndex: number;
  highIndex: number;
};

/** A record as meant: its bytes, what a reader reports of it, and what it does to counts, index and machine. */
export type Rec = {
  type: number;
  name: string;
  section: string;
  body: Buffer;
  fields: JsonObject;
  tally?: Partial<Tally>;
  listing?: Partial<Listing>;
  apply?: (machine: Machine) => void;
};

/** What may be wrong (or merely unusual) in the framing of one record. */
export type Framing = {
  length?: number;
  sequence?: number;
  tag?: number;
  headerCrcFlip?: number;
  bodyCrcFlip?: number;
  paddingByte?: number;
  headerOnly?: boolean;
  writtenInstead?: Rec;
};

export type Part = { offset: number; header: Buffer; bytes: Buffer; json: JsonObject; rec: Rec };
export type Failure = { code: string; offset: number; sequence: number | null };
export type SealPatch = { number?: number; offset?: number; chainFlip?: number };
export type EndPatch = Partial<Tally> & { records?: number; channels?: number; chains?: Buffer[]; reserved?: number };
export type EntryPatch = (entries: IndexEntry[]) => IndexEntry[];
export type IndexEntry = { offset: number; type: number } & Listing;
type Segment = { offset: number; entries: IndexEntry[] };
export type RootPatch = (segments: Segment[]) => Segment[];
export type FooterPatch = {
  magicFlip?: number;
  tagFlip?: number;
  end?: number;
  root?: number;
  length?: number;
  chainFlip?: number;
  reserved?: number;
  crcFlip?: number;
};

export const magic = Buffer.from('89544d4947520d0a1a0a00ff', 'hex');
const footerMagic = Buffer.from('89544d4947450d0a1a0a00ff', 'hex');
const indexed = 1n;

function flipped(bytes: Buffer, mask: number): Buffer {
  const out = Buffer.from(bytes);
  out[0] = out[0] ^ mask;
  return out;
}

const emptyListing: Listing = { pages: 0, incarnation: 0n, low: 0n, high: 0n, lowIndex: 0, highIndex: 0 };
const emptyTally: Tally = {
  ramPages: 0,
  ramZeroPages: 0,
  ramAbsentPages: 0,
  tmemPages: 0,
  tmemInvalidations: 0,
  deviceBytes: 0,
};

export const known = (name: keyof typeof recordTypes): { type: number; name: string; section: string } => ({
  type: recordTypes[name].type,
  name,
  section: recordTypes[name].section,
});

/** A record whose body is given as bytes, for bodies that are wrong. */
export const bare = (name: keyof typeof recordTypes, body: Buffer): Rec => ({ ...known(name), body, fields: {} });

export class Channel {
  readonly fields: PreambleFields;
  readonly preamble: Buffer;
  readonly tag: number;
  readonly parts: Part[] = [];
  readonly machine: Machine;
  readonly tail: Buffer[] = [];
  peers: Channel[] = [this];
  offset = 128;
  chain: Buffer;
  failure: Failure | null = null;
  releasedParts: number | null = null;
  mentions: string[] = [];
  ended = false;
  sealNumber = 0;
  barrierNumber = 0;
  rounds = 0;
  checkpoints = 0;
  private unsealed: Buffer[] = [];
  private unlisted: IndexEntry[] = [];
  private segments: Segment[] = [];
  private endOffset = 0;
  private counts: Tally = { ...emptyTally };

  constructor(seed: string, fields: Partial<PreambleFields> = {}, machine = new Machine()) {
    this.machine = machine;
    this.fields = {
      magic,
      major: 1,
      minor: 0,
      kind: kinds.save,
      byteOrder: 1,
      wordBits: 64,
      domainType: 1,
      machine: 62,
      pageShift: 12,
      direction: 0,
      mustKnow: 0n,
      mayIgnore: 0n,
      streamId: idOf(seed),
      channels: 1,
      channel: 0,
      reserved: 0,
      ...fields,
    };
    const f = this.fields;
    const front = cat(
      f.magic,
      u16(f.major),
      u16(f.minor),
      u8(f.kind),
      u8(f.byteOrder),
      u8(f.wordBits),
      u8(f.domainType),
      u16(f.machine),
      u8(f.pageShift),
      u8(f.direction),
      u64(f.mustKnow),
      u64(f.mayIgnore),
      f.streamId,
      u16(f.channels),
      u16(f.channel),
      Buffer.alloc(64, f.reserved),
    );
    this.tag = crc(front);
    this.preamble = cat(front, u32(this.tag));
    this.chain = sha256(this.preamble);
  }

  get pageSize(): number {
    return 2 ** this.fields.pageShift;
  }

  get isIndexed(): boolean {
    return (this.fields.mayIgnore & indexed) !== 0n;
  }

  /** Position of the record that comes next. */
  get position(): number {
    return this.parts.length;
  }

  add(rec: Rec, framing: Framing = {}): this {
    const padding = Buffer.alloc(upTo8(rec.body.length), framing.paddingByte ?? 0);
    const rest = cat(rec.body, padding);
    const written = framing.writtenInstead ?? rec;
    const header = this.header(rec, rest, framing);
    const bytes = framing.headerOnly
      ? header
      : framing.writtenInstead
        ? this.whole(framing.writtenInstead)
        : cat(header, rest);
    const json = {
      sequence: this.position,
      offset: this.offset,
      type: hexOf(written.type, 8),
      name: written.name,
      section: written.section,
      optional: written.type >= optionalBit,
      length: written.body.length,
      fields: written.fields,
    };
    const { ABOUT, SEAL, BARRIER, END, INDEX, INDEX_ROOT } = recordTypes;
    const unlisted: number[] = [ABOUT.type, SEAL.type, BARRIER.type, END.type, INDEX.type, INDEX_ROOT.type];
    if (!unlisted.includes(rec.type)) {
      this.unlisted.push({ offset: this.offset, type: rec.type, ...emptyListing, ...rec.listing });
    }
    for (const key of Object.keys(rec.tally ?? {}) as (keyof Tally)[]) this.counts[key] += rec.tally?.[key] ?? 0;
    if (this.failure === null) rec.apply?.(this.machine);
    this.parts.push({ offset: this.offset, header, bytes, json, rec: written });
    this.unsealed.push(header);
    this.offset += bytes.length;
    return this;
  }

  /** Adds the record at which a reader must stop. Anything added after it only makes the rest of the stream right. */
  bad(code: string, rec: Rec, framing: Framing = {}): this {
    this.fail(code, this.position);
    return this.add(rec, framing);
  }

  /** Says that a reader stops here, at what is added next. */
  fail(code: string, sequence: number | null, offset = this.offset): this {
    if (this.failure !== null) throw new Error('only one thing may be wrong');
    this.failure = { code, offset, sequence };
    this.releasedParts = this.parts.length;
    return this;
  }

  /** What the message of the failure must name. */
  naming(...mentions: string[]): this {
    this.mentions = mentions;
    return this;
  }

  /** The whole preamble is there, ABOUT is shown, and then the stream is refused. */
  refuse(code: string, ...mentions: string[]): this {
    this.failure = { code, offset: 0, sequence: null };
    this.releasedParts = 1;
    return this.naming(...mentions);
  }

  /** In a set of channels where another one fails: a reader may release up to here, and not more. */
  hold(): this {
    this.releasedParts = this.parts.length;
    return this;
  }

  append(bytes: Buffer): this {
    this.tail.push(bytes);
    this.offset += bytes.length;
    return this;
  }

  header(rec: Rec, rest: Buffer, framing: Framing = {}): Buffer {
    const front = cat(
      u32(rec.type),
      u32(framing.length ?? rec.body.length),
      u32(framing.sequence ?? this.position),
      u32(framing.tag ?? this.tag),
      u32(((rest.length === 0 ? 0 : crc(rest)) ^ (framing.bodyCrcFlip ?? 0)) >>> 0),
    );
    return cat(front, u32((crc(front) ^ (framing.headerCrcFlip ?? 0)) >>> 0));
  }

  private whole(rec: Rec): Buffer {
    const rest = cat(rec.body, zeros(upTo8(rec.body.length)));
    return cat(this.header(rec, rest), rest);
  }

  about(value: JsonObject | string | Buffer = { name: 'vector', tool: { name: 'vectors', version: '1' } }): Rec {
    const body = Buffer.isBuffer(value) ? value : utf8(typeof value === 'string' ? value : JSON.stringify(value));
    const fields = Buffer.isBuffer(value) ? {} : { about: typeof value === 'string' ? parse(value) : value };
    return { ...known('ABOUT'), body, fields };
  }

  sealRec(patch: SealPatch = {}): Rec {
    const chain = flipped(sha256(this.chain, ...this.unsealed), patch.chainFlip ?? 0);
    const number = patch.number ?? this.sealNumber + 1;
    const offset = patch.offset ?? this.offset;
    return {
      ...known('SEAL'),
      body: cat(u64(number), u64(offset), chain),
      fields: { number, offset, chain: hex(chain) },
    };
  }

  private sealed(): void {
    this.chain = sha256(this.chain, ...this.unsealed);
    this.unsealed = [];
    this.sealNumber++;
  }

  seal(): this {
    const rec = this.sealRec();
    this.sealed();
    return this.add(rec);
  }

  badSeal(patch: SealPatch, code = 'SEAL_MISMATCH'): this {
    const rec = this.sealRec(patch);
    this.sealed();
    return this.bad(code, rec);
  }

  barrierRec(patch: { number?: number; channels?: number; chains?: Buffer[]; reserved?: number } = {}): Rec {
    const chains = patch.chains ?? this.peers.map((peer) => peer.chain);
    const number = patch.number ?? this.barrierNumber + 1;
    const front = cat(u64(number), u32(patch.channels ?? this.fields.channels), u32(patch.reserved ?? 0));
    return { ...known('BARRIER'), body: cat(front, ...chains), fields: { number, chains: chains.map(hex) } };
  }

  /** With one channel: a SEAL and its BARRIER. Several channels meet with `meet` of vector.ts. */
  barrier(): this {
    this.seal();
    return this.addBarrier();
  }

  addBarrier(): this {
    const rec = this.barrierRec();
    this.barrierNumber++;
    return this.add(rec);
  }

  roundRec(round = this.rounds, reserved = 0): Rec {
    return { ...known('ROUND'), body: cat(u64(round), u64(reserved)), fields: { round } };
  }

  round(): this {
    this.add(this.roundRec());
    this.rounds++;
    return this;
  }

  checkpointRec(guestTimeNs = 0n, number = this.checkpoints + 1): Rec {
    return {
      ...known('CHECKPOINT'),
      body: cat(u64(number), u64(guestTimeNs)),
      fields: { number, guestTimeNs: String(guestTimeNs) },
    };
  }

  /** CHECKPOINT alone; `checkpoint` puts the SEAL before it. */
  addCheckpoint(guestTimeNs = 0n): this {
    this.add(this.checkpointRec(guestTimeNs));
    this.checkpoints++;
    return this;
  }

  checkpoint(guestTimeNs = 0n): this {
    return this.seal().addCheckpoint(guestTimeNs);
  }

  endRec(patch: EndPatch = {}): Rec {
    const chains = patch.chains ?? this.peers.map((peer) => peer.chain);
    const count = { ...this.counts, ...patch };
    const records = patch.records ?? this.position;
    const { ramPages, ramZeroPages, ramAbsentPages, tmemPages, tmemInvalidations, deviceBytes } = count;
    const numbers = { records, ramPages, ramZeroPages, ramAbsentPages, tmemPages, tmemInvalidations, deviceBytes };
    return {
      ...known('END'),
      body: cat(
        ...Object.values(numbers).map(u64),
        u32(patch.channels ?? this.fields.channels),
        u32(patch.reserved ?? 0),
        ...chains,
      ),
      fields: { ...numbers, chains: chains.map(hex) },
    };
  }

  /** END and, with INDEXED, what follows it. */
  addEnd(rec = this.endRec()): this {
    this.endOffset = this.offset;
    this.add(rec);
    this.ended = true;
    return this.isIndexed ? this.addRoot().addFooter() : this;
  }

  end(): this {
    if (this.isIndexed && this.unlisted.length > 0) this.index();
    return this.seal().addEnd();
  }

  /** What most streams end with. */
  finish(): this {
    if (this.fields.direction === 0) this.checkpoint();
    return this.end();
  }

  indexRec(entries: IndexEntry[], reserved = 0): Rec {
    const rows = entries.map((entry) =>
      cat(
        u64(entry.offset),
        u32(entry.type),
        u32(entry.pages),
        u64(entry.incarnation),
        u64(entry.low),
        u64(entry.high),
        u32(entry.lowIndex),
        u32(entry.highIndex),
      ),
    );
    return {
      ...known('INDEX'),
      body: cat(u32(entries.length), u32(reserved), ...rows),
      fields: { entries: entries.length },
    };
  }

  /** Lists the records since the last INDEX; what the patch changes is a lie of the index. */
  index(patch: EntryPatch = (entries) => entries, reserved = 0): this {
    const entries = patch(this.unlisted.map((entry) => ({ ...entry })));
    this.unlisted = [];
    this.segments.push({ offset: this.offset, entries });
    return this.add(this.indexRec(entries, reserved));
  }

  rootRec(patch: RootPatch = (segments) => segments, reserved = 0): Rec {
    const segments = patch(this.segments.map((segment) => ({ ...segment })));
    const rows = segments.map(({ offset, entries }) => {
      const ram = entries.filter((entry) => entry.type === recordTypes.RAM.type);
      const kindOf = (type: number): number => (type === 0x10 ? 1 : [0x42, 0x43].includes(type & 0xffff) ? 2 : 4);
      const kind = entries.reduce((bits, entry) => bits | kindOf(entry.type), 0);
      const low = ram.reduce((least, entry) => (entry.low < least ? entry.low : least), ram[0]?.low ?? 0n);
      const high = ram.reduce((most, entry) => (entry.high > most ? entry.high : most), 0n);
      return cat(u64(offset), u32(entries.length), u32(kind), u64(low), u64(high));
    });
    return {
      ...known('INDEX_ROOT'),
      body: cat(u32(segments.length), u32(reserved), ...rows),
      fields: { segments: segments.length },
    };
  }

  private rootOffset = 0;

  addRoot(rec = this.rootRec()): this {
    this.rootOffset = this.offset;
    return this.add(rec);
  }

  addFooter(patch: FooterPatch = {}): this {
    const front = cat(
      flipped(footerMagic, patch.magicFlip ?? 0),
      u32((this.tag ^ (patch.tagFlip ?? 0)) >>> 0),
      u64(patch.end ?? this.endOffset),
      u64(patch.root ?? this.rootOffset),
      u64(patch.length ?? this.offset + 64),
      flipped(this.chain, patch.chainFlip ?? 0).subarray(0, 16),
      u32(patch.reserved ?? 0),
    );
    return this.append(cat(front, u32((crc(front) ^ (patch.crcFlip ?? 0)) >>> 0)));
  }

  bytes(): Buffer {
    return cat(this.preamble, ...this.parts.map((part) => part.bytes), ...this.tail);
  }

  released(): Json[] {
    return this.parts.slice(0, this.releasedParts ?? this.parts.length).map((part) => part.json);
  }

  /** Section 2 of cli-json.md. */
  preambleJson(): JsonObject {
    const f = this.fields;
    const names = (bits: bigint, table: readonly string[]): string[] =>
      Array.from({ length: 64 }, (_, bit) => bit)
        .filter((bit) => (bits >> BigInt(bit)) & 1n)
        .map((bit) => table[bit] ?? `bit ${bit}`);
    return {
      major: f.major,
      minor: f.minor,
      kind: ['', 'save', 'migration', 'incremental', 'core'][f.kind] ?? '',
      byteOrder: f.byteOrder === 1 ? 'little' : 'big',
      wordBits: f.wordBits,
      domainType: ['unknown', 'pv', 'hvm', 'pvh', 'emulated-tmem', 'emulated'][f.domainType] ?? '',
      machine: f.machine,
      pageSize: this.pageSize,
      direction: f.direction === 0 ? 'forward' : 'back',
      mustKnow: names(f.mustKnow, features),
      mayIgnore: names(f.mayIgnore, ['INDEXED']),
      streamId: uuidText(f.streamId),
      channels: f.channels,
      channel: f.channel,
      checksum: hexOf(this.tag, 8),
    };
  }
}

const parse = (json: string): JsonObject => JSON.parse(json) as JsonObject;
