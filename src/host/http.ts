import type { IncomingMessage, ServerResponse } from 'node:http';
import { TransmigrateError } from '../errors.ts';
import { REQUEST_LIMIT, type WorkEvent } from './api.ts';
import type { JobInfo } from './migration/jobs.ts';
import type { Host } from './host.ts';

/** At most so often is progress sent. */
const PROGRESS_MS = 100;

/** One request, and what answers it. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly host: Host;
  /** Of the path's `*`. */
  readonly name: string;
  readonly query: URLSearchParams;
  /** Aborted when the caller goes away before the answer is whole, or cancels what it asked for. */
  readonly signal: AbortSignal;
}

/** Whatever was thrown, as an error of the closed table. */
export function asError(thrown: unknown): TransmigrateError {
  if (thrown instanceof TransmigrateError) return thrown;
  const what = thrown instanceof Error ? thrown.message : String(thrown);
  return new TransmigrateError('INTERNAL', what, { cause: thrown });
}

/** Answers with JSON. */
export function answer(response: ServerResponse, body: object, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

/** All of a request's body. What is beyond `limit` is not kept. @throws USAGE, READ_FAILED */
export async function readBody(request: IncomingMessage, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of piecesOf(request)) {
    bytes += part.byteLength;
    if (bytes > limit) throw new TransmigrateError('USAGE', `A request of more than ${limit} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** @throws USAGE */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  return parseJson(Buffer.from(await readBody(request, REQUEST_LIMIT)).toString());
}

/** @throws USAGE */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new TransmigrateError('USAGE', 'The request is not JSON', { cause });
  }
}

/** The pieces of a body. Who stops early can still answer: the connection lives on. */
export async function* piecesOf(request: IncomingMessage): AsyncGenerator<Uint8Array> {
  try {
    yield* request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw new TransmigrateError('CANCELLED', 'Whoever sent the request went away', { cause });
  }
}

/** Resolves when the other side has room again, or is gone. */
export async function written(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  if (response.write(bytes) || response.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

/**
 * Answers with lines of JSON: progress now and then, and how it ended. What fails before there was progress is
 * answered as any other error.
 */
export async function asEvents(
  { response }: Call,
  work: (onProgress: (done: number, total: number | null, job?: JobInfo) => void) => Promise<object>,
): Promise<void> {
  const send = (event: WorkEvent): void => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(`${JSON.stringify(event)}\n`);
  };
  let sentAt = 0;
  try {
    const result = await work((done, total, job) => {
      const now = performance.now();
      if (now - sentAt < PROGRESS_MS) return;
      sentAt = now;
      send({ event: 'progress', done, total, ...(job !== undefined && { job }) });
    });
    send({ event: 'done', result });
  } catch (thrown) {
    if (!response.headersSent) throw thrown;
    send({ event: 'failed', error: asError(thrown).toJSON() });
  }
  response.end();
}
