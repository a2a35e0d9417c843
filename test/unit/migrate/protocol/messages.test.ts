import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { TransmigrateError, type ErrorCode } from '../../../../src/errors.ts';
import { kindOfName, MESSAGE_DICTIONARY, MESSAGE_NAMES } from '../../../../src/migrate/protocol/dictionary.ts';
import { PROTOCOL_LIMITS } from '../../../../src/migrate/protocol/limits.ts';
import {
  decodeHelloHead,
  decodeMessage,
  encodeMessage,
  MESSAGES,
  type Message,
  type MessageKind,
} from '../../../../src/migrate/protocol/messages.ts';
import { REASONS } from '../../../../src/migrate/negotiate/reasons.ts';
import { StreamDecoder } from '../../../../src/stream/decoder.ts';
import { StreamWriter } from '../../../../src/stream/writer.ts';
import { helloOf, OFFER, SECRET, SOURCE_IDENTITY } from '../../../support/migration.ts';

const spec = readFileSync(new URL('../../../../spec/protocol.md', import.meta.url), 'utf8');
const ID = '1'.repeat(32);
const HASH = 'c'.repeat(64);
const channels = [{ seal: 3, chain: HASH }];

/** One of each. */
const EXAMPLES: readonly Message[] = [
  { kind: 'HELLO', id: ID, purpose: 'migrate', leg: 1, ...helloOf(SOURCE_IDENTITY) },
  OFFER,
  {
    kind: 'ACCEPT',
    epoch: 7,
    codec: 'zstd',
    features: [],
    channels: 1,
    secret: SECRET,
    reserved: { memoryBytes: 1, tmemBytes: 0, tmemSlots: 0, name: 'one' },
    measured: { deviceLoadMs: 4.5, fsyncMs: null },
    notes: ['a note'],
  },
  { kind: 'REFUSE', reasons: [{ code: 'MEMORY', text: REASONS.MEMORY, needed: 2, found: 1 }] },
  { kind: 'RESUME', epoch: 7, secret: SECRET },
  { kind: 'HOLDS', epoch: 7, leg: 1, channels, agreement: HASH },
  { kind: 'FINAL', epoch: 7, channels },
  { kind: 'FAILED', epoch: 7, error: { code: 'CANCELLED', message: 'The migration was cancelled' } },
  { kind: 'CONFIRM', id: ID, epoch: 7, chains: [HASH], agreement: HASH },
  { kind: 'GIVEN', id: ID, epoch: 7 },
  { kind: 'KEPT', id: ID, epoch: 7 },
  { kind: 'DONE', id: ID, epoch: 7 },
  { kind: 'RUNNING', id: ID, epoch: 7, gone: false },
  { kind: 'TAKEN', id: ID, epoch: 8, gone: false },
  { kind: 'ABANDONED', id: ID, epoch: 7 },
  { kind: 'YIELDED', id: ID, epoch: 8 },
  { kind: 'OWNER', id: ID, machine: null },
  { kind: 'OWNERSHIP', id: ID, epoch: 7, owner: 'unknown', gone: false, state: 'given' },
];

function throws(code: ErrorCode, what: () => unknown): void {
  assert.throws(what, (error) => error instanceof TransmigrateError && error.code === code);
}

function bodyOf(text: string): Uint8Array {
  const json = new TextEncoder().encode(text);
  const body = new Uint8Array(2 + json.byteLength);
  new DataView(body.buffer).setUint16(0, json.byteLength, true);
  body.set(json, 2);
  return body;
}

describe('messages', () => {
  test('there is an example of each, and each comes back as it was', () => {
    assert.deepEqual(
      EXAMPLES.map(({ kind }) => kind),
      Object.keys(MESSAGES),
    );
    for (const message of EXAMPLES) assert.deepEqual(decodeMessage(message.kind, encodeMessage(message)), message);
  });

  test('the specification names each, with its number, and every reason', () => {
    for (const kind of Object.keys(MESSAGES)) assert.match(spec, new RegExp(String.raw`\b${kind}\b`));
    for (const kind of ['HELLO', 'OFFER', 'RESUME', 'HOLDS', 'FINAL', 'FAILED', 'CONFIRM'] as const) {
      const number = MESSAGES[kind].number.toString(16).toUpperCase();
      assert.match(spec, new RegExp(String.raw`^\| ${kind} \| 0x${number} `, 'm'));
    }
    for (const code of Object.keys(REASONS)) assert.match(spec, new RegExp(`\`${code}\``));
  });

  test('unknown keys are let be, everything else is checked', () => {
    assert.deepEqual(decodeMessage('RESUME', bodyOf(`{"epoch":7,"secret":"${SECRET}","more":[1]}`)), {
      kind: 'RESUME',
      epoch: 7,
      secret: SECRET,
    });
    throws('FIELD_VALUE', () => decodeMessage('RESUME', bodyOf(`{"epoch":0,"secret":"${SECRET}"}`)));
    throws('FIELD_VALUE', () => decodeMessage('RESUME', bodyOf('{"epoch":7}')));
    throws('FIELD_VALUE', () => decodeMessage('GIVEN', bodyOf('{"id":"../../x","epoch":1}')));
    throws('JSON_INVALID', () => decodeMessage('RESUME', bodyOf('[]')));
    throws('LIMIT_EXCEEDED', () => decodeMessage('REFUSE', bodyOf('{"reasons":[[[[[[[[]]]]]]]]}')));
    throws('LENGTH_MISMATCH', () => decodeMessage('RESUME', bodyOf('{}').subarray(0, 3)));
    throws('LENGTH_MISMATCH', () => decodeMessage('RESUME', new Uint8Array(1)));
  });

  test('nothing longer is written than is taken', () => {
    const text = 'x'.repeat(PROTOCOL_LIMITS.textCharacters);
    const reasons = Array.from({ length: 80 }, () => ({ code: 'MEMORY', text }));
    assert.throws(() => encodeMessage({ kind: 'REFUSE', reasons }), RangeError);
  });

  test('of a HELLO that this version can’t read the head can be (N3)', () => {
    const future = bodyOf(
      JSON.stringify({ protocol: { least: 3, most: 4 }, host: helloOf(SOURCE_IDENTITY).host, other: true }),
    );
    assert.deepEqual(decodeHelloHead(future).protocol, { least: 3, most: 4 });
    throws('FIELD_VALUE', () => decodeMessage('HELLO', future));
  });
});

const PREAMBLE = {
  kind: 'migration',
  byteOrder: 'little',
  wordBits: 32,
  domainType: 'emulated',
  machine: 3,
  pageSize: 4096,
  streamId: new Uint8Array(16).fill(5),
} as const;

/** Writes a channel into memory, and reads it again. @returns records in short. */
async function conversation(
  direction: 'forward' | 'back',
  write: (writer: StreamWriter, say: (kind: MessageKind) => Promise<void>) => Promise<void>,
  knows?: ReadonlySet<string>,
): Promise<string[]> {
  const pieces: Uint8Array[] = [];
  const sink = { write: (bytes: Uint8Array) => Promise.resolve(void pieces.push(bytes.slice())) };
  const writer = await StreamWriter.open(sink, { ...PREAMBLE, direction }, {});
  for (const entry of MESSAGE_DICTIONARY) await writer.dictionary(entry);
  await write(writer, (kind) => {
    const message = EXAMPLES.find((each) => each.kind === kind)!;
    return writer.local(MESSAGES[kind].number, true, encodeMessage(message));
  });
  const decoder = new StreamDecoder({ ...(knows !== undefined && { knows }) });
  const found: string[] = [];
  const take = (): void => {
    for (let next = decoder.read(); next !== undefined; next = decoder.read()) {
      const { record } = next;
      if (record.kind === 'DICTIONARY' || record.kind === 'ABOUT') continue;
      if (record.kind !== 'LOCAL') found.push(record.kind);
      else {
        const kind = kindOfName(record.dictionary.name)!;
        found.push(decodeMessage(kind, record.body).kind);
      }
    }
  };
  for (const piece of pieces) {
    decoder.feed(piece);
    take();
  }
  decoder.finish();
  take();
  return found;
}

describe('a conversation is a stream', () => {
  const source = async (writer: StreamWriter, say: (kind: MessageKind) => Promise<void>): Promise<void> => {
    await say('HELLO');
    await say('OFFER');
    await writer.ram(0, 1, new Uint8Array(4096).fill(1));
    await writer.seal();
    await writer.round();
    await writer.checkpoint();
    await writer.seal();
    await say('FINAL');
    await say('GIVEN');
    await say('DONE');
    await writer.end();
  };

  test('from the source, with messages behind the checkpoint', async () => {
    const records = 'HELLO OFFER RAM SEAL ROUND SEAL CHECKPOINT SEAL FINAL GIVEN DONE SEAL END';
    assert.deepEqual(await conversation('forward', source, MESSAGE_NAMES), records.split(' '));
  });

  test('which a reader that knows no message reads all the same', async () => {
    const found = await conversation('forward', source);
    assert.deepEqual(found.slice(0, 3), ['UNKNOWN', 'UNKNOWN', 'RAM']);
    assert.equal(found.at(-1), 'END');
  });

  test('from the destination, in direction back', async () => {
    const found = await conversation(
      'back',
      async (writer, say) => {
        await say('HELLO');
        await say('ACCEPT');
        await writer.ack(0, 1, new Uint8Array(32));
        await say('CONFIRM');
        await say('RUNNING');
        await writer.end();
      },
      MESSAGE_NAMES,
    );
    assert.deepEqual(found, ['HELLO', 'ACCEPT', 'ACK', 'CONFIRM', 'RUNNING', 'SEAL', 'END']);
  });
});
