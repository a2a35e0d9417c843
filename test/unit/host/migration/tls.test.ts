/** Migrations over TLS: hosts that know each other by their keys (N4). */
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeKeyFiles } from '../../../../src/host/key-files.ts';
import { readTls } from '../../../../src/host/tls-files.ts';
import type { TlsOptions } from '../../../../src/io/tls.ts';
import { choiceOf, code, scratch } from '../../../support/host/fake-host.ts';
import { journaledHost, to } from '../../../support/host/two-hosts.ts';

const directory = scratch(after);
const at = (name: string): string => join(directory.path, name);

async function keys(name: string): Promise<{ certificate: string; key: string }> {
  const files = { certificate: at(`${name}.crt`), key: at(`${name}.key`) };
  await makeKeyFiles({ ...files, names: ['127.0.0.1'], days: 2 });
  return files;
}

test('hosts that believe each other move a guest, and one that is a stranger does not', async () => {
  const [a, b, stranger] = [await keys('a'), await keys('b'), await keys('c')];
  assert.equal(statSync(a.key).mode & 0o777, 0o600);
  await assert.rejects(keys('a'), code('WRITE_FAILED'));
  const tls = (mine: { certificate: string; key: string }, theirs: string): Promise<TlsOptions> =>
    readTls({ ...mine, authorities: theirs });
  const source = await journaledHost(at('source'), { tls: await tls(a, b.certificate) });
  const destination = await journaledHost(at('destination'), { tls: await tls(b, a.certificate) });
  const other = await journaledHost(at('other'), { tls: await tls(stranger, b.certificate) });
  const plain = await journaledHost(at('plain'));
  try {
    for (const host of [source, other, plain]) await host.host.create(choiceOf({ name: 'one' }));
    for (const host of [other, plain]) {
      const error = await host.host.migrations.migrate('one', to(destination)).catch((thrown: unknown) => thrown);
      assert.equal((error as { code: string }).code, 'MIGRATION_LOST');
      assert.equal(host.driver.last.status, 'running');
    }
    const { memory } = source.driver.last;
    await source.host.migrations.migrate('one', to(destination));
    assert.deepEqual(destination.driver.last.memory, memory);
    assert.match(readFileSync(join(source.directory, 'journal'), 'latin1'), /"transport":"tls"/);
  } finally {
    for (const host of [source, destination, other, plain]) await host.end();
  }
});
