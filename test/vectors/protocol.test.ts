/** Conversations of the vectors: every message, the hash of the negotiation, and what our destination answers. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { toHex } from '../../src/bytes/hex.ts';
import { TransmigrateError } from '../../src/errors.ts';
import { agree, AGREED, NO_AGREEMENT } from '../../src/migrate/negotiate/agreement.ts';
import { kindOfName, MESSAGE_NAMES } from '../../src/migrate/protocol/dictionary.ts';
import { decodeHelloHead, decodeMessage, type Message, type MessageKind } from '../../src/migrate/protocol/messages.ts';
import { newReceiver, stepReceiver, type DestinationSessionEvent } from '../../src/migrate/session/destination.ts';
import { StreamDecoder } from '../../src/stream/decoder.ts';
import { DESTINATION_IDENTITY, helloOf, HOST, PROBE, SECRET } from '../support/migration.ts';

interface Conversation {
  readonly peer: string;
  readonly order: readonly string[];
  readonly agreement: string;
  readonly readable?: Readonly<Record<string, string>>;
}

const directory = new URL('../../vectors/v1/', import.meta.url);
const names = readdirSync(directory).filter((name) => /^protocol-.*-source\.json$/.test(name));

type Said =
  | { readonly kind: MessageKind; readonly body: Uint8Array }
  | { readonly seal: number; readonly chain: string };

/** What a stream holds of messages and seals, in order, as far as it goes. */
function read(name: string): Said[] {
  const decoder = new StreamDecoder({ knows: MESSAGE_NAMES });
  const said: Said[] = [];
  decoder.feed(new Uint8Array(readFileSync(new URL(`${name}.tmig`, directory))));
  for (let next = decoder.read(); next !== undefined; next = decoder.read()) {
    const { record } = next;
    if (record.kind === 'SEAL') said.push({ seal: record.number, chain: toHex(record.chain) });
    if (record.kind !== 'LOCAL') continue;
    said.push({ kind: kindOfName(record.dictionary.name)!, body: record.body.slice() });
  }
  return said;
}

for (const file of names) {
  const name = file.slice(0, -'.json'.length);
  const { conversation } = JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as { conversation: Conversation };
  const { order, agreement, readable = {}, peer } = conversation;

  describe(name, () => {
    const source = read(name);
    const destination = read(peer);

    test('each message is read, or is wrong as expected, and the hash is that of the vector', () => {
      const queues = {
        '>': source.filter((said) => 'kind' in said),
        '<': destination.filter((said) => 'kind' in said),
      };
      let hash = NO_AGREEMENT;
      for (const entry of order) {
        const { kind, body } = queues[entry[0] as '>' | '<'].shift()!;
        assert.equal(`${entry[0]} ${kind}`, entry);
        const code = readable[entry];
        if (code === undefined) assert.equal(decodeMessage(kind, body).kind, kind);
        else
          assert.throws(
            () => decodeMessage(kind, body),
            (e) => e instanceof TransmigrateError && e.code === code,
          );
        if (AGREED.has(kind)) hash = agree(hash, kind, body);
      }
      assert.deepEqual([queues['>'], queues['<']], [[], []], 'nothing else was said');
      assert.equal(hash, agreement);
    });

    const confirm = destination.find((said) => 'kind' in said && said.kind === 'CONFIRM');
    if (confirm !== undefined && 'kind' in confirm) {
      test('what is confirmed is the chain at the seal that FINAL names, and the hash (H3)', () => {
        const at = source.findIndex((said) => 'kind' in said && said.kind === 'FINAL');
        const said = decodeMessage('CONFIRM', confirm.body);
        const seal = source[at - 1];
        const final = source[at];
        assert.ok('seal' in seal && 'kind' in final);
        assert.deepEqual(decodeMessage('FINAL', final.body).channels, [seal]);
        assert.deepEqual([said.chains, said.agreement], [[seal.chain], agreement]);
      });
    }

    test('our destination gives the answers of the vector', () => {
      const hello = { ...helloOf(DESTINATION_IDENTITY), codecs: ['raw', 'zstd'] };
      let state = newReceiver('0123456789abcdef0123456789abcdef', hello);
      const answers: string[] = [];
      const refuses = order.includes('< REFUSE');
      const host = refuses ? { ...HOST, freeMemoryBytes: 0, names: ['vector'], codecs: [] } : HOST;
      const tell = (event: DestinationSessionEvent): void => {
        const step = stepReceiver(state, event);
        ({ state } = step);
        for (const effect of step.effects) {
          if (effect.kind === 'send') {
            answers.push(`< ${effect.message.kind}`);
            if (effect.message.kind === 'REFUSE') {
              const wanted = destination.find((said) => 'kind' in said && said.kind === 'REFUSE') as {
                body: Uint8Array;
              };
              const codes = decodeMessage('REFUSE', wanted.body).reasons.map(({ code }) => code);
              assert.deepEqual(effect.message.reasons.map(({ code }) => code).toSorted(), codes.toSorted());
            }
          } else if (effect.kind === 'probe') {
            const probe = { ...PROBE, fingerprint: 'f'.repeat(64) };
            const measured = { deviceLoadMs: null, fsyncMs: 2.5 };
            tell({ kind: 'probed', nowMs: 0, host, probe, measured, secret: SECRET });
          } else if (effect.kind === 'load') tell({ kind: 'loaded', nowMs: 0 });
          else if (effect.kind === 'journal') tell({ kind: 'written', end: 'durable', nowMs: 0 });
        }
      };
      if (order.includes('> RESUME')) {
        // The connection before this one, as its own vector has it.
        const first = read('protocol-cut-1-source');
        converse(first, tell);
        tell({ kind: 'disconnected', nowMs: 0 });
        answers.length = 0;
      }
      converse(source, tell, readable);
      const wanted = order.filter((entry) => entry.startsWith('<'));
      assert.deepEqual(answers, wanted);
    });
  });
}

/** Gives a destination what a source said, messages and seals. */
function converse(
  source: readonly Said[],
  tell: (event: DestinationSessionEvent) => void,
  readable: Readonly<Record<string, string>> = {},
): void {
  const nowMs = 0;
  tell({ kind: 'connected', nowMs });
  let came = false;
  for (const said of source) {
    if (!('kind' in said)) {
      if (!came) tell({ kind: 'stateCame', chains: ['0'.repeat(64)], nowMs });
      came = true;
      tell({ kind: 'applied', channel: 0, seal: said.seal, chain: said.chain, nowMs });
      continue;
    }
    const { kind, body } = said;
    const wrong = readable[`> ${kind}`] !== undefined;
    if (kind === 'HELLO') {
      const head = decodeHelloHead(body);
      tell({ kind: 'hello', head, message: wrong ? null : decodeMessage('HELLO', body), body, nowMs });
    } else if (!wrong) {
      const message = decodeMessage(kind, body) as Exclude<Message, { kind: 'HELLO' }>;
      tell({ kind: 'message', message, body, nowMs });
    }
  }
}
