/** A run as a message-sequence chart: one HTML file that needs nothing else. */
import type { Entry } from './trace.ts';

const ROW = 22;
const LEFT = 330;
const RIGHT = 830;
const WIDTH = 1160;
const TOP = 70;
/** Most rows of a chart. */
const ROWS = 5000;

const COLOURS: Readonly<Record<Entry['what'], string>> = {
  message: '#1f5fa8',
  state: '#666666',
  journal: '#8a5a00',
  guest: '#1a7f37',
  crash: '#c62828',
  start: '#c62828',
  effect: '#6a3fa0',
  end: '#000000',
};

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

function rowOf(entry: Entry, at: number): string {
  const y = TOP + at * ROW;
  const source = entry.who === 'source';
  const x = source ? LEFT : RIGHT;
  const colour = COLOURS[entry.what];
  const time = `<text x="8" y="${y + 4}" class="t">${entry.atMs.toFixed(1)}</text>`;
  if (entry.what === 'message') {
    const from = source ? RIGHT : LEFT;
    const late = entry.sentMs === undefined ? '' : ` (${(entry.atMs - entry.sentMs).toFixed(1)} ms)`;
    const tip = source ? x + 8 : x - 8;
    const arrow = source
      ? `${x},${y} ${x + 8},${y - 4} ${x + 8},${y + 4}`
      : `${x},${y} ${x - 8},${y - 4} ${x - 8},${y + 4}`;
    return [
      time,
      `<line x1="${from}" y1="${y - 7}" x2="${tip}" y2="${y}" stroke="${colour}"/>`,
      `<polygon points="${arrow}" fill="${colour}"/>`,
      `<text x="${(LEFT + RIGHT) / 2}" y="${y - 6}" text-anchor="middle" fill="${colour}">`,
      `${escape(entry.text + late)}</text>`,
    ].join('');
  }
  const anchor = source ? 'end' : 'start';
  const place = source ? x - 10 : x + 10;
  const middle = entry.who === 'network' || entry.who === 'operator';
  const where = middle ? `x="${(LEFT + RIGHT) / 2}" text-anchor="middle"` : `x="${place}" text-anchor="${anchor}"`;
  const dot = middle ? '' : `<circle cx="${x}" cy="${y}" r="3" fill="${colour}"/>`;
  const text = `${dot}<text y="${y + 4}" fill="${colour}" ${where}>`;
  return `${time}${text}${escape(middle ? `${entry.who}: ${entry.text}` : entry.text)}</text>`;
}

/** Where each side's guest runs, as a bar beside its line. */
function bars(entries: readonly Entry[]): string[] {
  const found: string[] = [];
  for (const [who, x] of [
    ['source', LEFT],
    ['destination', RIGHT],
  ] as const) {
    let from: number | null = null;
    const end = (at: number): void => {
      if (from !== null) {
        const y = TOP + from * ROW;
        const height = Math.max((at - from) * ROW, 4);
        found.push(`<rect x="${x - 5}" y="${y}" width="10" height="${height}" fill="#1a7f37" opacity="0.25"/>`);
      }
      from = null;
    };
    for (const [at, entry] of entries.entries()) {
      if (entry.who !== who) continue;
      if (entry.what === 'guest') {
        end(at);
        if (entry.text.startsWith('runs')) from = at;
      } else if (entry.what === 'start') end(at);
    }
    end(entries.length);
  }
  return found;
}

/** @param what a sentence above the chart: how it ended, or what was wrong. */
export function chartOf(title: string, what: string, entries: readonly Entry[]): string {
  const shown = entries.slice(0, ROWS);
  const height = TOP + shown.length * ROW + 30;
  const line = (x: number, name: string): string =>
    `<text x="${x}" y="40" text-anchor="middle" class="n">${name}</text>` +
    `<line x1="${x}" y1="50" x2="${x}" y2="${height - 10}" stroke="#bbbbbb"/>`;
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    `<title>${escape(title)}</title>`,
    '<style>body{font-family:sans-serif;margin:1em;background:#fff;color:#000}svg{font-size:12px}.t{fill:#888}',
    '.n{font-size:15px;font-weight:bold}</style></head><body>',
    `<h1>${escape(title)}</h1><p>${escape(what)}</p><p>Milliseconds of virtual time; a bar is a guest that runs.</p>`,
    `<svg width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    line(LEFT, 'source'),
    line(RIGHT, 'destination'),
    ...bars(shown),
    ...shown.map(rowOf),
    '</svg></body></html>\n',
  ].join('\n');
}
