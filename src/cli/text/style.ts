import { styleText } from 'node:util';

/** Ways to set off a piece of text; each is the identity where colours are not wanted. */
export interface Style {
  readonly title: (text: string) => string;
  readonly strong: (text: string) => string;
  readonly faint: (text: string) => string;
  readonly good: (text: string) => string;
  readonly warning: (text: string) => string;
  readonly bad: (text: string) => string;
}

type Format = Parameters<typeof styleText>[0];

function plain(text: string): string {
  return text;
}

function painted(format: Format): (text: string) => string {
  return (text) => (text === '' ? text : styleText(format, text, { validateStream: false }));
}

/** No colours: for pipes, files and tests. */
export const PLAIN: Style = { title: plain, strong: plain, faint: plain, good: plain, warning: plain, bad: plain };

/** The few colours there are, from the terminal's own palette. */
export const COLOURED: Style = {
  title: painted(['bold', 'cyan']),
  strong: painted('bold'),
  faint: painted('dim'),
  good: painted('green'),
  warning: painted('yellow'),
  bad: painted(['bold', 'red']),
};

/** How a report is laid out: colours, and how many columns there are (`Infinity` when it goes to a pipe or file). */
export interface Layout {
  readonly style: Style;
  readonly width: number;
}
