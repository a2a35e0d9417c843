import type { Finding } from '../../image/verify.ts';
import type { ErrorJson } from '../../errors.ts';
import { escapeText } from '../escape.ts';
import { formatHex } from './format.ts';

/** `CODE at offset 0x1f40, record 12 (RAM)/extents[3].first, stream.md 7.1`: what to quote in a report. */
export function problemPlace(problem: ErrorJson | Finding): string {
  const offset = problem.offset === undefined ? '' : ` at offset ${formatHex(problem.offset)}`;
  const section = problem.section === undefined ? '' : escapeText(problem.section);
  const places = [
    `${problem.code}${offset}`,
    pathText(problem),
    // The section of the specification, for who wants to know the rule.
    /^\d/.test(section) ? `stream.md ${section}` : section,
    problem.guestAt === undefined ? '' : guestText(problem.guestAt),
  ];
  return places.filter((place) => place !== '').join(', ');
}

/** The record and field, where the message does not begin with them already. */
function pathText(problem: ErrorJson | Finding): string {
  const record = 'record' in problem ? problem.record : null;
  const path = problem.path ?? '';
  const parts = [record === null || /record \d/.test(path) ? '' : `record ${record.sequence} (${record.name})`, path];
  const text = parts.filter((part) => part !== '').join('/');
  return text !== '' && problem.message.startsWith(`${text}:`) ? '' : escapeText(text);
}

function guestText(guestAt: NonNullable<ErrorJson['guestAt']>): string {
  return guestAt === 'unknown' ? 'where the guest is must be settled' : `the guest is at the ${guestAt}`;
}

/** One sentence what is wrong, with its place. */
export function problemText(problem: ErrorJson | Finding): string {
  return `${escapeText(problem.message.replace(/\.$/, ''))} (${problemPlace(problem)})`;
}
