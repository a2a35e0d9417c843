import { request as httpRequest, type IncomingMessage } from 'node:http';
import { randomUUID } from 'node:crypto';
import type { Duplex, Readable } from 'node:stream';
import { TransmigrateError, type ErrorJson } from '../errors.ts';
import { readFailed } from '../io/read-failed.ts';
import {
  errorFromJson,
  UPGRADE,
  WORK_HEADER,
  type CreateChoice,
  type GuestInfo,
  type HostInfo,
  type RestoreChoice,
  type RestoreResult,
  type SaveChoice,
  type SaveResult,
  type WorkEvent,
} from './api.ts';
import type { HostTmemStatistics, TmemAuthoriseChoice, TmemSetChoice } from './tmem-api.ts';
import type {
  CheckAnswer,
  JobInfo,
  JobStory,
  LimitsChoice,
  ListenChoice,
  MigrateChoice,
  MigrateResult,
  OwnerAnswer,
  TargetChoice,
} from './migration/jobs.ts';
import { TRAILER, type ImageEnd } from './image-end.ts';

type Optional<T> = { [K in keyof T]?: T[K] | undefined };

/** What long work tells its caller. */
export interface ClientWork {
  readonly onProgress?: (done: number, total: number | null, job?: JobInfo) => void;
  readonly signal?: AbortSignal;
}

interface Sent {
  readonly json?: object;
  readonly bytes?: Uint8Array;
  readonly stream?: Readable;
  readonly signal?: AbortSignal | undefined;
  /** An id by which it can be cancelled. */
  readonly work?: string;
}

/** How long a host may take to end what was cancelled. */
const CANCEL_MS = 5000;

/** Speaks to a host through its unix socket. Errors are those that the host threw. */
export class HostClient {
  readonly socketPath: string;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  info(): Promise<HostInfo> {
    return this.#ask('GET', '/v1/host') as Promise<HostInfo>;
  }

  /** Has the host refuse machines of other hosts, or take them again. @param why null: they may come */
  closeTo(why: string | null): Promise<HostInfo> {
    return this.#ask('POST', '/v1/host/closed', { json: { why } }) as Promise<HostInfo>;
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

  /** Everything about the host's tmem. */
  tmem(): Promise<HostTmemStatistics> {
    return this.#ask('GET', '/v1/tmem') as Promise<HostTmemStatistics>;
  }

  setTmem(choice: TmemSetChoice): Promise<{ guests: string[] }> {
    return this.#ask('POST', '/v1/tmem/set', { json: choice }) as Promise<{ guests: string[] }>;
  }

  authoriseTmem(choice: TmemAuthoriseChoice): Promise<{ changed: boolean }> {
    return this.#ask('POST', '/v1/tmem/authorise', { json: choice }) as Promise<{ changed: boolean }>;
  }

  flushTmem(bytes: number): Promise<{ freedBytes: number }> {
    return this.#ask('POST', '/v1/tmem/flush', { json: { bytes } }) as Promise<{ freedBytes: number }>;
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
    return this.#work(guestPath(name, 'save'), { json: choice }, work) as Promise<SaveResult>;
  }

  /**
   * Saves into `write`, which is given the bytes of the image in order, and resolves when it has taken them. Only then
   * a guest that is to be stopped is destroyed; when `write` fails, it goes on as before.
   */
  async saveTo(
    name: string,
    choice: Optional<SaveChoice>,
    write: (bytes: Uint8Array) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<SaveResult> {
    const { after = 'run' } = choice;
    const wasRunning = (await this.guest(name)).state === 'running';
    const asked = { ...choice, after: after === 'stop' ? 'pause' : after };
    const response = await this.#send('POST', guestPath(name, 'save'), { json: asked, signal });
    try {
      try {
        for await (const bytes of response as AsyncIterable<Uint8Array>) await write(bytes);
      } catch (cause) {
        throw cause instanceof TransmigrateError ? cause : this.#lost(cause, signal);
      }
      const result = this.#endOf(response, signal);
      if (after !== 'stop') return result;
      await this.destroy(name);
      return { ...result, state: 'destroyed' };
    } catch (error) {
      response.destroy();
      // The host may have been done already when it failed here. When it was not, it lets the guest go on itself.
      if (wasRunning && asked.after === 'pause') await this.unpause(name).catch(() => undefined);
      throw error;
    }
  }

  /** Restores a file of the host, or the bytes that `image` gives. */
  restore(choice: Optional<RestoreChoice>, work: ClientWork = {}, image?: Readable): Promise<RestoreResult> {
    if (image === undefined) return this.#work('/v1/restore', { json: choice }, work) as Promise<RestoreResult>;
    const query = encodeURIComponent(JSON.stringify(choice));
    return this.#work(`/v1/restore?choice=${query}`, { stream: image }, work) as Promise<RestoreResult>;
  }

  /** Moves a guest to another host while it runs. */
  migrate(name: string, choice: Optional<MigrateChoice>, work: ClientWork = {}): Promise<MigrateResult> {
    return this.#work(guestPath(name, 'migrate'), { json: choice }, work) as Promise<MigrateResult>;
  }

  /** Whether another host would take a guest. */
  check(name: string, target: Optional<TargetChoice>): Promise<CheckAnswer> {
    return this.#ask('POST', guestPath(name, 'check'), { json: target }) as Promise<CheckAnswer>;
  }

  /** Has the host take machines there, until it ends. @returns where: with port 0 the system chose one */
  listen(choice: Optional<ListenChoice>): Promise<{ host: string; port: number }> {
    return this.#ask('POST', '/v1/listen', { json: choice }) as Promise<{ host: string; port: number }>;
  }

  /**
   * A connection over which one machine may come to the host: for `receive --stdio`.
   * @param record where the host keeps what comes.
   */
  receive(record?: string): Promise<Duplex> {
    const { socketPath } = this;
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        socketPath,
        method: 'POST',
        path: record === undefined ? '/v1/receive' : `/v1/receive?record=${encodeURIComponent(record)}`,
        agent: false,
        headers: { connection: 'Upgrade', upgrade: UPGRADE },
      });
      request.on('upgrade', (_response, socket, head) => {
        if (head.byteLength > 0) socket.unshift(head);
        resolve(socket);
      });
      request.on('response', (response) => {
        text(response).then(
          (body) => reject(errorFromJson((JSON.parse(body) as { error: ErrorJson }).error)),
          (cause: unknown) => reject(this.#lost(cause, undefined)),
        );
      });
      request.on('error', (cause) => reject(this.#lost(cause, undefined)));
      request.end();
    });
  }

  async jobs(): Promise<JobInfo[]> {
    return ((await this.#ask('GET', '/v1/jobs')) as { jobs: JobInfo[] }).jobs;
  }

  job(id: string): Promise<JobStory> {
    return this.#ask('GET', jobPath(id)) as Promise<JobStory>;
  }

  cancelJob(id: string): Promise<JobInfo> {
    return this.#ask('POST', jobPath(id, 'cancel')) as Promise<JobInfo>;
  }

  setJob(id: string, limits: LimitsChoice): Promise<JobInfo> {
    return this.#ask('POST', jobPath(id, 'set'), { json: limits }) as Promise<JobInfo>;
  }

  owner(id: string): Promise<OwnerAnswer> {
    return this.#ask('GET', jobPath(id, 'owner')) as Promise<OwnerAnswer>;
  }

  settle(id: string, choice: 'take' | 'abandon'): Promise<JobInfo> {
    return this.#ask('POST', jobPath(id, 'settle'), { json: { choice } }) as Promise<JobInfo>;
  }

  async #ask(method: string, path: string, sent: Sent = {}): Promise<unknown> {
    return JSON.parse(await text(await this.#send(method, path, sent))) as unknown;
  }

  /**
   * Long work. When it is cancelled, the host is told, and what it answers then is waited for: it may be done already.
   * A host that does not answer in {@link CANCEL_MS} is left.
   */
  async #work(path: string, sent: Sent, { onProgress, signal }: ClientWork): Promise<unknown> {
    if (signal?.aborted === true) throw new TransmigrateError('CANCELLED', 'cancelled');
    const id = randomUUID();
    const leave = new AbortController();
    let limit: NodeJS.Timeout | undefined;
    let cancelled = false;
    const cancel = (): void => {
      cancelled = true;
      limit = setTimeout(() => leave.abort(), CANCEL_MS);
      // What the host does not know yet, or no longer, has nothing to cancel.
      this.#ask('DELETE', `/v1/work/${id}`).catch(() => leave.abort());
    };
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await this.#events(path, { ...sent, work: id, signal: leave.signal }, onProgress);
    } catch (error) {
      // A host that ends, or is left, while it cancels says nothing more: then that it was cancelled is all there is.
      const lost = error instanceof TransmigrateError && error.code === 'HOST_UNREACHABLE';
      if (!leave.signal.aborted && !(lost && cancelled)) throw error;
      throw new TransmigrateError('CANCELLED', 'cancelled', { cause: error });
    } finally {
      signal?.removeEventListener('abort', cancel);
      clearTimeout(limit);
    }
  }

  async #events(path: string, sent: Sent, onProgress: ClientWork['onProgress']): Promise<unknown> {
    const response = await this.#send('POST', path, sent);
    let left = '';
    try {
      for await (const piece of response.setEncoding('utf8') as AsyncIterable<string>) {
        const lines = (left + piece).split('\n');
        left = lines.pop()!;
        for (const line of lines) {
          const event = JSON.parse(line) as WorkEvent;
          if (event.event === 'progress') onProgress?.(event.done, event.total, event.job);
          if (event.event === 'done') return event.result;
          if (event.event === 'failed') throw errorFromJson(event.error);
        }
      }
    } catch (cause) {
      throw cause instanceof TransmigrateError ? cause : this.#lost(cause, sent.signal);
    }
    throw this.#lost(new Error('the answer ends early'), sent.signal);
  }

  /** How an image that was sent ended. */
  #endOf(response: IncomingMessage, signal: AbortSignal | undefined): SaveResult {
    const trailer = response.trailers[TRAILER];
    if (trailer === undefined) throw this.#lost(new Error('the answer ends early'), signal);
    const end = JSON.parse(decodeURIComponent(trailer)) as ImageEnd;
    if ('error' in end) throw errorFromJson(end.error);
    return end.result;
  }

  /** Sends a request. @returns an answer that is no error. */
  async #send(method: string, path: string, sent: Sent): Promise<IncomingMessage> {
    const { json, bytes, stream, signal, work } = sent;
    const body = json === undefined ? bytes : new TextEncoder().encode(JSON.stringify(json));
    const type = json === undefined ? 'application/octet-stream' : 'application/json';
    const headers = {
      'content-type': type,
      ...(body !== undefined && { 'content-length': body.byteLength }),
      ...(work !== undefined && { [WORK_HEADER]: work }),
    };
    const { socketPath } = this;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = httpRequest(
        { socketPath, method, path, headers, agent: false, ...(signal !== undefined && { signal }) },
        resolve,
      );
      request.on('error', (cause) => {
        // What is not wanted any more may break off; then the answer says why.
        reject(cause instanceof TransmigrateError ? cause : this.#lost(cause, signal));
      });
      if (stream === undefined) request.end(body);
      else {
        const broken = (cause: Error): void => void request.destroy(readFailed('standard input', cause));
        stream.once('error', broken);
        request.once('close', () => {
          stream.off('error', broken);
          stream.unpipe(request);
        });
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
        ? `No host runs on ${this.socketPath}`
        : code === 'EACCES'
          ? `The host on ${this.socketPath} is another user's`
          : `The connection to the host on ${this.socketPath} was lost`;
    return new TransmigrateError('HOST_UNREACHABLE', what, { cause, data: { socket: this.socketPath } });
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

function jobPath(id: string, what?: string): string {
  return `/v1/jobs/${encodeURIComponent(id)}${what === undefined ? '' : `/${what}`}`;
}
