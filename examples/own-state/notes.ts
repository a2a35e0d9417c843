/**
 * State of one's own (M3): notes, by keys, that stand beside each guest of a host and may change while the guest runs.
 * They travel with it, live and in images. Nothing of this is in the package.
 */
import {
  TransmigrateError,
  type DecodedRecord,
  type LiveOutput,
  type LiveState,
  type Lost,
  type OwnGuest,
  type OwnSeat,
  type OwnState,
  type PinnedState,
  type Schema,
  type StateLeft,
  type StateLoader,
  type StateOffer,
  type StreamWriter,
} from '../../src/index.ts';

const NAME = 'org.example.notes';

/** Bytes of a record beside its note's. */
const RECORD_BYTES = 28;

/** The notes of all guests of a host: what is registered with it. */
export class Notes implements OwnState {
  readonly name = NAME;
  readonly version = 1;
  readonly text = 'A note beside the guest; one without a value is gone.';
  readonly schema: Schema = {
    fields: [
      { name: 'key', type: 'string' },
      { name: 'value', type: 'string' },
    ],
  };
  readonly #mandatory: boolean;
  readonly #books = new Map<string, Book>();

  /** @param mandatory whether a guest may go to no host that does not know its notes. */
  constructor(mandatory = true) {
    this.#mandatory = mandatory;
  }

  seat({ uuid }: OwnGuest, record: number): OwnSeat {
    const book = new Book(record, this.#mandatory);
    return {
      live: () => new LiveBook(book),
      pin: () => pinned(book),
      loader: () => bookLoader(book),
      moveIn: () => void this.#books.set(uuid, book),
      leave: () => {
        if (this.#books.get(uuid) === book) this.#books.delete(uuid);
      },
    };
  }

  /** Of a guest that is here. */
  of(uuid: string): Book | undefined {
    return this.#books.get(uuid);
  }

  all(): Iterable<Book> {
    return this.#books.values();
  }
}

/** The notes of one guest. */
export class Book {
  readonly record: number;
  readonly mandatory: boolean;
  readonly entries = new Map<string, string>();
  /** While the guest stands still for the last step of a move. */
  still = false;
  /** Who follows the notes is told which one changed. */
  readonly followers = new Set<(key: string) => void>();

  constructor(record: number, mandatory: boolean) {
    this.record = record;
    this.mandatory = mandatory;
  }

  /** Writes a note; without a value it is gone. @returns false while nothing may change: then ask again */
  set(key: string, value: string): boolean {
    if (this.still) return false;
    this.put(key, value);
    for (const changed of this.followers) changed(key);
    return true;
  }

  put(key: string, value: string): void {
    if (value === '') this.entries.delete(key);
    else this.entries.set(key, value);
  }

  /** @returns bytes of the note */
  async write(writer: StreamWriter, key: string, value: string): Promise<number> {
    const body = encode(key, value);
    await writer.local(this.record, !this.mandatory, body);
    return body.byteLength;
  }
}

/** The notes in rounds: each crosses when it changed since it was sent. */
class LiveBook implements LiveState {
  readonly name = NAME;
  readonly records: readonly number[];
  readonly #book: Book;
  readonly #changed = new Set<string>();
  /** What was sent and is not acknowledged: no values, for after a cut they are sent as they are then. */
  #sent: { readonly key: string; readonly step: number }[] = [];
  #step = 0;
  readonly #follow = (key: string): void => void this.#changed.add(key);

  constructor(book: Book) {
    this.#book = book;
    this.records = [book.record];
  }

  offer(): StateOffer {
    const bytes = sizeOf(this.#book.entries);
    const { mandatory } = this.#book;
    return { name: NAME, mandatory, carriedBytes: bytes, unpackedBytes: bytes, needs: {} };
  }

  begin(): Promise<void> {
    for (const key of this.#book.entries.keys()) this.#changed.add(key);
    this.#book.followers.add(this.#follow);
    return Promise.resolve();
  }

  async *round({ channels }: LiveOutput): AsyncGenerator<number, void> {
    const [{ writer, ledger }] = channels;
    for (const key of Array.from(this.#changed)) {
      this.#changed.delete(key);
      this.#sent.push({ key, step: ++this.#step });
      ledger?.step(NAME, this.#step);
      yield await this.#book.write(writer, key, this.#book.entries.get(key) ?? '');
    }
  }

  left(): StateLeft {
    const bytes = Array.from(this.#changed, (key) => encode(key, this.#book.entries.get(key) ?? '').byteLength);
    return { bytes: bytes.reduce((sum, each) => sum + each + RECORD_BYTES, 0), pages: 0, invalidations: 0 };
  }

  async *final(output: LiveOutput): AsyncGenerator<number, void> {
    this.#book.still = true;
    yield* this.round(output);
  }

  acknowledged(_channel: number, step: number): void {
    this.#sent = this.#sent.filter((each) => each.step > step);
  }

  resend({ steps: [step] }: Lost): Promise<void> {
    this.acknowledged(0, step);
    for (const { key } of this.#sent.splice(0)) this.#changed.add(key);
    return Promise.resolve();
  }

  end(): Promise<void> {
    this.#book.followers.delete(this.#follow);
    this.#book.still = false;
    return Promise.resolve();
  }
}

/** The notes as they are now, for a save. */
function pinned(book: Book): PinnedState {
  const entries = new Map(book.entries);
  return {
    name: NAME,
    records: [book.record],
    bytes: sizeOf(entries),
    async *write(writer) {
      for (const [key, value] of entries) yield await book.write(writer, key, value);
    },
    release: () => entries.clear(),
  };
}

function bookLoader(book: Book): StateLoader {
  return {
    name: NAME,
    load: ({ record, header, body }: DecodedRecord) => {
      if (record.kind === 'LOCAL' && record.dictionary.name === NAME) book.put(...decode(body, header.offset));
      return Promise.resolve();
    },
    // A guest without notes is whole.
    complete: () => Promise.resolve(),
  };
}

function sizeOf(entries: ReadonlyMap<string, string>): number {
  return Array.from(entries).reduce((sum, [key, value]) => sum + encode(key, value).byteLength, 0);
}

/** Two strings of stream 1.4, as the schema says. */
function encode(...texts: [key: string, value: string]): Uint8Array {
  const parts = texts.map((text) => new TextEncoder().encode(text));
  const body = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + 2 + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    new DataView(body.buffer).setUint16(at, part.byteLength, true);
    body.set(part, at + 2);
    at += 2 + part.byteLength;
  }
  return body;
}

/** @throws LENGTH_MISMATCH: what comes over a connection is checked like anything else */
function decode(body: Uint8Array, offset: number): [key: string, value: string] {
  let at = 0;
  const next = (): string => {
    const length =
      at + 2 > body.byteLength ? Number.NaN : new DataView(body.buffer, body.byteOffset).getUint16(at, true);
    const bytes = body.subarray(at + 2, at + 2 + length);
    if (bytes.byteLength !== length) throw new TransmigrateError('LENGTH_MISMATCH', 'A note ends early', { offset });
    at += 2 + length;
    return new TextDecoder('utf-8', { fatal: false }).decode(bytes);
  };
  return [next(), next()];
}
