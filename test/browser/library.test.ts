/** The library in a real browser: Chromium opens images with what the package ships for browsers. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { chromium, type Browser, type Page } from 'playwright-core';
import { CODEC, MemorySink, StreamWriter } from '../../src/index.ts';
import type * as Library from '../../src/browser.ts';
import { EXPECTED, imageBytes } from '../support/xen/corpus.ts';

const ROOT = join(import.meta.dirname, '../..');
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));
const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { browser: Record<string, string> };
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const TYPES: Readonly<Record<string, string>> = { js: 'text/javascript', html: 'text/html' };

const base = mkdtempSync(join(tmpdir(), 'transmigrate-browser-'));
const images = new Map<string, Uint8Array>();
let server: Server;
let browser: Browser;
let page: Page;

/** What a bundler would do, by an import map: the adapters for browsers, and the packages that they import. */
function importMap(): string {
  const adapters = Object.entries(MANIFEST.browser).map(([from, to]) => [from.slice(1), to.slice(1)]);
  const packages = [
    ['@noble/hashes/sha2.js', '/node_modules/@noble/hashes/sha2.js'],
    ['fflate', '/node_modules/fflate/esm/browser.js'],
    ['fzstd', '/node_modules/fzstd/esm/index.mjs'],
  ];
  const imports: Record<string, string> = {};
  for (const [from, to] of [...adapters, ...packages]) imports[from] = to;
  return JSON.stringify({ imports });
}

/** @returns where a path of the server lies, or undefined. */
function placeOf(path: string): string | undefined {
  const inside = normalize(path).replace(/^\//, '');
  if (inside.startsWith('dist/')) return join(base, inside);
  return inside.startsWith('node_modules/') ? join(ROOT, inside) : undefined;
}

async function serve(): Promise<Server> {
  const made = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    const image = images.get(path);
    if (path === '/') {
      response.setHeader('content-type', 'text/html');
      response.end(`<!doctype html><script type="importmap">${importMap()}</script>`);
      return;
    }
    const place = placeOf(path);
    if (image === undefined && (place === undefined || !existsSync(place))) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader(
      'content-type',
      TYPES[path.split('.').at(-1)!.replace('mjs', 'js')] ?? 'application/octet-stream',
    );
    response.end(image ?? readFileSync(place!));
  });
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  return made;
}

async function ourImage(): Promise<Uint8Array> {
  const sink = new MemorySink();
  const preamble = {
    kind: 'save',
    byteOrder: 'little',
    wordBits: 64,
    domainType: 'hvm',
    machine: 62,
    pageSize: 4096,
    streamId: new Uint8Array(16).fill(7),
    indexed: true,
  } as const;
  const writer = await StreamWriter.open(sink, preamble, { name: 'in a browser' }, { codec: CODEC.zstd });
  const memory = new Uint8Array(64 * 4096);
  for (let i = 0; i < memory.length; i++) memory[i] = (i >> 12) + (i % 7);
  await writer.ram(0, 64, memory);
  await writer.checkpoint();
  await writer.end();
  return sink.bytes();
}

before(async () => {
  // A peer that is missing is a failure where everything is installed, and is said aloud elsewhere.
  if (CHROMIUM === undefined) {
    assert.notEqual(process.env['CI'], 'true', 'there is no chromium');
    return;
  }
  const build = spawnSync(
    process.execPath,
    [
      join(ROOT, 'node_modules/typescript/bin/tsc'),
      '-p',
      join(ROOT, 'tsconfig.build.json'),
      '--outDir',
      join(base, 'dist'),
    ],
    { encoding: 'utf8' },
  );
  assert.equal(build.status, 0, build.stdout);
  images.set('/ours.tmig', await ourImage());
  images.set('/pv.xl', imageBytes('xen-4.17-pv-tiny64-4m.xl'));
  images.set('/lost.xl.zst', readFileSync(join(ROOT, 'test/fixtures/xen/xen-4.17-pv-tiny32-4m-lostpage.xl.zst')));
  server = await serve();
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  page = await browser.newPage();
  page.on('pageerror', (error) => console.error(error));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});

after(async () => {
  await browser?.close();
  server?.close();
  rmSync(base, { recursive: true, force: true });
});

/** Opens an image in the browser, reads all of its memory there, and says what it found. */
async function opened(path: string): Promise<{ format: string; name: unknown; pages: number; digest: string }> {
  return page.evaluate(async (url) => {
    const library = '/dist/browser.js';
    const { openImage, blobSource } = (await import(library)) as typeof Library;
    const blob = await (await fetch(url)).blob();
    const image = await openImage(blobSource(blob, url), {
      // What is compressed as a whole is unpacked into a Blob of the browser's own.
      spool: async (source) => {
        const parts: Uint8Array<ArrayBuffer>[] = [];
        for await (const piece of source.pieces()) parts.push(piece.slice());
        return blobSource(new Blob(parts), url);
      },
    });
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const { firstPfn, pages, bytes } of image.memory.batches()) {
      for (let i = 0; i < pages; i++) {
        const pfn = new Uint8Array(8);
        new DataView(pfn.buffer).setBigUint64(0, BigInt(firstPfn + i), true);
        parts.push(pfn, bytes.slice(i * 4096, (i + 1) * 4096));
      }
    }
    // Subtle's digest takes all at once.
    const all = new Uint8Array(await new Blob(parts).arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', all));
    return {
      format: image.format,
      name: image.about['name'],
      pages: image.memory.pages,
      digest: [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join(''),
    };
  }, path);
}

describe('in Chromium', { skip: CHROMIUM === undefined ? 'SKIPPED: there is no chromium here' : false }, () => {
  it('opens an image of ours, with zstd', async () => {
    const { format, name, pages } = await opened('/ours.tmig');
    assert.deepEqual([format, name, pages], ['tmig', 'in a browser', 64]);
  });

  for (const [path, fixture] of [
    ['/pv.xl', 'xen-4.17-pv-tiny64-4m.xl'],
    ['/lost.xl.zst', 'xen-4.17-pv-tiny32-4m-lostpage.xl'],
  ] as const) {
    it(`reads the memory of ${path} as it was`, async () => {
      const found = await opened(path);
      const { memory } = EXPECTED[fixture];
      assert.equal(found.format, 'xl');
      assert.equal(found.pages, memory!.final_pages);
      assert.equal(found.digest, memory!.final_memory_sha256);
    });
  }
});
