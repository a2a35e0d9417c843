import { Option, type Command } from 'commander';
import type { OpenedImage } from '../image/open/opened-image.ts';
import { openSource, startProgress, type Context, type GlobalOptions } from './context.ts';

/** Options of every command that looks into an image of any format. */
export interface ImageOptions extends GlobalOptions {
  readonly toCheckpoint?: boolean;
  readonly from?: 'raw';
  readonly json?: boolean;
}

/** Adds `--to-checkpoint` and `--from`. */
export function addImageOptions(command: Command): Command {
  return command
    .option('--to-checkpoint', 'take a cut image as it was at its last complete checkpoint')
    .addOption(new Option('--from <format>', 'what it is, where nothing in it tells: raw memory').choices(['raw']));
}

/**
 * Opens an image for as long as the work takes.
 * @param file a path, or `-` for standard input.
 * @throws what opening and the work throw.
 */
export async function withImage(
  context: Context,
  file: string,
  options: ImageOptions,
  work: (image: OpenedImage) => Promise<void>,
): Promise<void> {
  const source = await openSource(context, file);
  const progress = startProgress(context, options, 'open');
  let image: OpenedImage | undefined;
  try {
    image = await context.library.openImage(source, {
      toCheckpoint: options.toCheckpoint === true,
      ...(options.from !== undefined && { as: options.from }),
      spool: context.library.spool,
      onProgress: progress.update,
      signal: context.signal,
    });
    progress.finish();
    await work(image);
  } finally {
    progress.finish();
    // It owns the source, which was closed if it could not be opened.
    await image?.close();
  }
}
