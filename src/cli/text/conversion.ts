import type { Conversion } from '../../image/convert/convert.ts';
import { escapeText } from '../escape.ts';
import { formatSize, plural } from './format.ts';

/** What a conversion made, what it left out, and what is wrong with the image that it was made of. */
export function conversionLines(input: string, output: string, result: Conversion): string[] {
  const { from, to, exact, bytes, pages, losses, warnings } = result;
  const where = output === '-' ? 'standard output' : output;
  return [
    escapeText(`${input}: ${from} to ${to}: ${where}: ${formatSize(bytes)}, ${plural(pages, 'page')}`),
    exactText(from, to, exact),
    ...losses.map(({ what, name, why }) => escapeText(`left out: ${what} ${name}: ${why}`)),
    ...warnings.map(({ message, code, level }) => {
      const weight = level === 'broken' ? 'warning: its own restorer would refuse the source' : 'warning';
      return escapeText(`${weight}: ${message} (${code})`);
    }),
  ];
}

function exactText(from: string, to: string, exact: boolean): string {
  if (to === 'tmig') {
    if (exact) return 'the source can be had back from it, byte for byte';
    return from === 'tmig' ? 'the same machine' : 'the same machine; the framing of the source is not kept';
  }
  return exact ? 'the bytes are those of the source' : 'made anew: the same machine in other bytes';
}
