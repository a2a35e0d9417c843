import type { ByteSink } from '../../bytes/endpoints.ts';
import { ERRORS, TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { refuseBigEndian, TmigImageWriter } from '../convert/tmig-writer.ts';
import type { FormatName } from '../identify/layers.ts';
import type { ImageEvent } from '../model/event.ts';
import { hasData } from '../../stream/records/ram.ts';
import { readerOf } from '../readers/reader-of.ts';
import { PageAccount } from './page-account.ts';
import { SkippedList, type SalvageMap } from './salvage-map.ts';
import type { SalvageOptions } from './salvage-tmig.ts';

/**
 * Exports what stands before the damage in an image of another format, as an image of kind `core`. Foreign formats have
 * no checksums, so nothing behind the first thing that is wrong can be believed. The sink is not ended.
 * @throws what is wrong, when it stands before the machine is known; CANCELLED, READ_FAILED, what the sink throws
 */
export async function salvageForeign(
  format: FormatName,
  image: ByteSource,
  sink: ByteSink,
  options: SalvageOptions,
): Promise<SalvageMap> {
  const { streamId, codec, about, signal, onProgress } = options;
  const reader = readerOf(format, image, { signal, onProgress });
  const writer = new TmigImageWriter(sink, { streamId, codec, about, kind: 'core' });
  const events = reader.events();
  const kept = new Kept();
  let error: TransmigrateError | undefined;
  for (;;) {
    let event: ImageEvent;
    try {
      const next = await events.next();
      if (next.done === true) break;
      event = next.value;
    } catch (thrown) {
      if (!isDamage(thrown) || !kept.begun) throw thrown;
      error = thrown;
      event = { kind: 'end', bytes: reader.offset };
    }
    if (event.kind === 'head') refuseBigEndian(event);
    kept.add(event);
    await writer.event(event);
    if (error !== undefined) break;
  }
  const skipped = new SkippedList();
  if (error !== undefined) {
    const from = Math.min(error.offset ?? reader.offset, image.size ?? Infinity);
    skipped.add(from, image.size === null ? 0 : image.size - from, error);
  }
  return kept.map(skipped, error);
}

function isDamage(thrown: unknown): thrown is TransmigrateError {
  if (!(thrown instanceof TransmigrateError)) return false;
  const kind = ERRORS[thrown.code].class;
  return kind === 'format' || kind === 'unsupported';
}

/** What was exported. */
class Kept {
  readonly #pages = new PageAccount();
  readonly #devices = new Set<string>();
  readonly #vcpus = new Set<number>();
  begun = false;

  add(event: ImageEvent): void {
    switch (event.kind) {
      case 'head':
        this.begun = true;
        break;
      case 'pages':
        for (const { firstPfn, pages, pageClass } of event.runs())
          this.#pages.named(firstPfn, pages, hasData(pageClass));
        break;
      case 'vcpu':
        this.#vcpus.add(event.vcpu.vcpu);
        break;
      case 'device':
        this.#devices.add(event.name);
        break;
      case 'long-device':
        this.#devices.add(event.device.name);
        break;
      default:
        break;
    }
  }

  map(skipped: SkippedList, error: TransmigrateError | undefined): SalvageMap {
    // A live stream sends pages again: behind the damage there may have been newer ones of any.
    if (error !== undefined) this.#pages.gap(null);
    return {
      version: 1,
      whole: error === undefined,
      skipped: skipped.first,
      skippedCount: skipped.count,
      mendedAt: null,
      cutAt: error?.code === 'TRUNCATED' ? (error.offset ?? null) : null,
      unknownLost: error !== undefined,
      memory: this.#pages.done(),
      statesDoubtful: error !== undefined,
      vcpus: this.#vcpus.size,
      devices: { kept: [...this.#devices], lost: [] },
      tmem: null,
      leftOut: ['ORIGIN'],
    };
  }
}
