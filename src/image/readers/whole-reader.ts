import type { ByteSource } from '../../io/source.ts';
import type { Work } from '../../io/work.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageEvent } from '../model/event.ts';
import type { ImageFinding, ImageReader, ReaderOptions } from '../model/reader.ts';
import { FoundFindings } from './found.ts';

/** What readers have in common of formats that hold one state of a machine: no checkpoints, one list of findings. */
export abstract class WholeReader<Options extends ReaderOptions & Work = ReaderOptions & Work> implements ImageReader {
  abstract readonly format: FormatName;
  readonly checkpoints = { complete: 0, end: 0 };
  trailing = { bytes: 0, zero: true };
  offset = 0;
  protected readonly source: ByteSource;
  protected readonly options: Options;
  protected readonly found = new FoundFindings();

  /** @param source stays the caller's. */
  constructor(source: ByteSource, options: Options) {
    this.source = source;
    this.options = options;
  }

  findings(): readonly ImageFinding[] {
    return this.found.kept;
  }

  findingCounts(): ReadonlyMap<string, number> {
    return this.found.counts;
  }

  abstract events(): AsyncGenerator<ImageEvent, void, undefined>;
}
