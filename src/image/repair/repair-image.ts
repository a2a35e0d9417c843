import type { ByteSink } from '../../bytes/endpoints.ts';
import { ERRORS, TransmigrateError } from '../../errors.ts';
import { again } from '../../io/pieces-of.ts';
import type { ByteSource } from '../../io/source.ts';
import { convertToTmig } from '../convert/to-tmig.ts';
import { identifyImage, type Identified, type IdentifyOptions } from '../identify/identify.ts';
import type { FormatName } from '../identify/layers.ts';
import { readableAtAnyPlace } from '../open/open-image.ts';
import { lastCheckpoint } from '../readers/last-checkpoint.ts';
import { findPreamble } from './find-preamble.ts';
import { rebuildIndex } from './rebuild-index.ts';
import { salvageForeign } from './salvage-foreign.ts';
import type { SalvageMap } from './salvage-map.ts';
import { salvageTmig, type SalvageOptions } from './salvage-tmig.ts';

/** How an image is repaired: spec/cli-json.md 16. */
export type RepairMode = 'to-checkpoint' | 'salvage' | 'index';

export interface RepairOptions extends SalvageOptions, IdentifyOptions {
  readonly mode: RepairMode;
}

/** What a repair made: spec/cli-json.md 16. */
export interface RepairReport {
  readonly mode: RepairMode;
  readonly format: FormatName;
  readonly nesting: readonly string[];
  /** Whether the output restores as far as its format decides: a core never does. */
  readonly verdict: 'restores' | 'will-not-restore';
  /** Nothing was wrong with the input that this mode looks at. */
  readonly wasWhole: boolean;
  /** Bytes of the image, unpacked, up to the checkpoint that was taken; null in other modes, or when all of it was. */
  readonly checkpointAt: number | null;
  /** Kinds of records that the output has not, if the input had them. */
  readonly leftOut: readonly string[];
  readonly map: SalvageMap | null;
}

/**
 * Repairs a saved image into a new one of ours; the input is only read.
 *
 * - `to-checkpoint`: what is whole up to the last complete checkpoint, of any format.
 * - `salvage`: what can be proven, as a core, with a map of what is missing or doubtful. Of any format.
 * - `index`: a new index and footer for an image of ours whose records are whole.
 *
 * @param source belongs to this call, which closes it. @param sink gets the bytes; it is not ended: keep what was
 * written only when this resolves.
 * @throws NO_CHECKPOINT; the errors of the image where nothing can be saved in this mode; UNSUPPORTED_FEATURE,
 * CANCELLED, READ_FAILED, what the sink throws
 */
export async function repairImage(source: ByteSource, sink: ByteSink, options: RepairOptions): Promise<RepairReport> {
  try {
    const direct = options.mode === 'to-checkpoint' ? false : await isOurs(source);
    const identified: Identified = direct
      ? { format: 'tmig', nesting: ['tmig'], image: source }
      : await identifyImage(source.random === null ? source : again(source), options);
    let { image } = identified;
    try {
      // Of what can't be read at any place, only foreign images are read in order.
      if (options.mode !== 'salvage') image = await readableAtAnyPlace(image, options);
      else if (identified.format === 'tmig') image = await asFarAsItGoes(image, options);
      return await repair({ ...identified, image }, sink, options);
    } finally {
      await image.close();
    }
  } finally {
    await source.close();
  }
}

/** Whether a file begins as an image of ours, if need be with a byte of its preamble put right. */
async function isOurs(source: ByteSource): Promise<boolean> {
  if (source.random === null) return false;
  try {
    await findPreamble(source.random);
    return true;
  } catch (error) {
    if (error instanceof TransmigrateError && ERRORS[error.code].class !== 'store') return false;
    throw error;
  }
}

async function repair(identified: Identified, sink: ByteSink, options: RepairOptions): Promise<RepairReport> {
  const { format, nesting, image } = identified;
  const work = { signal: options.signal, onProgress: options.onProgress };
  const about = { mode: options.mode, format, nesting };
  switch (options.mode) {
    case 'to-checkpoint': {
      const end = await lastCheckpoint(format, image, work);
      const whole = end === Infinity;
      await convertToTmig(format, again(image), sink, {
        ...options,
        origin: false,
        ...(!whole && { end }),
      });
      const report = { ...about, wasWhole: whole, checkpointAt: whole ? null : end, map: null };
      return { ...report, verdict: 'restores', leftOut: format === 'tmig' ? ['ORIGIN'] : [] };
    }
    case 'index': {
      if (format !== 'tmig') {
        throw new TransmigrateError('UNSUPPORTED_FEATURE', `Images of the format ${format} have no index`, {
          data: { format },
          next: 'Convert it into one of ours.',
        });
      }
      const { wasWhole } = await rebuildIndex(image.random!, sink, options);
      return { ...about, verdict: 'restores', wasWhole, checkpointAt: null, leftOut: [], map: null };
    }
    case 'salvage': {
      const map =
        format === 'tmig'
          ? await salvageTmig(image.random!, sink, options)
          : await salvageForeign(format, image, sink, options);
      const { whole: wasWhole, leftOut } = map;
      return { ...about, verdict: 'will-not-restore', wasWhole, checkpointAt: null, leftOut, map };
    }
  }
}

/** The same, also of what is wrapped in something that is damaged: what came out of it is then cut. */
async function asFarAsItGoes(image: ByteSource, options: RepairOptions): Promise<ByteSource> {
  const { spool } = options;
  if (image.random !== null || spool === undefined) return readableAtAnyPlace(image, options);
  const spooled = await spool(image);
  try {
    return await readableAtAnyPlace(image, { ...options, spool: () => Promise.resolve(spooled) });
  } catch (error) {
    if (error instanceof TransmigrateError && ['format', 'unsupported'].includes(ERRORS[error.code].class)) {
      return spooled;
    }
    await spooled.close();
    throw error;
  }
}
