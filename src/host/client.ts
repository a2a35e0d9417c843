import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { TransmigrateError, type ErrorJson } from '../errors.ts';
import {
  errorFromJson,
  type CreateChoice,
  type GuestInfo,
  type HostInfo,
  type RestoreChoice,
  type RestoreResult,
  type SaveChoice,
  type SaveResult,
  type WorkEvent,
} from './api.ts';

type Optional<T> = { [K in keyof T]?: T[K] | undefined };

/** What long work tells its caller. */
export interface ClientWork {
  readonly onProgress?: (done: number, total: number | null) => void;
  readonly signal?: AbortSignal;
}

interface Sent {
  readonly json?: object;
  readonly bytes?: Uint8Array;
  readonly stream?: Readable;
  readonly signal?: AbortSignal | undefined;
}

/** Speaks to a host through its unix socket. Errors are those that the host threw. */
export class HostClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  info(): Promise<HostInfo> {
    return this.#ask('GET', '/v1/host') as Promise<HostInfo>;
  }

  async list(): Promise<GuestInfo[]> {
    return ((await this.#ask('GET', '/v1/guests')) as { guests: GuestInfo[] }).guests;
  }

  create(choice: Optional<CreateChoice> & Pick<CreateChoice, 'boot'>): Promise<GuestInfo> {
    return this.#ask('POST', '/v1/guests', { json: choice }) as Promise<GuestInfo>;
  }

  guest(name: string): Promise<GuestInfo> {
    return this.#ask('GET', guestPath(name)) as Promise<GuestInfo>;
  }

  pause(name: string): Promise<GuestInfo> {
    return this.#ask('POST', guestPath(name, 'pause')) as Promise<GuestInfo>;
  }

  unpause(name: string): Promise<GuestInfo> {
    return this.#ask('POST', guestPath(name, 'unpause')) as Promise<GuestInfo>;
  }

  destroy(name: string): Promise<GuestInfo> {
    return this.#ask('DELETE', guestPath(name)) as Promise<GuestInfo>;
  }

  /** Sends bytes to the guest's serial port, as if typed. */
  async type(name: string, bytes: Uint8Array): Promise<void> {
    await this.#ask('POST', guestPath(name, 'console'), { bytes });
  }

  /** What the guest wrote on its serial port, and with `follow` what it will write until it is gone. */
  async *console(name: string, follow: boolean, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    const response = await this.#send('GET', `${guestPath(name, 'console')}?follow=${follow ? 1 : 0}`, { signal });
    try {
      yield* response as AsyncIterable<Uint8Array>;
    } catch (cause) {
      throw this.#lost(cause, signal);
    }
  }

  /** Saves into a file of the host. */
  save(name: string, choice: Optional<SaveChoice> & { path: string }, work: ClientWork = {}): Promise<SaveResult> {
    return this.#work(guestPath(name, 'save'), { json: choice, signal: work.signal }, work) as Promise<SaveResult>;
  }

  /** Saves into `write`, which is given the bytes of the image in order, and resolves when it has taken them. */
  async saveTo(
    name: string,
    choice: Optional<SaveChoice>,
    write: (bytes: Uint8Array) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<SaveResult> {
    const response = await this.#send('POST', guestPath(name, 'save'), { json: choice, signal });
    try {
      for await (const bytes of response as AsyncIterable<Uint8Array>) await write(bytes);
    } catch (cause) {
      throw cause instanceof TransmigrateError ? cause : this.#lost(cause, signal);
    }
    return JSON.parse(decodeURIComponent(String(response.trailers['x-result']))) as SaveResult;
  }

  /** Restores a file of the host, or the bytes that `image` gives. */
  restore(choice: Optional<RestoreChoice>, work: ClientWork = {}, image?: Readable): Promise<RestoreResult> {
    const { signal } = work;
    if (image === undefined) {
      return this.#work('/v1/restore', { json: choice, signal }, work) as Promise<RestoreResult>;
    }
    const query = encodeURIComponent(JSON.stringify(choice));
    return this.#work(`/v1/restore?choice=${query}`, { stream: image, signal }, work) as Promise<RestoreResult>;
  }

  async #ask(method: string, path: string, sent: Sent = {}): Promise<unknown> {
    return JSON.parse(await text(await this.#send(method, path, sent))) as unknown;
  }

  async #work(path: string, sent: Sent, { onProgress, signal }: ClientWork): Promise<unknown> {
    const response = await this.#send('POST', path, sent);
    let left = '';
    try {
      for await (const piece of response.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (left + piece).split('\n');
        left = lines.pop()!;
        for (const line of lines) {
          const event = JSON.parse(line) as WorkEvent;
          if (event.event === 'progress') onProgress?.(event.done, event.total);
          if (event.event === 'done') return event.result;
          if (event.event === 'failed') throw errorFromJson(event.error);
        }
      }
    } catch (cause) {
      throw cause instanceof TransmigrateError ? cause : this.#lost(cause, signal);
    }
    throw this.#lost(new Error('the answer ends early'), signal);
  }

  /** Sends a request. @returns an answer that is no error. */
  async #send(method: string, path: string, { json, bytes, stream, signal }: Sent): Promise<IncomingMessage> {
    const body = json === undefined ? bytes : new TextEncoder().encode(JSON.stringify(json));
    const type = json === undefined ? 'application/octet-stream' : 'application/json';
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = httpRequest(
        {
          socketPath: this.#socketPath,
          method,
          path,
          headers: { 'content-type': type, ...(body !== undefined && { 'content-length': body.byteLength }) },
          ...(signal !== undefined && { signal }),
        },
        resolve,
      );
      request.on('error', (cause) => reject(this.#lost(cause, signal)));
      if (stream === undefined) request.end(body);
      else {
        stream.on('error', (cause) => request.destroy(cause));
        stream.pipe(request);
      }
    });
    if (response.statusCode === 200) return response;
    throw errorFromJson((JSON.parse(await text(response)) as { error: ErrorJson }).error);
  }

  #lost(cause: unknown, signal: AbortSignal | undefined): TransmigrateError {
    if (signal?.aborted === true) return new TransmigrateError('CANCELLED', 'cancelled', { cause });
    const { code } = cause as NodeJS.ErrnoException;
    const what =
      code === 'ENOENT' || code === 'ECONNREFUSED'
        ? `No host runs on ${this.#socketPath}`
        : code === 'EACCES'
          ? `The host on ${this.#socketPath} is another user's`
          : `The connection to the host on ${this.#socketPath} was lost`;
    return new TransmigrateError('HOST_UNREACHABLE', what, { cause, data: { socket: this.#socketPath } });
  }
}

function guestPath(name: string, action?: string): string {
  return `/v1/guests/${encodeURIComponent(name)}${action === undefined ? '' : `/${action}`}`;
}

async function text(response: IncomingMessage): Promise<string> {
  let all = '';
  for await (const piece of response.setEncoding('utf8') as AsyncIterable<string>) all += piece;
  return all;
}
