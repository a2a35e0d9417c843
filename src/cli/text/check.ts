import type { ImageCheck } from '../../image/check/check-image.ts';
import { escapeText } from '../escape.ts';
import type { Layout } from './style.ts';
import { paragraph } from './wrap.ts';

/** The text of `check`: the verdict, each reason with its remedy, and what was not judged. */
export function* checkLines(image: string, host: string, check: ImageCheck, layout: Layout): Generator<string> {
  const { style, width } = layout;
  const name = escapeText(check.host ?? host);
  const verdict = check.fits ? style.good(`nothing stands against it on ${name}`) : style.bad(`does not fit ${name}`);
  yield* paragraph('', `${style.strong(escapeText(image))}: ${verdict}`, 2, width);
  for (const { reason, message, remedy } of check.reasons) {
    yield* paragraph(`  ${style.bad(reason)}: `, escapeText(message), 4, width);
    yield* paragraph('    ', escapeText(remedy), 4, width);
  }
  for (const { what, why } of check.unknown) {
    yield* paragraph(`  ${style.faint('not judged')}: `, `${what}: ${escapeText(why)}`, 4, width);
  }
}
