/** Questions over a connection of their own, without a migration: would it be taken (4.4), and who owns it (7.6). */
import { randomBytes } from 'node:crypto';
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { Connection } from '../../io/connection.ts';
import type { PreambleChoice } from '../../stream/preamble.ts';
import type { Hello } from '../negotiate/hello.ts';
import type { MessageOf } from '../protocol/messages.ts';
import { beginCheck, stepCheck, type CheckEffect, type CheckEvent, type CheckSession } from '../session/check.ts';
import type { Failure } from '../session/effects.ts';
import { PATIENCE } from '../session/source-state.ts';
import { listen, Speaker } from './conversation.ts';
import { failureOf } from './source-runner.ts';

/** ELF e_machine of a 32-bit x86. */
const EM_386 = 3;

/** The preamble of a question about a machine that need not be here (2.2). */
function preamble(): PreambleChoice {
  return {
    kind: 'migration',
    byteOrder: 'little',
    wordBits: 32,
    domainType: 'unknown',
    machine: EM_386,
    pageSize: 4096,
    streamId: new Uint8Array(randomBytes(16)),
  };
}

/** What a host answers to an offer that is only a question. The connection is closed. */
export async function askCheck(
  connection: Connection,
  request: Pick<CheckSession, 'id' | 'hello' | 'offer'>,
  about: JsonObject,
): Promise<Pick<CheckSession, 'accepted' | 'reasons'> & { readonly failure: Failure | null }> {
  connection.silenceMs = PATIENCE.answerMs;
  let { state } = beginCheck(request, performance.now());
  let failure: Failure | null = null;
  try {
    const speaker = await Speaker.open(connection, preamble(), about);
    const perform = async (effects: readonly CheckEffect[]): Promise<void> => {
      for (const effect of effects) {
        if (effect.kind === 'send') await speaker.say(effect.message);
        if (effect.kind === 'ended') failure = effect.failure;
      }
    };
    const tell = async (event: CheckEvent): Promise<void> => {
      const step = stepCheck(state, event);
      state = step.state;
      await perform(step.effects);
    };
    await tell({ kind: 'connected' });
    for await (const heard of listen(connection.pieces())) {
      if (heard.kind === 'hello' || heard.kind === 'message') await tell(heard);
      if (state.phase === 'ended') break;
    }
    await tell({ kind: 'disconnected' });
  } catch (cause) {
    if (state.phase !== 'ended') failure = failureOf(cause);
  } finally {
    connection.reset();
  }
  return { accepted: state.accepted, reasons: state.reasons, failure };
}

/** What a host says of the owner of a migration's machine. @throws CONNECTION_LOST, and errors of the stream */
export async function askOwner(
  connection: Connection,
  id: string,
  machine: string | null,
  hello: Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'>,
  about: JsonObject,
): Promise<MessageOf<'OWNERSHIP'> | null> {
  connection.silenceMs = PATIENCE.answerMs;
  try {
    const speaker = await Speaker.open(connection, preamble(), about);
    await speaker.say({ kind: 'HELLO', id, purpose: 'owner', leg: 1, ...hello });
    await speaker.say({ kind: 'OWNER', id, machine });
    for await (const heard of listen(connection.pieces())) {
      if (heard.kind === 'message' && heard.message.kind === 'OWNERSHIP') return heard.message;
    }
    return null;
  } finally {
    connection.reset();
  }
}
