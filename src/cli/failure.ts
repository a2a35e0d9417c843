import { classOfCode, EXIT, ERRORS, TransmigrateError } from '../errors.ts';
import type { ErrorJson } from '../errors.ts';
import type { Context } from './context.ts';
import { escapeText } from './escape.ts';
import { problemText } from './text/problem.ts';

/** Whatever was thrown as an error of the closed table: what is not one is a defect, INTERNAL. */
export function asFailure(thrown: unknown): TransmigrateError {
  if (thrown instanceof TransmigrateError) return thrown;
  const what = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new TransmigrateError('INTERNAL', what, { cause: thrown });
}

/** The exit code that belongs to an error in a report. */
export function exitCodeOf(error: Pick<ErrorJson, 'code'>): number {
  return EXIT[ERRORS[error.code].class];
}

/** Prints an error, and sets the exit code: JSON to standard output where JSON was asked for, else two lines. */
export async function reportFailure(context: Context, thrown: unknown, asJson: boolean): Promise<void> {
  const failure = asFailure(thrown);
  context.exitCode = failure.exitCode;
  // A second document in the middle of the first would make both unreadable.
  if (asJson && !context.stdout.begun) {
    await context.stdout.writeJson({ ok: false, error: failure.toJSON() });
  } else {
    await context.stderr.writeLines(failureLines(failure));
  }
  const debug = context.env.TRANSMIGRATE_DEBUG ?? '';
  if (debug !== '' && debug !== '0') await context.stderr.writeLines(stackLines(failure));
}

/** `transmigrate: WHAT (CODE at ...)`, and what to do next. Who cancels knows what to do: that is one line. */
export function failureLines(failure: TransmigrateError): string[] {
  const json = failure.toJSON();
  if (failure.code === 'CANCELLED') {
    const { cause } = failure;
    const lost = cause instanceof TransmigrateError && classOfCode(cause.code) === 'transport';
    const known = lost ? 'The host was lost before it said what became of it.' : 'Nothing was changed.';
    return [`transmigrate: cancelled (CANCELLED). ${known}`];
  }
  const debug = failure.code === 'INTERNAL' ? ' With TRANSMIGRATE_DEBUG=1 it says where it happened.' : '';
  return [`transmigrate: ${problemText(json)}`, escapeText(failure.next) + debug];
}

function stackLines(failure: TransmigrateError): string[] {
  const stacks: string[] = [];
  for (let error: unknown = failure; error instanceof Error; error = error.cause) {
    stacks.push(error.stack ?? String(error));
  }
  return stacks.join('\ncaused by ').split('\n').map(escapeText);
}
