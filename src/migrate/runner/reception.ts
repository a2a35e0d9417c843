/** Takes connections of sources: by their HELLO each is a migration's, or somebody who only wants to know (7.6). */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import { classOfCode } from '../../errors.ts';
import type { Connection } from '../../io/connection.ts';
import type { Preamble } from '../../stream/preamble.ts';
import type { Hello } from '../negotiate/hello.ts';
import type { MessageOf } from '../protocol/messages.ts';
import { answerTo, listen, Speaker } from './conversation.ts';
import { PATIENCE } from '../session/source-state.ts';
import type { DestinationRunner, Line } from './destination-runner.ts';
import { Recording, type RecordFile } from './recording.ts';
import { failureOf } from './source-runner.ts';

export interface ReceptionParts {
  readonly hello: Omit<Hello, 'kind' | 'id' | 'leg' | 'purpose'>;
  readonly about: JsonObject;
  /** The migration of this id: one that is known, or a new one. */
  runnerOf(id: string, purpose: Hello['purpose'] | null): DestinationRunner;
  /** Who owns the machine of a migration, as far as is known here. */
  ownerOf(id: string): MessageOf<'OWNERSHIP'>;
  /** A file for what comes over this connection, when that is to be kept. */
  readonly record?: (() => Promise<RecordFile>) | undefined;
}

/** Of a HELLO that can't be read, and so names no migration. */
const NO_ID = '0'.repeat(32);

/** Listens to a connection until its end. Never rejects: what is wrong with it is told to who it is for. */
export async function receive(connection: Connection, parts: ReceptionParts): Promise<void> {
  const open = Promise.withResolvers<Speaker>();
  open.promise.catch(() => undefined);
  const line: Line = { connection, speaker: open.promise };
  const begun = (preamble: Preamble): void => {
    Speaker.open(connection, answerTo(preamble), parts.about).then(open.resolve, open.reject);
  };
  let runner: DestinationRunner | null = null;
  let asked: string | null = null;
  const recording = parts.record === undefined ? null : new Recording(parts.record);
  // Read anew each time: what runs it changes while it listens.
  const came = (): boolean => runner?.session.legCame === true;
  const pieces = recording?.pieces(connection.pieces(), came) ?? connection.pieces();
  let why = 'the other side hung up';
  // Who says nothing holds no place for long; a source that has said who it is may be as slow as it likes.
  connection.silenceMs = PATIENCE.answerMs;
  try {
    for await (const heard of listen(pieces, begun, parts.hello.records)) {
      if (runner !== null) {
        if (!(await runner.hear(line, heard))) return;
        continue;
      }
      if (asked !== null && heard.kind === 'message' && heard.message.kind === 'OWNER') {
        await (await open.promise).say(parts.ownerOf(heard.message.id));
        continue;
      }
      // Until it has said who it is, nothing that it says counts.
      if (heard.kind !== 'hello') {
        if (asked === null) return;
        continue;
      }
      if (heard.message?.purpose === 'owner') {
        const { id, leg } = heard.message;
        asked = id;
        await (await open.promise).say({ kind: 'HELLO', id, purpose: 'owner', leg, ...parts.hello });
        continue;
      }
      runner = parts.runnerOf(heard.message?.id ?? NO_ID, heard.message?.purpose ?? null);
      connection.silenceMs = null;
      runner.attach(line);
      await runner.hear(line, heard);
    }
  } catch (cause) {
    const failure = failureOf(cause);
    why = failure.message;
    // What is no stream of a migration does not become one over another connection.
    if (classOfCode(failure.code) === 'format' && failure.code !== 'TRUNCATED') runner?.broken(line, failure);
  } finally {
    if (runner === null) await connection.close();
    else runner.lost(line, why);
    const kept = await recording?.end();
    if (kept !== undefined && kept !== null) runner?.log.add('recording', kept);
  }
}
