/** Calls that carry images, or have the host read and write them. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { TransmigrateError } from '../errors.ts';
import type { ByteSource } from '../io/source.ts';
import { parse, restoreSchema, saveSchema } from './api.ts';
import { TRAILER, type ImageEnd } from './image-end.ts';
import { answer, asError, asEvents, parseJson, piecesOf, readJson, written, type Call } from './http.ts';
import type { ImageSink } from './saving.ts';

/** Saves in progress and restores, by the id that their caller gave them. */
export class WorkList {
  readonly #cancels = new Map<string, AbortController>();

  /**
   * A signal that {@link cancel} aborts, until the response is closed. An id that is in use already is not listed
   * twice: the first one keeps it.
   */
  signalFor(id: string | undefined, response: ServerResponse): AbortSignal | undefined {
    if (id === undefined || this.#cancels.has(id)) return undefined;
    const controller = new AbortController();
    this.#cancels.set(id, controller);
    response.on('close', () => this.#cancels.delete(id));
    return controller.signal;
  }

  /** Asks for the end of something. @returns whether there is such a thing */
  cancel(id: string): boolean {
    const controller = this.#cancels.get(id);
    controller?.abort();
    return controller !== undefined;
  }
}

/** Saves into a file of the host, or answers with the image. */
export async function save(call: Call): Promise<void> {
  const { host, request, response, name, signal } = call;
  const choice = parse(saveSchema, await readJson(request));
  if (choice.path !== undefined) {
    await asEvents(call, (onProgress) => host.save(name, choice, { onProgress, signal }));
    return;
  }
  try {
    const result = await host.save(name, choice, { signal }, new ResponseSink(response));
    endWith(response, { result });
  } catch (thrown) {
    if (!response.headersSent) throw thrown;
    // The image that was begun has no end; here it says why.
    endWith(response, { error: asError(thrown).toJSON() });
  }
}

/** Restores a file of the host, or the image that is the request's body. */
export async function restore(call: Call): Promise<void> {
  const { host, request, query, signal } = call;
  if (request.headers['content-type'] === 'application/octet-stream') {
    const choice = parse(restoreSchema, parseJson(query.get('choice') ?? '{}'));
    if (choice.path !== undefined)
      throw new TransmigrateError('USAGE', 'A path and an image: only one can be restored');
    const source = bodySource(request);
    await asEvents(call, (onProgress) => host.restore(choice, { onProgress, signal }, source));
    return;
  }
  const choice = parse(restoreSchema, await readJson(request));
  if (choice.path === undefined) throw new TransmigrateError('USAGE', 'The request names no image', { path: 'path' });
  await asEvents(call, (onProgress) => host.restore(choice, { onProgress, signal }));
}

/** Cancels what has this id. */
export function cancelWork(works: WorkList, { response, name }: Call): void {
  if (!works.cancel(name)) throw new TransmigrateError('USAGE', `Nothing with the id ${name} is being done`);
  answer(response, {});
}

/** Sends an image as an answer's body. */
class ResponseSink implements ImageSink {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#check();
    if (!this.#response.headersSent) {
      this.#response.writeHead(200, { 'content-type': 'application/octet-stream', trailer: TRAILER });
    }
    // The bytes are lent: they are copied, since the socket may keep them.
    await written(this.#response, bytes.slice());
  }

  /** Whether its reader has it, only the reader knows: who wants to do something with the guest then asks for it. */
  commit(): Promise<void> {
    this.#check();
    return Promise.resolve();
  }

  abort(): Promise<void> {
    return Promise.resolve();
  }

  #check(): void {
    if (this.#response.destroyed) throw new TransmigrateError('CANCELLED', 'Whoever asked for the image went away');
  }
}

/** Most characters of a trailer: beyond it details are left out, for Node takes 16 KiB of headers. */
const TRAILER_LIMIT = 8192;

function endWith(response: ServerResponse, end: ImageEnd): void {
  let text = encodeURIComponent(JSON.stringify(end));
  if (text.length > TRAILER_LIMIT && 'error' in end) {
    const { code, message, next } = end.error;
    text = encodeURIComponent(JSON.stringify({ error: { code, message: message.slice(0, 500), next } }));
  }
  response.addTrailers({ [TRAILER]: text });
  response.end();
}

/** An image that comes as a request's body. It is not read to its end when it is refused; the answer still goes out. */
function bodySource(request: IncomingMessage): ByteSource {
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => undefined);
  return {
    name: 'the image that was sent',
    size: null,
    container: false,
    random: null,
    async *pieces() {
      const pieces = piecesOf(request);
      for (;;) {
        const step = await Promise.race([pieces.next(), ended.promise]);
        if (step.done === true) return;
        yield step.value;
      }
    },
    close: () => {
      ended.reject(new TransmigrateError('CANCELLED', 'The restore was cancelled'));
      return Promise.resolve();
    },
  };
}
