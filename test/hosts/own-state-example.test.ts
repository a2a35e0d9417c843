/** examples/own-state as it is: two hosts with guests in v86, TCP between them, and the command over it. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runNotesHost } from '../../examples/own-state/host.ts';
import { Notes } from '../../examples/own-state/notes.ts';
import { HostClient, inspectImage, openFileSource, runHost } from '../../src/index.ts';
import { command } from '../support/host/daemon.ts';
import { until } from '../support/guest/machines.ts';

const directory = mkdtempSync(join(tmpdir(), 'tmig-own-'));
const end = new AbortController();
const ended: Promise<void>[] = [];
const socket = (name: string): string => join(directory, name);
const [here, there] = [new Notes(), new Notes()];
let port = 0;
let barePort = 0;

before(async () => {
  const ready = Promise.withResolvers<number>();
  const listening = Promise.withResolvers<number>();
  ended.push(runNotesHost(socket('here'), 0, here, end.signal, ready.resolve));
  ended.push(runNotesHost(socket('there'), 0, there, end.signal, listening.resolve));
  const bare = Promise.withResolvers<number>();
  const listen = { host: '127.0.0.1', port: 0 };
  ended.push(
    runHost({ socketPath: socket('bare'), tmemBytes: 0, listen }, end.signal, async (address) => {
      bare.resolve(address!.port);
    }),
  );
  await ready.promise;
  port = await listening.promise;
  barePort = await bare.promise;
});
after(async () => {
  end.abort();
  await Promise.all(ended);
  rmSync(directory, { recursive: true, force: true });
});

describe('notes beside a guest', () => {
  it('M3: go with it, and count on there; a host that lacks them refuses both', async () => {
    const client = new HostClient(socket('here'));
    const { uuid } = await client.create({
      name: 'one',
      memoryMiB: 16,
      boot: { kind: 'small', pages: 500, ticks: 1 },
      tmem: false,
    });
    const book = here.of(uuid)!;
    book.set('rack', 'roof');
    const counted = (notes: Notes): number => Number(notes.of(uuid)?.entries.get('count') ?? 0);
    await until('it counts', () => counted(here) > 3);

    const refused = await command(['migrate', 'one', `127.0.0.1:${barePort}`], socket('here')).ended;
    assert.equal(refused.status, 12, refused.err);
    assert.match(refused.err, /RECORD: .*org\.example\.notes/);
    assert.equal((await client.guest('one')).state, 'running');
    assert.equal(book.still, false);

    const first = counted(here);
    // Slow enough that it counts on while it moves; and that needs a longer pause.
    const slow = ['--bandwidth', '8M', '--downtime', '4000'];
    const moved = await command(['migrate', 'one', `127.0.0.1:${port}`, ...slow, '--json'], socket('here')).ended;
    assert.equal(moved.status, 0, moved.err + moved.out);
    const { ownBytes, rounds } = JSON.parse(moved.out) as { ownBytes: number; rounds: number };
    assert.ok(ownBytes > 0 && rounds >= 1);
    assert.equal(here.of(uuid), undefined);
    const last = Number(book.entries.get('count'));
    assert.ok(last > first, `it counted from ${first} to ${last} while it moved`);
    assert.ok(counted(there) >= last);
    assert.equal(there.of(uuid)!.entries.get('rack'), 'roof');
    await until('it counts there', () => counted(there) > last);
    assert.equal(Number(book.entries.get('count')), last, 'what is left here has no life of its own');
  });

  it('are in its image, where an inspect that never heard of them shows them', async () => {
    const path = join(directory, 'one.tmig');
    const saved = await command(['save', 'one', path, '--stop'], socket('there')).ended;
    assert.equal(saved.status, 0, saved.err);
    const shown = await command(['inspect', path, '--records'], socket('bare')).ended;
    assert.match(shown.out, /org\.example\.notes.*\n?.*rack/);
    const source = await openFileSource(path);
    const { records } = await inspectImage(source, { records: true });
    await source.close();
    const notes = records!.filter(({ name }) => name === 'org.example.notes');
    assert.ok(notes.some(({ fields }) => JSON.stringify(fields) === '{"key":"rack","value":"roof"}'));
    const refused = await command(['restore', path], socket('bare')).ended;
    assert.equal(refused.status, 11, refused.err);
    const restored = await command(['restore', path, '--json'], socket('here')).ended;
    assert.equal(restored.status, 0, restored.err);
    const { guest } = JSON.parse(restored.out) as { guest: { uuid: string } };
    assert.equal(here.of(guest.uuid)!.entries.get('rack'), 'roof');
  });
});

it('docs/layers.md says how many lines of code that is', () => {
  const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
  const code = (text: string): number =>
    text
      .replaceAll(/\/\*[^]*?\*\/|\/\/.*/g, '')
      .split('\n')
      .filter((line) => line.trim() !== '').length;
  const notes = read('examples/own-state/notes.ts');
  const between = (from: string, to: string): number => code(notes.slice(notes.indexOf(from), notes.indexOf(to)));
  const said = [
    ...read('docs/layers.md').matchAll(
      /(?:It has|with|rounds of a migration\s+are|a save|taking it from a stream) (\d+)/g,
    ),
  ];
  assert.deepEqual(
    said.map(([, number]) => Number(number)),
    [
      code(notes),
      code(read('examples/own-state/host.ts')),
      between('class LiveBook', 'function pinned'),
      between('function pinned', 'function bookLoader'),
      between('function bookLoader', 'function sizeOf'),
    ],
  );
});
