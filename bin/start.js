'use strict';

// Only `transmigrate` beside this file loads it, on a Node that is new enough. The command runs when its main file
// is imported: TypeScript in a checkout, built JavaScript in the package (Node refuses TypeScript in node_modules).

const { existsSync } = require('node:fs');
const { enableCompileCache } = require('node:module');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { setFlagsFromString } = require('node:v8');

// Pages are not on the heap, and what is there is small and soon garbage. With its usual factor V8 takes 100 MiB for
// that in a long conversion, and is slower for it.
setFlagsFromString('--semi-space-growth-factor=1');

const EXIT_UNSUPPORTED = 11;

const root = path.dirname(__dirname);
const entry = [path.join(root, 'src/cli/main.ts'), path.join(root, 'dist/cli/main.js')].find((file) =>
  existsSync(file),
);

/** @param {string} message */
function complain(message) {
  console.error(message);
  process.exitCode = EXIT_UNSUPPORTED;
}

if (entry === undefined) {
  complain(`This copy of transmigrate in ${root} is not whole: it has no src/cli and no dist/cli. Install it again.`);
} else {
  // A checkout's TypeScript is turned into JavaScript by every process, which takes longer than most commands: what
  // came of it is kept in the checkout, in a folder that git ignores. The package needs no such place.
  if (entry.endsWith('.ts')) enableCompileCache(path.join(root, '.cache', 'compile'));
  import(pathToFileURL(entry).href).catch((/** @type {unknown} */ error) => {
    const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
    if (!missing || existsSync(path.join(root, 'node_modules')) || !entry.endsWith('.ts')) throw error;
    complain(`${error.message}\nThe packages that transmigrate needs are not installed: run \`npm ci\` in ${root}.`);
  });
}
