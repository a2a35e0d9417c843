import type { Finding } from '../../image/verify.ts';
import type { ErrorJson } from '../../errors.ts';
import { escapeText } from '../escape.ts';
import { formatHex } from './format.ts';

/** `CODE at offset 0x1f40, record 12 (RAM)/extents[3].first, stream 7.1`: what to quote in a report. */
export function problemPlace(problem: ErrorJson | Finding): string {
  const places: string[] = [];
  places.push(channelText(problem));
  if (problem.offset !== undefined) places.push(`at offset ${formatHex(problem.offset)}`);
  const record = problem.record ?? null;
  const recordText = record === null ? '' : `record ${record.sequence} (${escapeText(record.name)})`;
  const path = problem.path === undefined ? '' : escapeText(problem.path);
  if (/\brecord /.test(path) || recordText === '') places.push(path);
  else places.push(path === '' ? recordText : `${recordText}/${path}`);
  const section = problem.section === undefined ? '' : escapeText(problem.section);
  places.push(/^\d/.test(section) ? `section ${section}` : section);
  if (problem.guestAt !== undefined) places.push(guestText(problem.guestAt));
  const text = places.filter((place) => place !== '').join(', ');
  return /^(?:at|in) /.test(text) ? `${problem.code} ${text}` : [problem.code, text].filter(Boolean).join(', ');
}

function channelText({ record, file }: ErrorJson | Finding): string {
  const name = file === undefined ? '' : escapeText(file);
  const channel = record?.channel;
  if (channel === undefined) return name === '' ? '' : `in ${name}`;
  return name === '' ? `in channel ${channel}` : `in channel ${channel} (${name})`;
}

function guestText(guestAt: NonNullable<ErrorJson['guestAt']>): string {
  return guestAt === 'unknown' ? 'where the guest is must be settled' : `the guest is at the ${guestAt}`;
}

/** One sentence what is wrong, with its place. */
export function problemText(problem: ErrorJson | Finding): string {
  return `${escapeText(problem.message)} (${problemPlace(problem)})`;
}
