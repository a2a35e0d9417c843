import { TransmigrateError } from '../../errors.ts';
import { ORIGIN_LIMITS, ORIGIN_VERSION, STEP } from './ops.ts';

/** What the bytes of the image come from, in its order. `bytes` is lent until the next step. */
export type OriginStep =
  | BytesStep
  | { readonly step: 'pages'; readonly count: number }
  | { readonly step: 'skip'; readonly count: number }
  | { readonly step: 'zeros'; readonly count: number }
  | { readonly step: 'device'; readonly device: number; readonly offset: number; readonly count: number };

interface BytesStep {
  readonly step: 'bytes';
  readonly bytes: Uint8Array;
}

/** Entries that are written out at once. */
const ENTRIES_STEP = 8192;

/**
 * Reads the steps of ORIGIN (spec/foreign/origin.md) from its parts, one after the other; memory does not grow with
 * them. Nothing in them is trusted: each number has a limit.
 *
 * @param parts the parts' content, in order; each is used up before the next is asked for.
 * @throws ORIGIN_INVALID
 */
export async function* originSteps(parts: AsyncIterable<Uint8Array>): AsyncGenerator<OriginStep, void, undefined> {
  const input = new Input(parts[Symbol.asyncIterator]());
  if (!(await input.more())) throw invalid('It has no content', 0);
  const version = await input.byte();
  if (version !== ORIGIN_VERSION) {
    throw new TransmigrateError('UNSUPPORTED_VERSION', `ORIGIN of version ${version}`, {
      path: 'ORIGIN',
      section: 'foreign/origin 1',
      data: { version, supported: [ORIGIN_VERSION] },
      next: 'Convert with --no-origin, which makes the image anew from what it holds.',
    });
  }
  let made = 0;
  const countMade = (bytes: number, at: number): number => {
    made += bytes;
    if (made > ORIGIN_LIMITS.madeBytes) throw invalid(`It makes more than ${ORIGIN_LIMITS.madeBytes} bytes`, at);
    return bytes;
  };
  while (await input.more()) {
    const at = input.offset;
    const step = await input.byte();
    switch (step) {
      case STEP.literal:
        for (let left = await input.varint(); left > 0;) {
          const bytes = await input.some(left);
          left -= bytes.byteLength;
          yield { step: 'bytes', bytes };
        }
        break;
      case STEP.pages:
        yield { step: 'pages', count: await input.varint() };
        break;
      case STEP.skip:
        yield { step: 'skip', count: await input.varint() };
        break;
      case STEP.zeros:
        yield { step: 'zeros', count: countMade(await input.varint(), at) };
        break;
      case STEP.device: {
        const device = await input.varint();
        const offset = await input.varint();
        yield { step: 'device', device, offset, count: countMade(await input.varint(), at) };
        break;
      }
      case STEP.entries:
        for await (const entries of entriesOf(input)) {
          countMade(entries.bytes.byteLength, at);
          yield entries;
        }
        break;
      default:
        throw invalid(`A step ${step}, which there is not`, at);
    }
  }
}

/** Entries of PAGE_DATA, as bytes (foreign/origin 2.3). */
async function* entriesOf(input: Input): AsyncGenerator<BytesStep, void, undefined> {
  const at = input.offset;
  const count = await input.varint();
  if (count > ORIGIN_LIMITS.entries) throw invalid(`${count} entries in one step`, at);
  const words = new Uint32Array(2 * Math.min(count, ENTRIES_STEP));
  const view = new DataView(words.buffer);
  let used = 0;
  let expected = 0;
  for (let left = count; left > 0;) {
    let run = await input.varint();
    const type = await input.varint();
    const negative = (await input.varint()) === 1;
    const delta = await input.varint();
    let pfn = negative ? expected - delta : expected + delta;
    if (run === 0 || run > left || type > 0xfff || pfn < 0 || pfn + run > 2 ** 52) {
      throw invalid('Entries that no record has', at);
    }
    left -= run;
    expected = pfn + run;
    for (; run > 0; run--, pfn++) {
      view.setUint32(used, pfn % 4_294_967_296, true);
      view.setUint32(used + 4, ((type << 20) | Math.floor(pfn / 4_294_967_296)) >>> 0, true);
      used += 8;
      if (used === words.byteLength) {
        yield { step: 'bytes', bytes: new Uint8Array(words.buffer, 0, used) };
        used = 0;
      }
    }
  }
  if (used > 0) yield { step: 'bytes', bytes: new Uint8Array(words.buffer, 0, used) };
}

/** The content of all parts, as one. */
class Input {
  readonly #parts: AsyncIterator<Uint8Array>;
  #part = new Uint8Array(0);
  #at = 0;
  #before = 0;

  constructor(parts: AsyncIterator<Uint8Array>) {
    this.#parts = parts;
  }

  get offset(): number {
    return this.#before + this.#at;
  }

  async more(): Promise<boolean> {
    while (this.#at === this.#part.byteLength) {
      const next = await this.#parts.next();
      if (next.done === true) return false;
      this.#before += this.#part.byteLength;
      this.#part = next.value as Uint8Array<ArrayBuffer>;
      this.#at = 0;
    }
    return true;
  }

  async byte(): Promise<number> {
    if (this.#at === this.#part.byteLength && !(await this.more())) throw invalid('It ends within a step', this.offset);
    return this.#part[this.#at++];
  }

  async varint(): Promise<number> {
    const at = this.offset;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < ORIGIN_LIMITS.varintBytes; i++) {
      const byte = this.#at < this.#part.byteLength ? this.#part[this.#at++] : await this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= 128;
    }
    throw invalid('A number above 2^53', at);
  }

  /** Up to `most` bytes as they came. */
  async some(most: number): Promise<Uint8Array> {
    if (!(await this.more())) throw invalid('It ends within a step', this.offset);
    const bytes = this.#part.subarray(this.#at, this.#at + most);
    this.#at += bytes.byteLength;
    return bytes;
  }
}

function invalid(what: string, offset: number): TransmigrateError {
  return new TransmigrateError('ORIGIN_INVALID', `ORIGIN can't be followed: ${what}`, {
    path: `ORIGIN/byte ${offset}`,
    section: 'foreign/origin 2',
    next: 'Convert with --no-origin, which makes the image anew from what it holds.',
  });
}
