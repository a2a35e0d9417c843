/** The rules of the house as data. The checks in checks.ts know none of these names. */

/**
 * What each part of `src/` may import: what its row names, and what those rows may import in turn.
 * A part is a file or a folder; the longest matching key is the one that counts.
 */
export const IMPORT_TABLE: Readonly<Record<string, readonly string[]>> = {
  'src/errors.ts': [],
  'src/bytes': ['src/errors.ts'],
  'src/codec': ['src/bytes'],
  'src/stream': ['src/codec'],
  'src/foreign': ['src/codec'],
  'src/tmem': ['src/codec'],
  'src/io': ['src/bytes'],
  'src/machine': ['src/foreign', 'src/tmem', 'src/io'],
  'src/migrate': ['src/stream', 'src/io', 'src/machine', 'src/migrate/handover'],
  'src/migrate/handover': ['src/errors.ts'],
  'src/image': ['src/stream', 'src/foreign', 'src/tmem', 'src/io'],
  'src/host': ['src/migrate', 'src/image'],
  'src/browser.ts': ['src/image'],
  'src/index.ts': ['src/host', 'src/browser.ts'],
  'src/cli': ['src/index.ts'],
};

/** Code beside `src/` that stands for somebody outside, and what of `src/` it may import. */
export const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  // A second implementation that shared code with the first would agree with it about its mistakes.
  'vectors/gen': [],
  examples: ['src/index.ts'],
};

/**
 * Folders that must run in a browser: no `node:` module, package, `Buffer` or `process`, but in the one adapter file,
 * which has a twin for browsers beside it.
 */
export const BROWSER_FOLDERS: Readonly<Record<string, string>> = {
  'src/bytes': 'src/bytes/platform.ts',
  'src/codec': 'src/codec/platform.ts',
  'src/stream': 'src/stream/platform.ts',
  'src/foreign': 'src/foreign/platform.ts',
  'src/tmem': 'src/tmem/platform.ts',
  'src/image': 'src/image/platform.ts',
};

/** Logic that is handed its clock, random numbers, files and sockets, and so can be replayed. */
export const PURE_FOLDERS: readonly string[] = ['src/stream', 'src/tmem', 'src/migrate'];

/** Inside the pure folders: what performs the effects. */
export const EFFECTS: readonly string[] = ['src/migrate/runner'];

/** Token sequences that are an ambient clock, random number or socket. */
export const AMBIENT: readonly (readonly string[])[] = [
  ['Date', '.', 'now'],
  ['new', 'Date', '(', ')'],
  ['Math', '.', 'random'],
  ['performance', '.', 'now'],
  ['crypto', '.', 'getRandomValues'],
  ['crypto', '.', 'randomUUID'],
  ['setTimeout'],
  ['setInterval'],
  ['setImmediate'],
  // Where it is called; a method may have this name.
  ['await', 'fetch', '('],
  ['return', 'fetch', '('],
  ['=', 'fetch', '('],
  ['=>', 'fetch', '('],
  ['WebSocket'],
];

/** Token sequences that may stand nowhere in TypeScript, and what to write instead. */
export const BANNED: readonly { readonly tokens: readonly string[]; readonly instead: string }[] = [
  { tokens: ['enum', '*', '{'], instead: 'an `as const` table' },
  { tokens: ['export', 'default'], instead: 'a named export' },
  { tokens: ['export', '='], instead: 'a named export' },
  { tokens: ['namespace', '*', '{'], instead: 'a module' },
  { tokens: ['module', '*', '{'], instead: 'a module' },
  { tokens: ['as', 'any'], instead: '`unknown` and a check' },
  { tokens: ['<', 'any', '>'], instead: '`unknown` and a check' },
];

/** Comment directives that may stand nowhere. */
export const BANNED_DIRECTIVES: readonly string[] = ['@ts-ignore', '@ts-nocheck'];

export const LINE_LIMIT = 120;
export const FILE_LIMIT = 600;

/** Files of `src/` that may be longer than FILE_LIMIT lines, each with its reason. */
export const LONG_FILES: Readonly<Record<string, string>> = {};

/** Where execution starts; every file of `src/` is reachable from one of these. */
export const ROOTS: readonly string[] = [
  'src/index.ts',
  'src/cli/main.ts',
  // What a browser gets in place of the adapter files.
  'src/codec/platform.browser.ts',
  'src/io/compressed/platform.browser.ts',
  'src/tmem/platform.browser.ts',
  // Live migration, until it goes over these too.
  'src/io/unix.ts',
];

/** Files that are started as a worker or a child process by a name the import scan cannot see. */
export const WORKER_ENTRIES: readonly string[] = [
  'src/codec/unit-worker.ts',
  // A guest's own process, started by src/machine/v86/process.ts.
  'src/machine/v86/child/main.ts',
];

/** Text that names a machine or a package registry. A class of one letter keeps this file from naming it itself. */
export const FOREIGN_TO_THE_PROJECT: readonly RegExp[] = [
  /(?<![\w./-])\/[w]ork\//,
  /(?<![\w./-])\/[t]mp\/t\d/,
  /(?<![\w./-])\/[r]oot(?![\w-])/,
  /[r]egistry\.(?:npmjs|yarnpkg)\./,
  /[d]eb\.debian\.org/,
];

/**
 * Requirements by id, as the specifications and tests cite them. `built` and `refused` must be cited;
 * `refused` is foreseen by the format and refused by name. The rest is moved here once it is built.
 */
export const REQUIREMENTS: Readonly<Record<'built' | 'refused', readonly string[]>> = {
  built: [
    'S1',
    'S2',
    'S3',
    'S4',
    'S5',
    'S6',
    'S7',
    'S8',
    'S9',
    'S10',
    'S11',
    'S13',
    'S14',
    'T1',
    'T2',
    'T3',
    'T4',
    'T5',
    'T6',
    'T7',
    'M1',
    'M2',
    'M4',
    'M5',
    'M6',
    'H1',
    'H2',
    'H3',
    'H4',
    'H5',
    'H6',
    'H7',
    'L1',
    'L2',
    'L3',
    'N1',
    'N2',
    'N3',
    'N4',
  ],
  refused: ['S12'],
};
