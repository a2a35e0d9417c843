/** State of one's own travels with a machine (M3), with nothing but what the package exports. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  bytesOf,
  MemorySink,
  singleOutput,
  StreamDecoder,
  StreamWriter,
  takeTurns,
  type DecodedRecord,
  type Ledger,
  type LiveOutput,
  type LiveState,
  type Lost,
  type StateLeft,
  type StateLoader,
  type StateOffer,
} from '../../../src/index.ts';
import { walk } from '../../support/migrate/walk.ts';

const NUMBER = 0x4000;

/** Counters by name that somebody changes while they travel: each crosses when it changed since it was sent. */
class Counters implements LiveState {
  readonly name = 'org.example.counters';
  readonly records = [NUMBER];
  readonly values = new Map<string, number>();
  /** Names that changed, and what was sent in which step since the last acknowledgement. */
  readonly #changed = new Set<string>();
  #sent: { name: string; step: number }[] = [];
  #step = 0;
  #bound = false;
  following = false;

  count(name: string): void {
    this.values.set(name, (this.values.get(name) ?? 0) + 1);
    this.#changed.add(name);
  }

  offer(): StateOffer {
    const bytes = this.left().bytes;
    return { name: this.name, mandatory: true, carriedBytes: bytes, unpackedBytes: bytes, needs: {} };
  }

  begin(): Promise<void> {
    this.following = true;
    for (const name of this.values.keys()) this.#changed.add(name);
    return Promise.resolve();
  }

  async *round({ channels }: LiveOutput): AsyncGenerator<number, void> {
    const [{ writer, ledger }] = channels;
    if (!this.#bound) await writer.dictionary({ record: NUMBER, name: this.name, version: 1, text: '', schema: null });
    this.#bound = true;
    const waiting = Array.from(this.#changed);
    for (const name of waiting) {
      this.#changed.delete(name);
      this.#sent.push({ name, step: ++this.#step });
      ledger?.step(this.name, this.#step);
      const body = new TextEncoder().encode(JSON.stringify([name, this.values.get(name)]));
      await writer.local(NUMBER, false, body);
      yield body.byteLength;
    }
  }

  left(): StateLeft {
    return { bytes: 20 * this.#changed.size, pages: 0, invalidations: 0 };
  }

  final(output: LiveOutput): AsyncGenerator<number, void> {
    return this.round(output);
  }

  acknowledged(_channel: number, step: number): void {
    this.#sent = this.#sent.filter((each) => each.step > step);
  }

  resend({ steps: [step] }: Lost): Promise<void> {
    this.acknowledged(0, step);
    for (const { name } of this.#sent.splice(0)) this.#changed.add(name);
    this.#bound = false;
    return Promise.resolve();
  }

  end(): Promise<void> {
    this.following = false;
    return Promise.resolve();
  }
}

class CountersLoader implements StateLoader {
  readonly name = 'org.example.counters';
  readonly values = new Map<string, number>();

  load({ record, body }: DecodedRecord): Promise<void> {
    if (record.kind === 'LOCAL') {
      const [name, value] = JSON.parse(new TextDecoder().decode(body)) as [string, number];
      this.values.set(name, value);
    }
    return Promise.resolve();
  }

  complete(): Promise<void> {
    return Promise.resolve();
  }
}

async function open(ledger?: Ledger): Promise<{ output: LiveOutput; writer: StreamWriter; sink: MemorySink }> {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'migration',
      byteOrder: 'little',
      wordBits: 32,
      domainType: 'emulated',
      machine: 3,
      pageSize: 4096,
      streamId: new Uint8Array(16).fill(3),
      indexed: false,
    },
    { name: 'own' },
  );
  return { output: singleOutput(writer, ledger), writer, sink };
}

async function arrive(bytes: Uint8Array, loader: StateLoader, seals: number): Promise<void> {
  const decoder = new StreamDecoder({ knows: new Set([loader.name]) });
  decoder.feed(bytes);
  for (let passed = 0, next = decoder.read(); next !== undefined && passed < seals; next = decoder.read()) {
    await loader.load(next);
    if (next.record.kind === 'SEAL') passed++;
  }
}

it('goes along in rounds, is counted, and comes again after a cut', async () => {
  const counters = new Counters();
  for (const name of ['a', 'b', 'c', 'd']) counters.count(name);
  const loader = new CountersLoader();
  let held = 0;
  let newest = 0;
  const first = await open({ pages: () => undefined, step: (_state, step) => (newest = step) });
  await counters.begin();
  let steps = 0;
  for await (const bytes of counters.round(first.output)) {
    assert.ok(bytes > 0);
    if (++steps !== 2) continue;
    await first.writer.seal();
    held = newest;
    counters.count('a');
  }
  assert.equal(held, 2);
  assert.equal(bytesOf(counters, first.output), 4 * 32);
  // Only what is before the seal arrives.
  await first.writer.seal();
  await arrive(first.sink.bytes(), loader, 1);
  assert.deepEqual([...loader.values], Object.entries({ a: 1, b: 1 }));

  await counters.resend({ pages: new Uint32Array(0), steps: [held] });
  const { output, writer, sink } = await open();
  const taker = { name: counters.name, steps: counters.final(output) };
  assert.equal(await walk(takeTurns([taker])), 3, 'a changed, c and d were lost');
  await writer.checkpoint();
  await writer.end();
  await arrive(sink.bytes(), loader, Number.POSITIVE_INFINITY);
  assert.deepEqual(Object.fromEntries(loader.values), Object.fromEntries(counters.values));
  await counters.end();
  assert.equal(counters.following, false);
});
