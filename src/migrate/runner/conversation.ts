/** What one side says and hears over a connection: messages, state and acknowledgements as one stream each way (2). */
import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { ByteSink } from '../../bytes/endpoints.ts';
import { toHex, fromUuid } from '../../bytes/hex.ts';
import { decodePieces } from '../../stream/decode-pieces.ts';
import { StreamDecoder, type DecodedRecord } from '../../stream/decoder.ts';
import type { Preamble, PreambleChoice } from '../../stream/preamble.ts';
import { StreamWriter } from '../../stream/writer.ts';
import type { WriterOptions } from '../../stream/writer-options.ts';
import type { Hello, HelloHead } from '../negotiate/hello.ts';
import { kindOfName, MESSAGE_DICTIONARY, MESSAGE_NAMES } from '../protocol/dictionary.ts';
import { commonVersion } from '../negotiate/hello.ts';
import { PROTOCOL } from '../protocol/limits.ts';
import { decodeHelloHead, decodeMessage, encodeMessage, MESSAGES, type Message } from '../protocol/messages.ts';

/** What was heard. Views into a record are valid until the next is asked for; bodies of messages are copies. */
export type Heard =
  | { readonly kind: 'hello'; readonly head: HelloHead; readonly message: Hello | null; readonly body: Uint8Array }
  | { readonly kind: 'message'; readonly message: Exclude<Message, Hello>; readonly body: Uint8Array }
  | { readonly kind: 'acknowledged'; readonly channel: number; readonly seal: number; readonly chain: string }
  /** All before it was handed out; whoever has applied it acknowledges. */
  | { readonly kind: 'seal'; readonly seal: number; readonly chain: string }
  /** A record of the machine. */
  | { readonly kind: 'state'; readonly decoded: DecodedRecord };

/** The half of a connection that is written. Calls may be made at any time: they go one after the other. */
export class Speaker {
  readonly writer: StreamWriter;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(writer: StreamWriter) {
    this.writer = writer;
  }

  /** Begins a stream: preamble, ABOUT, and the names of the messages. @throws what the sink throws. */
  static async open(
    sink: ByteSink,
    choice: PreambleChoice,
    about: JsonObject,
    options: WriterOptions = {},
  ): Promise<Speaker> {
    const writer = await StreamWriter.open(sink, choice, about, options);
    for (const entry of MESSAGE_DICTIONARY) await writer.dictionary(entry);
    return new Speaker(writer);
  }

  /** Says a message, behind everything that was asked for before. */
  say(message: Message): Promise<void> {
    return this.write((writer) => writer.local(MESSAGES[message.kind].number, true, encodeMessage(message)));
  }

  /** Writes records of the machine, or acknowledgements. @returns what `what` returns. */
  write<T>(what: (writer: StreamWriter) => Promise<T>): Promise<T> {
    const next = this.#last.then(() => what(this.writer));
    // Who asked hears of a failure; the writer itself fails everything after it.
    this.#last = next.catch(() => undefined);
    return next;
  }
}

/** The preamble of the direction back, for a stream that was heard (2.2). */
export function answerTo(preamble: Preamble): PreambleChoice {
  const { kind, byteOrder, wordBits, domainType, machine, pageSize, streamId, channels, channel } = preamble;
  return {
    kind,
    byteOrder,
    wordBits: wordBits as 32 | 64,
    domainType,
    machine,
    pageSize,
    streamId: fromUuid(streamId),
    direction: 'back',
    channels,
    channel,
  };
}

/**
 * Reads what the other side says, in order, as its bytes come.
 * @param pieces each is valid until the next is asked for.
 * @param begun told once, when the preamble was accepted: a destination answers with its fields.
 * @param own names of mandatory records of one's own that are known here (stream 12).
 * @throws the decoder's errors, TRUNCATED when the connection ends before the stream does, and those of messages.
 */
export async function* listen(
  pieces: AsyncIterable<Uint8Array>,
  begun?: (preamble: Preamble) => void,
  own: readonly string[] = [],
): AsyncGenerator<Heard> {
  const decoder = new StreamDecoder({ knows: new Set([...MESSAGE_NAMES, ...own]) });
  let first = true;
  for await (const decoded of decodePieces(pieces, decoder)) {
    const { record, header } = decoded;
    // ABOUT of a stream that is refused comes before the refusal; what follows it says that it is not.
    if (record.kind !== 'ABOUT' && first) {
      first = false;
      begun?.(decoder.preamble!);
    }
    switch (record.kind) {
      case 'ABOUT':
      case 'DICTIONARY':
      case 'END':
      case 'UNKNOWN':
        break;
      case 'SEAL':
        yield { kind: 'seal', seal: record.number, chain: toHex(record.chain) };
        break;
      case 'ACK':
        yield { kind: 'acknowledged', channel: record.channel, seal: record.seal, chain: toHex(record.chain) };
        break;
      case 'LOCAL': {
        const kind = kindOfName(record.dictionary.name);
        if (kind === undefined) yield { kind: 'state', decoded };
        else yield heard(kind, record.body.slice(), header.offset);
        break;
      }
      default:
        yield { kind: 'state', decoded };
    }
  }
}

function heard(kind: Message['kind'], body: Uint8Array, offset: number): Heard {
  if (kind !== 'HELLO') return { kind: 'message', message: decodeMessage(kind, body, offset), body };
  const head = decodeHelloHead(body, offset);
  const readable = typeof commonVersion({ protocol: PROTOCOL, host: head.host }, head) === 'number';
  // Of a version that is not spoken here only the head makes sense (N3).
  return { kind: 'hello', head, message: readable ? decodeMessage('HELLO', body, offset) : null, body };
}
