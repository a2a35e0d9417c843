/** What a saved image is, from its content. */
import type { RandomAccess } from '../../bytes/endpoints.ts';
import { TransmigrateError } from '../../errors.ts';
import { endsAsVhd, openVhd } from '../../foreign/vhd/vhd.ts';
import { again, piecesOf } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import { checkMagic } from '../../stream/preamble.ts';
import { withLookalike } from '../lookalike.ts';
import { magicOf, MAGIC_BYTES } from '../magic.ts';
import { FORMATS, layersAt, type FormatName } from './layers.ts';
import { Peek } from './peek.ts';

/** Formats whose tables stand behind what they describe: they are read where it is needed. */
const AT_ANY_PLACE: ReadonlySet<FormatName> = new Set<FormatName>(['xen-core', 'elf-core', 'v86', 'libvirt']);

/** Compressed in compressed in compressed: nobody means it. */
const WRAPPINGS_MOST = 4;

export interface IdentifyOptions {
  /** Take it for raw memory, which nothing in it can tell. */
  readonly as?: 'raw';
  /**
   * Makes a source readable at any place, for containers and formats that cannot be read in order and come through a
   * pipe, or inside a compression: `spool`. Without it they are refused, formats by their readers.
   */
  readonly spool?: (source: ByteSource) => Promise<ByteSource>;
}

export interface Identified {
  /** The outermost layer that is an image. */
  readonly format: FormatName;
  /**
   * All layers, outermost first: compressions and containers (`zstd`, `gzip`, `xz`, `bzip2`, `lz4`, `vhd`), then the
   * format and what it holds, as `zstd`, `xl`, `libxl`, `xen-libxc`. Layers that start beyond the first MiB are not
   * named.
   */
  readonly nesting: readonly string[];
  /**
   * The image without what is wrapped around it, from its first byte on; not yet read, although it may come from a
   * pipe. It is a `container` where bytes may follow the image: inside a virtual disk.
   */
  readonly image: ByteSource;
}

/**
 * Identifies an image by its content, in one pass: nothing is read twice, and the result's `image` goes on where this
 * stopped.
 *
 * @param source belongs to the result: closing its `image` closes it. When this throws, it is closed.
 * @throws NOT_AN_IMAGE with `data.tried`, and `data.looksLike` where that can be told; TRUNCATED for an empty input;
 * UNSUPPORTED_VERSION, UNSUPPORTED_CODEC, UNSUPPORTED_FEATURE, LIMIT_EXCEEDED; for a damaged wrapping what unpacking
 * it throws.
 */
export async function identifyImage(source: ByteSource, options: IdentifyOptions = {}): Promise<Identified> {
  if (options.as === 'raw') return { format: 'raw', nesting: ['raw'], image: source };
  const wrapped = new Wrapped(source);
  try {
    return await wrapped.identify(options);
  } catch (error) {
    await wrapped.close();
    throw error;
  }
}

/** A source whose wrappings are taken off, one after the other. */
class Wrapped {
  #source: ByteSource;
  readonly #nesting: string[] = [];

  constructor(source: ByteSource) {
    this.#source = source;
  }

  close(): Promise<void> {
    return this.#source.close();
  }

  async identify({ spool }: IdentifyOptions): Promise<Identified> {
    for (;;) {
      const { random } = this.#source;
      // The footer of a fixed disk is at its end, and all that is before it is the disk's own.
      if (random !== null && !this.#nesting.includes('vhd') && (await endsAsVhd(random))) {
        await this.#openVhd(random);
        continue;
      }
      const peek = new Peek(this.#source);
      this.#source = peek.source();
      const head = await peek.head(MAGIC_BYTES);
      const magic = magicOf(head);
      const compression = magic?.compression;
      if (compression !== undefined) {
        this.#wrap(compression);
        const { unpackedSource } = await import('../../io/compressed/unpack.ts');
        this.#source = unpackedSource(this.#source, compression);
      } else if (magic?.layer === 'vhd') {
        await this.#openVhd(await this.#random(spool));
      } else {
        return this.#format(peek, spool);
      }
    }
  }

  async #format(peek: Peek, spool: IdentifyOptions['spool']): Promise<Identified> {
    const layers = await layersAt(peek, 0);
    const format = FORMATS.find((name) => name === layers[0]);
    if (format === undefined) throw this.#unknown(await peek.head(MAGIC_BYTES));
    if (AT_ANY_PLACE.has(format) && this.#source.random === null && spool !== undefined) await this.#putAside(spool);
    return { format, nesting: [...this.#nesting, ...layers], image: this.#source };
  }

  /** From now on the source can be read at any place, and once more from its start. */
  async #putAside(spool: NonNullable<IdentifyOptions['spool']>): Promise<RandomAccess> {
    const spooled = await spool(this.#source);
    const close = (): Promise<void> => spooled.close();
    this.#source = { ...again(spooled), close };
    // What is put aside is what was read: so all of it is read.
    for await (const piece of spooled.pieces()) void piece;
    return spooled.random!;
  }

  #unknown(head: Uint8Array): TransmigrateError {
    const data = {
      tried: FORMATS.filter((name) => name !== 'raw'),
      ...(this.#nesting.length > 0 && { inside: [...this.#nesting] }),
    };
    const where = { offset: 0, path: this.#source.name };
    const first = head.subarray(0, MAGIC_BYTES);
    let error = new TransmigrateError('NOT_AN_IMAGE', 'No known image starts like this', { ...where, data });
    if (head.byteLength === 0) error = new TransmigrateError('TRUNCATED', 'The input is empty', { ...where, data });
    try {
      // An image of ours that a text mode damaged, or that ends in its first bytes, is told so.
      checkMagic(first.subarray(0, 12), head.byteLength < MAGIC_BYTES);
    } catch (cause) {
      if (!(cause instanceof TransmigrateError)) throw cause;
      const isCut = cause.code === 'TRUNCATED' && head.byteLength > 0;
      if (isCut || cause.code.endsWith('_DAMAGE')) return cause.with({ data });
    }
    return withLookalike(error, first);
  }

  #wrap(name: string): void {
    if (this.#nesting.push(name) > WRAPPINGS_MOST) {
      throw new TransmigrateError(
        'LIMIT_EXCEEDED',
        `More than ${WRAPPINGS_MOST} wrappings: ${this.#nesting.join(', ')}`,
        {
          offset: 0,
          path: this.#source.name,
        },
      );
    }
  }

  async #random(spool: IdentifyOptions['spool']): Promise<RandomAccess> {
    if (this.#source.random !== null) return this.#source.random;
    if (spool === undefined) {
      throw new TransmigrateError('UNSUPPORTED_FEATURE', 'The blocks of a dynamic VHD are not in order', {
        offset: 0,
        path: this.#source.name,
        section: 'foreign/vhd 3',
        next: 'Copy it into a file, and read that.',
      });
    }
    return this.#putAside(spool);
  }

  async #openVhd(random: RandomAccess): Promise<void> {
    this.#wrap('vhd');
    const disk = await openVhd(random);
    const below = this.#source;
    this.#source = {
      name: below.name,
      size: disk.size,
      container: true,
      random: disk,
      pieces: () => piecesOf(disk),
      close: () => below.close(),
    };
  }
}
