/**
 * Replays a recording of the reference's answers and compares everything that can be predicted (spec/tmem.md 11).
 * What can't be is taken from the recording: which puts found no memory, and how many pages were evicted.
 */
import { CODEC } from '../codec/codec.ts';
import { crc32 } from '../codec/platform.ts';
import { hexNumber } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import { authoriseUuid, type Client, type Pool } from './clients.ts';
import { CLIENT_FLAG, HANDLE_HALVES, PAGE_BYTES, POOL_VERSION, RESULT, TMEM_LIMITS } from './constants.ts';
import { TmemEngine } from './engine.ts';
import { fillPattern } from './page-pattern.ts';
import { ReferenceSave } from './reference-save.ts';
import { parseLine, type Line } from './replay-line.ts';
import { listDifferences } from './replay-list.ts';

/** Stands for all clients. */
const ALL_CLIENTS = 65_535;

/** One thing that was not as recorded. */
export interface ReplayDifference {
  /** Number of the line, and its operation. */
  line: number;
  operation: string;
  what: 'result' | 'content' | 'evictions' | 'saved page' | 'invalidation' | 'statistics' | 'line';
  expected: string;
  found: string;
}

/** What came of a replay. */
export interface ReplayReport {
  /** Operations that were carried out. */
  operations: number;
  /** How often each thing was compared. */
  compared: {
    results: number;
    contents: number;
    evictions: number;
    savedPages: number;
    invalidations: number;
    statistics: number;
  };
  /** All differences there were. */
  differenceCount: number;
  /** The first of them. */
  differences: ReplayDifference[];
}

const NEXT = 'Is it a recording of tmem? spec/tmem.md, section 11, says what one looks like.';

/** Differences that a report holds when nothing else is asked for. */
const KEPT_DIFFERENCES = 20;

/** A recording that is replayed line by line. */
export class TmemReplay {
  readonly #report: ReplayReport = {
    operations: 0,
    compared: { results: 0, contents: 0, evictions: 0, savedPages: 0, invalidations: 0, statistics: 0 },
    differenceCount: 0,
    differences: [],
  };
  #engine: TmemEngine | undefined;
  #dedup = false;
  readonly #saves = new Map<number, ReferenceSave>();
  /** The save of each client that began last, also after its end. */
  readonly #lastSaves = new WeakMap<Client, ReferenceSave>();
  readonly #handle = new Uint32Array(HANDLE_HALVES);
  readonly #victim = new Uint32Array(HANDLE_HALVES);
  readonly #page = new Uint8Array(PAGE_BYTES);
  #evicted: string[] = [];
  #line: Line = { n: 0, op: '' };
  #number = 0;
  readonly #keep: number;

  /** @param keep how many differences the report is to hold. */
  constructor(keep = KEPT_DIFFERENCES) {
    this.#keep = keep;
  }

  get report(): ReplayReport {
    return this.#report;
  }

  /**
   * Carries out one line of a recording; empty lines are skipped.
   * @throws JSON_INVALID for a line that is not an object as recordings have it; FIELD_VALUE for a field whose value
   * has no meaning. Both say which line it is (data: line).
   */
  line(text: string): void {
    this.#number++;
    if (text.trim() === '') return;
    try {
      this.#carryOut(parseLine(text));
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      const data = { ...error.data, line: this.#number };
      throw new TransmigrateError(error.code, `Line ${this.#number}: ${error.message}`, {
        data,
        cause: error,
        next: NEXT,
      });
    }
  }

  /** Whether there was a config line: without it nothing was compared. */
  get begun(): boolean {
    return this.#engine !== undefined;
  }

  #carryOut(line: Line): void {
    this.#line = line;
    if (line.op === 'config') {
      this.#configure(line);
      return;
    }
    const engine = this.#engine;
    if (engine === undefined) throw new TransmigrateError('JSON_INVALID', 'A recording begins with its config line.');
    this.#report.operations++;
    this.#evicted = [];
    engine.script = { evictions: line.ev?.length ?? 0, failure: scriptedFailure(engine, line) };
    const result = this.#perform(engine, line);
    if (line.rc !== undefined && result !== undefined) {
      this.#compare('result', 'results', String(line.rc), String(result));
    }
    if (line.ev !== undefined || this.#evicted.length > 0) {
      const expected = (line.ev ?? []).map(([c, p, o, i]) => `${c}/${p}/${o}/${i}`).join(' ');
      this.#compare('evictions', 'evictions', expected, this.#evicted.join(' '));
    }
  }

  #configure(line: Line): void {
    this.#dedup = line.dedup === 1;
    const engine = new TmemEngine({
      limitBytes: 2 ** 40,
      reference: true,
      codec: CODEC.lzo1x,
      client: { compress: line.compress === 1, sharing: this.#dedup },
      sharedNeedsAuthorisation: line.shared_auth === 1,
    });
    engine.reclaimer.onEviction = (page, pool) => {
      // The handle of the put that needs the room is still in use.
      engine.holdings.table.handleOf(page, this.#victim);
      this.#evicted.push(`${pool.owner.id}/${pool.owner.slotOf(pool)}/${handleText(this.#victim)}`);
    };
    this.#engine = engine;
  }

  /** @returns undefined when there is no result to compare. */
  #perform(engine: TmemEngine, line: Line): number | undefined {
    const { c = -1, p = -1, v = 0 } = line;
    if (line.o !== undefined) this.#readHandle(line.o, line.i ?? 0);
    const client = engine.clients.get(c);
    switch (line.op) {
      case 'newpool':
        return engine.newPool(c, line.flags ?? 0, uuidOf(line));
      case 'restore_new':
        return client === undefined ? RESULT.notPermitted : engine.newPoolAt(client, p, line.flags ?? 0, uuidOf(line));
      case 'destroy':
        return engine.destroyPool(c, p);
      case 'put':
        return this.#put(engine, c, p);
      case 'get':
        return this.#get(engine, c, p);
      case 'flush':
        return engine.flushPage(c, p, this.#handle);
      case 'flushobj':
        return engine.flushObject(c, p, this.#handle);
      case 'domdestroy':
        engine.destroyClient(c);
        this.#saves.delete(c);
        return undefined;
      case 'flushmem':
        if (c !== ALL_CLIENTS) return RESULT.notPermitted;
        // How much is free in the reference's heap is not known here: the number of pages comes from the recording.
        for (let left = engine.script!.evictions; left > 0 && engine.reclaimer.evictOne(undefined); left--);
        return undefined;
      case 'auth':
        return this.#authorise(engine, client, line);
      case 'list':
        this.#list(engine, line);
        return undefined;
      case 'ctl':
        return this.#control(engine, line, client);
      default:
        return line.op.startsWith('xc_') ? undefined : this.#operate(engine, line, client, v);
    }
  }

  #operate(engine: TmemEngine, { op, c }: Line, client: Client | undefined, v: number): number {
    const all = op.endsWith('all');
    const name = all ? op.slice(0, -'all'.length) : op;
    if (all || c === ALL_CLIENTS) {
      for (const each of engine.clients.values()) this.#change(engine, each, name, v);
      return this.#dedup && name === 'compress' ? RESULT.notPermitted : RESULT.none;
    }
    if (client === undefined) return RESULT.notPermitted;
    return name.startsWith('save_get_')
      ? this.#saved(client, name.slice('save_get_'.length))
      : this.#change(engine, client, name, v);
  }

  #change(engine: TmemEngine, client: Client, name: string, value: number): number {
    if (name === 'freeze' || name === 'thaw') client.frozen = name === 'freeze';
    else if (name === 'weight' || name === 'cap') engine.set(client.id, { [name]: value >>> 0 });
    else if (name === 'compress' && !this.#dedup) client.compress = value !== 0;
    else return RESULT.notPermitted;
    // The reference stores a cap and does nothing with it.
    return RESULT.none;
  }

  #saved(client: Client, name: string): number {
    switch (name) {
      case 'weight':
      case 'cap':
        // All ones would look like an error.
        return client[name] === 0xffff_ffff ? -2 : client[name] | 0;
      case 'flags': {
        const frozen = this.#saves.get(client.id)?.wasFrozen ?? false;
        return (client.compress ? CLIENT_FLAG.compress : 0) | (frozen ? CLIENT_FLAG.frozen : 0);
      }
      case 'version':
        return POOL_VERSION;
      case 'maxpools':
        return TMEM_LIMITS.poolsOfClient;
      default:
        return RESULT.notPermitted;
    }
  }

  #put(engine: TmemEngine, c: number, p: number): number {
    if (this.#line.rc === RESULT.badAddress) return engine.putUnreadable(c, p, this.#handle);
    fillPattern(this.#line.pg ?? 'z', this.#page);
    return engine.put(c, p, this.#handle, this.#page);
  }

  #get(engine: TmemEngine, c: number, p: number): number {
    // What is there would be taken for the page, were nothing written.
    this.#page.fill(0x5a);
    const result = engine.get(c, p, this.#handle, this.#page);
    if (result === RESULT.done && this.#line.crc !== undefined) this.#compareContent();
    return result;
  }

  #authorise(engine: TmemEngine, client: Client | undefined, line: Line): number {
    const wanted = (line.auth ?? line.v ?? 1) !== 0;
    if (line.c === ALL_CLIENTS) {
      // For all clients, an authorisation is what lifts the requirement.
      engine.requireAuthorisation(!wanted);
      return RESULT.done;
    }
    if (client === undefined) return RESULT.invalid;
    return authoriseUuid(client, hexOf(uuidOf(line)), wanted);
  }

  /** A call of the reference's save or restore code, by its number. */
  #control(engine: TmemEngine, line: Line, client: Client | undefined): number | undefined {
    const { sub, c = -1, p = -1, a1 = 0 } = line;
    const pool = client?.pools[p];
    switch (sub) {
      case 1:
        return client === undefined ? RESULT.notPermitted : this.#change(engine, client, 'freeze', 0);
      case 5:
      case 6:
      case 7:
        if (client === undefined) return RESULT.notPermitted;
        return this.#change(engine, client, (['weight', 'cap', 'compress'] as const)[sub - 5], a1);
      case 10:
        if (client === undefined || client.pools.every((each) => each === undefined)) return RESULT.none;
        this.#saves.get(c)?.end();
        this.#begin(engine, client, a1 !== 0);
        return RESULT.done;
      case 11:
        return POOL_VERSION;
      case 12:
        return TMEM_LIMITS.poolsOfClient;
      case 13:
      case 14:
      case 15:
        if (client === undefined) return RESULT.notPermitted;
        return this.#saved(client, (['weight', 'cap', 'flags'] as const)[sub - 13]);
      case 16:
        return pool?.flags ?? RESULT.notPermitted;
      case 17:
        return pool?.counts.pages ?? RESULT.notPermitted;
      case 18:
        if (pool === undefined) return RESULT.notPermitted;
        this.#compare('result', 'results', hexOf(uuidOf(line)), pool.name);
        return RESULT.none;
      case 19:
        return this.#savedPage(engine, line, client);
      case 20:
        return this.#invalidation(line);
      case 21:
        this.#saves.get(c)?.end();
        this.#saves.delete(c);
        return RESULT.none;
      case 30:
        return client === undefined && engine.addClient(c) ? RESULT.done : RESULT.notPermitted;
      case 32:
        this.#readHandle(line.o ?? '0.0.0', line.a2 ?? 0);
        return pool === undefined ? RESULT.notPermitted : this.#put(engine, c, p);
      case 33:
        this.#readHandle(line.o ?? '0.0.0', line.a2 ?? 0);
        return pool === undefined ? RESULT.notPermitted : engine.flushPage(c, p, this.#handle);
      default:
        return undefined;
    }
  }

  #begin(engine: TmemEngine, client: Client, live: boolean): void {
    const save = new ReferenceSave(engine, client, live, this.#lastSaves.get(client));
    this.#saves.set(client.id, save);
    this.#lastSaves.set(client, save);
  }

  /** Whether a second save of a pool begins as the first one did: some releases go on where that one ended. */
  #startsAgain(engine: TmemEngine, save: ReferenceSave, pool: Pool, { o, i = 0 }: Line): boolean {
    return save.firstPages(pool).some((page) => {
      engine.holdings.table.handleOf(page, this.#handle);
      return handleText(this.#handle) === `${o ?? ''}/${i}`;
    });
  }

  #savedPage(engine: TmemEngine, line: Line, client: Client | undefined): number {
    const pool = client?.pools[line.p ?? -1];
    const save = this.#saves.get(line.c ?? -1);
    if (pool?.persistent !== true || save === undefined) return RESULT.notPermitted;
    if (save.isAgain(pool) && !this.#startsAgain(engine, save, pool, line)) save.goOn(pool);
    let page = save.nextPage(pool);
    if (page !== 0 && line.o !== undefined && save.isFirst(pool)) {
      // The released code never sent a pool's first page. Whether this is such a code shows here, and only here.
      engine.holdings.table.handleOf(page, this.#handle);
      if (handleText(this.#handle) !== `${line.o}/${line.i ?? ''}`) page = save.nextPage(pool);
    }
    if (page === 0) return RESULT.notPermitted;
    engine.holdings.table.handleOf(page, this.#handle);
    this.#compare('saved page', 'savedPages', recorded(line.hp, line), `${line.p ?? ''}/${handleText(this.#handle)}`);
    engine.holdings.read(page, this.#page);
    // The reference counts what its save reads as gets of the guest.
    client!.counts.persistentGets++;
    pool.counts.gets++;
    pool.counts.goodGets++;
    if (line.crc !== undefined) this.#compareContent();
    return RESULT.done;
  }

  #invalidation(line: Line): number {
    const slot = this.#saves.get(line.c ?? -1)?.nextInvalidated(this.#handle) ?? -1;
    if (slot === -1) return RESULT.none;
    const found = `${slot}/${handleText(this.#handle)}`;
    this.#compare('invalidation', 'invalidations', recorded(line.hp, line), found);
    return RESULT.done;
  }

  #list(engine: TmemEngine, line: Line): void {
    for (const { expected, found } of listDifferences(engine, line.text ?? '')) {
      this.#compare('statistics', 'statistics', expected, found);
    }
  }

  #compareContent(): void {
    const found = hexNumber(crc32(this.#page), 8);
    this.#compare('content', 'contents', this.#line.crc!, found);
  }

  #compare(
    what: ReplayDifference['what'],
    counted: keyof ReplayReport['compared'],
    expected: string,
    found: string,
  ): void {
    const report = this.#report;
    report.compared[counted]++;
    if (expected === found) return;
    report.differenceCount++;
    if (report.differences.length >= this.#keep) return;
    report.differences.push({ line: this.#line.n, operation: this.#line.op, what, expected, found });
  }

  #readHandle(object: string, index: number): void {
    const words = object.split('.');
    if (words.length !== 3 || !words.every((word) => /^[0-9a-f]{1,16}$/.test(word))) {
      throw new TransmigrateError('FIELD_VALUE', `"${object}" is no object id.`, { data: { found: object } });
    }
    for (const [word, text] of words.entries()) {
      const digits = text.padStart(16, '0');
      this.#handle[2 * word] = Number.parseInt(digits.slice(8), 16);
      this.#handle[2 * word + 1] = Number.parseInt(digits.slice(0, 8), 16);
    }
    this.#handle[6] = index;
  }
}

/** Replays the lines of a recording: {@link TmemReplay} for all of them. Throws as its `line` does. */
export function replayTmem(lines: Iterable<string>, keep?: number): ReplayReport {
  const replay = new TmemReplay(keep);
  for (const line of lines) replay.line(line);
  if (!replay.begun) throw new TransmigrateError('JSON_INVALID', 'A recording without a line.', { next: NEXT });
  return replay.report;
}

/** What a put is made to answer because of memory: not what follows from a live save or a frame that is not there. */
function scriptedFailure(engine: TmemEngine, { op, rc, c = -1 }: Line): number {
  if (op !== 'put') return 0;
  if (rc === RESULT.noMemory) return rc;
  return rc === RESULT.noSpace && engine.clients.get(c)?.liveSave !== true ? rc : 0;
}

function uuidOf({ uuid = ['0', '0'] }: Line): Uint8Array {
  const bytes = new Uint8Array(16);
  for (const [word, text] of uuid.entries()) {
    const digits = text.padStart(16, '0');
    // Little-endian words, as they stand in guest memory.
    for (let byte = 0; byte < 8; byte++) {
      bytes[8 * word + byte] = Number.parseInt(digits.slice(14 - 2 * byte, 16 - 2 * byte), 16);
    }
  }
  return bytes;
}

function handleText(handle: Uint32Array): string {
  const words = [0, 2, 4].map((half) => {
    const high = handle[half + 1];
    return high === 0 ? handle[half].toString(16) : high.toString(16) + hexNumber(handle[half], 8);
  });
  return `${words.join('.')}/${handle[6]}`;
}

function recorded(slot: number | undefined, { o, i }: Line): string {
  return `${slot ?? ''}/${o ?? ''}/${i ?? ''}`;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => hexNumber(byte, 2)).join('');
}
