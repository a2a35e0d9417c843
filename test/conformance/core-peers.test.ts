/**
 * Cores that are written from open images against the programs that read cores: gdb, and readelf of binutils. On
 * Debian: apt-get install gdb binutils. A peer that is not installed is skipped, with the reason.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import type { ByteSink } from '../../src/bytes/endpoints.ts';
import type { OpenedImage } from '../../src/image/open/opened-image.ts';
import { writeElfCore } from '../../src/image/writers/elf-core.ts';
import { writeXenCore } from '../../src/image/writers/xen-core.ts';
import { MemorySink } from '../../src/io/memory.ts';
import type { Work } from '../../src/io/work.ts';
import { opened, toOurs } from '../support/conversion.ts';
import { fixture } from '../support/corpus.ts';

function missing(command: string): string | undefined {
  const found = spawnSync(command, ['--version']).status === 0;
  return found ? undefined : `the command ${command} is not installed`;
}

/** Writes a core into a file of its own, and has it looked at. */
async function withCore(
  writer: (image: OpenedImage, sink: ByteSink, work: Work) => Promise<void>,
  image: OpenedImage,
  look: (path: string) => void,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'transmigrate-core-'));
  try {
    const sink = new MemorySink();
    await writer(image, sink, {});
    const path = join(folder, 'core');
    writeFileSync(path, sink.bytes());
    look(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function output(command: string, args: readonly string[]): { readonly out: string; readonly err: string } {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr}`);
  return { out: stdout, err: stderr };
}

/** Images whose registers and code the corpus's manifests have, as gdb on the running machine said. */
const GUESTS = [
  { name: 'elf/tiny-x86_64-pc.core.elf', format: 'elf-core', pc: '0x100179', sp: '0x10193c', architecture: 'i386' },
  { name: 'v86/v86-0.5.462-tiny16.v86state', format: 'v86', pc: '0x100179', sp: '0x10193c', architecture: 'i386' },
  { name: 'elf/xen-4.17-hvm-seabios-16m.core', format: 'xen-core', pc: '0xb7b9', sp: '0x6f94', architecture: 'x86-64' },
] as const;

for (const { name, format, pc, sp, architecture } of GUESTS) {
  test(`gdb reads registers and memory of a core made from ${name}`, { skip: missing('gdb') }, async () => {
    const first = fixture(name);
    for (const image of [await opened(first), await opened(await toOurs(format, first, false))]) {
      await withCore(writeElfCore, image, (path) => {
        const show = [
          'show architecture',
          'print/x $pc',
          'print/x $sp',
          'x/8xb 0x100179',
          'x/2xb 0xa00000',
          'info threads',
        ];
        const args = ['-nx', '-batch', '-ex', `core-file ${path}`, ...show.flatMap((command) => ['-ex', command])];
        const { out } = output('gdb', args);
        assert.match(out, new RegExp(`"${architecture === 'i386' ? 'i386' : 'i386:x86-64'}"`));
        assert.ok(out.includes(`$1 = ${pc}`), out);
        assert.ok(out.includes(`$2 = ${sp}`), out);
        // The guest's loop, in the two that run it; pages of zeros are in memory alone, and can be read.
        if (architecture === 'i386')
          assert.match(out, /0x100179:\s+0xe9\s+0x5c\s+0xff\s+0xff\s+0xff\s+0xbe\s+0xa6\s+0x02/);
        assert.match(out, /0xa00000:\s+0x00\s+0x00/);
        assert.match(out, /Thread|LWP|\* 1/);
      });
    }
  });

  test(`readelf has nothing to say against cores made from ${name}`, { skip: missing('readelf') }, async () => {
    const image = await opened(fixture(name));
    await withCore(writeElfCore, image, (path) => {
      const { out, err } = output('readelf', ['-hlnW', path]);
      assert.equal(err, '');
      assert.match(out, /Type:\s+CORE/);
      assert.match(out, /CORE\s+0x[0-9a-f]+\s+NT_PRSTATUS/);
      assert.match(out, /LOAD\s+0x0*[1-9a-f][0-9a-f]*\s+0x0+\s+0x0+/);
    });
    await withCore(writeXenCore, image, (path) => {
      const { out, err } = output('readelf', ['-hSW', path]);
      assert.equal(err, '');
      assert.match(out, /\.xen_prstatus\s+PROGBITS/);
      assert.match(out, /\.xen_pfn\s+PROGBITS/);
    });
  });
}
