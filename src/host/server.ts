import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import type { ByteSink } from '../bytes/endpoints.ts';
import { ERRORS, TransmigrateError } from '../errors.ts';
import { openPipeSource } from '../io/pipe.ts';
import { createSchema, parse, REQUEST_LIMIT, restoreSchema, saveSchema, type WorkEvent } from './api.ts';
import type { Host } from './host.ts';

/** Most bytes of one piece of typed console input. */
const INPUT_LIMIT = 64 * 1024;

/** At most so often is progress sent. */
const PROGRESS_MS = 100;

/** HTTP status for a class of error. The code in the body is what counts. */
const STATUS: Readonly<Record<string, number>> = {
  usage: 400,
  refused: 409,
  guest: 409,
  unsupported: 422,
  format: 422,
};

interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly host: Host;
  /** Of the path's `*`. */
  readonly name: string;
  readonly query: URLSearchParams;
  /** Aborted when the caller goes away before the answer is whole. */
  readonly signal: AbortSignal;
}

/** Method and path, with `*` for a guest's name. */
const ROUTES: Readonly<Record<string, (call: Call) => Promise<void> | void>> = {
  'GET /v1/host': ({ host, response }) => answer(response, host.info()),
  'GET /v1/guests': ({ host, response }) => answer(response, { guests: host.list() }),
  'POST /v1/guests': async ({ host, request, response }) =>
    answer(response, await host.create(parse(createSchema, await readJson(request)))),
  'GET /v1/guests/*': ({ host, response, name }) => answer(response, host.guest(name).info()),
  'DELETE /v1/guests/*': async ({ host, response, name }) => answer(response, await host.destroy(name)),
  'POST /v1/guests/*/pause': async ({ host, response, name }) => answer(response, await host.pause(name)),
  'POST /v1/guests/*/unpause': async ({ host, response, name }) => answer(response, await host.unpause(name)),
  'GET /v1/guests/*/console': readConsole,
  'POST /v1/guests/*/console': async ({ host, request, response, name }) => {
    await host.guest(name).type(await readBody(request, INPUT_LIMIT));
    answer(response, {});
  },
  'POST /v1/guests/*/save': save,
  'POST /v1/restore': restore,
};

/**
 * Serves a host on a unix socket that only its owner can open (mode 0600, in a directory made with mode 0700).
 * @throws WRITE_FAILED when there is no place for the socket; REFUSED when another daemon listens there.
 */
export async function serve(host: Host, socketPath: string): Promise<Server> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
  await clearStale(socketPath);
  const server = createServer((request, response) => void handle(host, request, response));
  // Saves and consoles last as long as they last.
  server.requestTimeout = 0;
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
  } catch (cause) {
    throw new TransmigrateError('WRITE_FAILED', `Can't listen on ${socketPath}`, { cause });
  } finally {
    process.umask(before);
  }
  await chmod(socketPath, 0o600);
  return server;
}

/** A socket that nobody listens on is left over from a daemon that was killed. */
async function clearStale(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there === undefined) return;
  if (!there.isSocket()) {
    throw new TransmigrateError('WRITE_FAILED', `${path} is there already, and it is no socket`);
  }
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on('error', () => resolve(false));
  });
  if (alive) throw new TransmigrateError('HOST_RUNNING', `Another host listens on ${path}`, { data: { socket: path } });
  await unlink(path);
}

async function handle(host: Host, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  try {
    const { method = '', url: target = '/' } = request;
    const url = new URL(target, 'http://host');
    const [, version, collection, name = '', action] = url.pathname.split('/');
    const single = collection === 'guests' && name !== '';
    const pattern = single
      ? ['', version, collection, '*', action].filter((part) => part !== undefined).join('/')
      : url.pathname;
    const route = ROUTES[`${method} ${pattern}`];
    if (route === undefined) throw new TransmigrateError('USAGE', `There is no ${method} ${url.pathname} here`);
    await route({
      request,
      response,
      host,
      name: decodeURIComponent(name),
      query: url.searchParams,
      signal: gone.signal,
    });
  } catch (thrown) {
    const error = asError(thrown);
    if (response.headersSent) response.destroy(error);
    else answer(response, { error: error.toJSON() }, STATUS[ERRORS[error.code].class] ?? 500);
  }
}

function asError(thrown: unknown): TransmigrateError {
  if (thrown instanceof TransmigrateError) return thrown;
  const what = thrown instanceof Error ? thrown.message : String(thrown);
  return new TransmigrateError('INTERNAL', what, { cause: thrown });
}

function answer(response: ServerResponse, body: object, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

async function readBody(request: IncomingMessage, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Uint8Array>) {
    bytes += part.byteLength;
    if (bytes > limit) throw new TransmigrateError('USAGE', `A request of more than ${limit} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const text = Buffer.from(await readBody(request, REQUEST_LIMIT)).toString();
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new TransmigrateError('USAGE', 'The request is not JSON', { cause });
  }
}

/** `?tail=BYTES` of what was written so far, and with `?follow=1` what comes. */
async function readConsole({ host, response, name, query, signal }: Call): Promise<void> {
  const { console } = host.guest(name);
  const tail = query.get('tail');
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  // The follower is there before the tail is taken, so nothing falls between the two.
  const following = query.get('follow') === '1' ? console.follow(signal) : undefined;
  const next = following?.next();
  response.write(console.tail(tail === null ? undefined : Number(tail)));
  for (let step = await next; step !== undefined && step.done !== true; step = await following!.next()) {
    await written(response, step.value);
  }
  response.end();
}

/** Resolves when the other side has room again. */
async function written(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  if (response.write(bytes) || response.destroyed) return;
  await new Promise<void>((resolve) => {
    response.once('drain', resolve);
    response.once('close', resolve);
  });
}

async function save(call: Call): Promise<void> {
  const { host, request, response, name, signal } = call;
  const choice = parse(saveSchema, await readJson(request));
  if (choice.path !== undefined) {
    await asEvents(call, (onProgress) => host.save(name, choice, { onProgress, signal }));
    return;
  }
  const sink: ByteSink = {
    write: async (bytes) => {
      if (!response.headersSent)
        response.writeHead(200, { 'content-type': 'application/octet-stream', trailer: 'x-result' });
      if (response.destroyed) throw new TransmigrateError('CANCELLED', 'Whoever asked for the image went away');
      // The bytes are lent: they are copied, since the socket may keep them.
      await written(response, bytes.slice());
    },
  };
  const result = await host.save(name, choice, { signal }, sink);
  response.addTrailers({ 'x-result': encodeURIComponent(JSON.stringify(result)) });
  response.end();
}

async function restore(call: Call): Promise<void> {
  const { host, request, query, signal } = call;
  if (request.headers['content-type'] === 'application/octet-stream') {
    const choice = parse(restoreSchema, JSON.parse(query.get('choice') ?? '{}'));
    const source = openPipeSource(request, 'the image that was sent');
    await asEvents(call, (onProgress) => host.restore(choice, { onProgress, signal }, source));
    return;
  }
  const choice = parse(restoreSchema, await readJson(request));
  await asEvents(call, (onProgress) => host.restore(choice, { onProgress, signal }));
}

/** Answers with lines of JSON: progress now and then, and how it ended. */
async function asEvents(
  { response }: Call,
  work: (onProgress: (done: number, total: number | null) => void) => Promise<object>,
): Promise<void> {
  const send = (event: WorkEvent): void => {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    response.write(`${JSON.stringify(event)}\n`);
  };
  let sentAt = 0;
  try {
    const result = await work((done, total) => {
      const now = performance.now();
      if (now - sentAt < PROGRESS_MS) return;
      sentAt = now;
      send({ event: 'progress', done, total });
    });
    send({ event: 'done', result });
  } catch (thrown) {
    send({ event: 'failed', error: asError(thrown).toJSON() });
  }
  response.end();
}
