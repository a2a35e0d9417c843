import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { escapeText } from './escape.ts';
import type { Library } from './library.ts';
import type { Output, OutputStream } from './output.ts';
import { Progress, progressMode } from './progress.ts';
import { COLOURED, PLAIN } from './text/style.ts';
import type { Layout } from './text/style.ts';

/** Everything a command touches outside itself. */
export interface Context {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds that only grow. */
  readonly now: () => number;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly library: Library;
  readonly fileExists: (path: string) => boolean;
  /** What the process ends with; a command sets it. */
  exitCode: number;
  /** Set by a command that ends by itself, and in order, when `signal` is aborted: nobody else reports that then. */
  endsItself?: boolean;
}

/** Options that every command takes. */
export interface GlobalOptions {
  readonly quiet?: boolean;
  readonly progress?: boolean;
  readonly color: boolean;
}

/** What stands for standard input in place of a file. */
export const STDIN = '-';

const DEFAULT_COLUMNS = 80;
const NARROWEST = 40;

/** Whether to colour: only on a terminal that can, and only when nobody said no (https://no-color.org). */
export function wantsColour(context: Context, option: boolean, output: Output = context.stdout): boolean {
  const { NO_COLOR, TERM } = context.env;
  return option && output.stream.isTTY === true && (NO_COLOR ?? '') === '' && TERM !== 'dumb';
}

/** How to lay out a report on standard output: a pipe or file gets lines of any length and no colours. */
export function layoutOf(context: Context, options: GlobalOptions): Layout {
  const { stream } = context.stdout;
  return {
    style: wantsColour(context, options.color) ? COLOURED : PLAIN,
    width: stream.isTTY === true ? Math.max(columnsOf(stream), NARROWEST) : Infinity,
  };
}

/** Columns of a terminal; one that does not know its size says 0. */
export function columnsOf({ columns }: OutputStream): number {
  return columns === undefined || columns <= 0 ? DEFAULT_COLUMNS : columns;
}

/** Progress on standard error for work that is called `label`. */
export function startProgress(context: Context, options: GlobalOptions, label: string): Progress {
  const { stderr, env, now, signal } = context;
  const progress = new Progress({
    // A dumb terminal can't take back what it shows.
    mode: progressMode(stderr.stream.isTTY === true && env.TERM !== 'dumb', options),
    write: (text) => void stderr.stream.write(text),
    columns: () => columnsOf(stderr.stream),
    now,
    label: escapeText(label),
  });
  // That it was cancelled is said at once, while the work may still be on its way to notice.
  signal.addEventListener('abort', progress.finish, { once: true });
  return progress;
}

/** How long the end of a pipe, or of a host, is given to turn out to be that of a Ctrl-C. */
const CTRL_C_MS = 50;

/**
 * To be called before a result is shown. Ctrl-C ends all programs of a pipeline: the end of the pipe may be seen before
 * the signal, and would be reported as a cut image.
 * @throws TransmigrateError CANCELLED
 */
export async function unlessCancelled(
  context: Context,
  source: ByteSource | undefined,
  error: { readonly code: string } | null | undefined,
): Promise<void> {
  if (source?.size === null && error?.code === 'TRUNCATED') await sleep(CTRL_C_MS);
  if (context.signal.aborted) throw new TransmigrateError('CANCELLED', 'cancelled');
}

/**
 * What a command failed with; or CANCELLED when all that it says is that the host was lost, and Ctrl-C was pressed: the
 * host may have got the same signal, and have ended first.
 */
export async function unlessInterrupted(context: Context, thrown: unknown): Promise<unknown> {
  if (!(thrown instanceof TransmigrateError) || thrown.code !== 'HOST_UNREACHABLE') return thrown;
  if (!context.signal.aborted) await sleep(CTRL_C_MS);
  return context.signal.aborted ? new TransmigrateError('CANCELLED', 'cancelled', { cause: thrown }) : thrown;
}

/**
 * Opens a file, or standard input for `-` and when there is no name.
 * @throws TransmigrateError USAGE when that would be a terminal, and what opening throws.
 */
export async function openSource(context: Context, file: string | undefined): Promise<ByteSource> {
  if (file === '') {
    const next = 'Name an image. In a script, the variable that should hold its name may be empty.';
    throw new TransmigrateError('USAGE', 'the name of the FILE is empty', { next });
  }
  if (file !== undefined && file !== STDIN) return context.library.openFileSource(file);
  if (context.stdin.isTTY === true) {
    const what = file === undefined ? 'no FILE was given' : 'standard input is a terminal';
    const next = 'Name an image, or send one through a pipe: `transmigrate FILE`, `... | transmigrate -`.';
    throw new TransmigrateError('USAGE', what, { next });
  }
  return context.library.openPipeSource(context.stdin, 'standard input');
}
