import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERRORS, TransmigrateError } from '../errors.ts';
import { pipeConnection } from '../io/stdio.ts';
import { closedSchema, createSchema, parse, UPGRADE, WORK_HEADER } from './api.ts';
import type { Host } from './host.ts';
import { answer, asError, readBody, readJson, written, type Call } from './http.ts';
import { listen } from './listen.ts';
import { receiveSchema } from './migration/jobs.ts';
import { recordFiles } from './migration/record-files.ts';
import * as routes from './migration-routes.ts';
import { tmemAuthoriseSchema, tmemFlushSchema, tmemSetSchema } from './tmem-api.ts';
import { cancelWork, restore, save, WorkList } from './transfer.ts';

/** Most bytes of one piece of typed console input. */
const INPUT_LIMIT = 64 * 1024;

/** How long somebody may go on to send what was refused already. */
const LINGER_MS = 5000;

/** HTTP status for a class of error. The code in the body is what counts. */
const STATUS: Readonly<Record<string, number>> = {
  usage: 400,
  refused: 409,
  guest: 409,
  unsupported: 422,
  format: 422,
};

/** What has names or ids in its path. */
const NAMED: ReadonlySet<string> = new Set(['guests', 'work', 'jobs']);

type Route = (call: Call, works: WorkList) => Promise<void> | void;

/** Method and path, with `*` for a name. spec/host-api.md lists the same. */
export const ROUTES: Readonly<Record<string, Route>> = {
  'GET /v1/host': ({ host, response }) => answer(response, host.info()),
  'POST /v1/host/closed': async ({ host, request, response }) =>
    answer(response, host.closeTo(parse(closedSchema, await readJson(request)).why)),
  'GET /v1/guests': ({ host, response }) => answer(response, { guests: host.list() }),
  'POST /v1/guests': async ({ host, request, response }) =>
    answer(response, await host.create(parse(createSchema, await readJson(request)))),
  'GET /v1/guests/*': ({ host, response, name }) => answer(response, host.guest(name).info()),
  'DELETE /v1/guests/*': async ({ host, response, name }) => answer(response, await host.destroy(name)),
  'POST /v1/guests/*/pause': async ({ host, response, name }) => answer(response, await host.pause(name)),
  'POST /v1/guests/*/unpause': async ({ host, response, name }) => answer(response, await host.unpause(name)),
  'GET /v1/guests/*/console': readConsole,
  'POST /v1/guests/*/console': async ({ host, request, response, name }) => {
    const guest = host.guest(name);
    await guest.type(await readBody(request, INPUT_LIMIT));
    answer(response, {});
  },
  'POST /v1/guests/*/save': save,
  'POST /v1/restore': restore,
  'GET /v1/tmem': ({ host, response }) => answer(response, host.tmem()),
  'POST /v1/tmem/set': async ({ host, request, response }) =>
    answer(response, { guests: host.setTmem(parse(tmemSetSchema, await readJson(request))) }),
  'POST /v1/tmem/authorise': async ({ host, request, response }) =>
    answer(response, { changed: host.authoriseTmem(parse(tmemAuthoriseSchema, await readJson(request))) }),
  'POST /v1/tmem/flush': async ({ host, request, response }) =>
    answer(response, { freedBytes: host.flushTmem(parse(tmemFlushSchema, await readJson(request)).bytes) }),
  'POST /v1/guests/*/migrate': routes.migrate,
  'POST /v1/guests/*/check': routes.check,
  'POST /v1/listen': routes.listen,
  'GET /v1/jobs': routes.jobs,
  'GET /v1/jobs/*': routes.job,
  'POST /v1/jobs/*/cancel': routes.cancelJob,
  'POST /v1/jobs/*/set': routes.setJob,
  'GET /v1/jobs/*/owner': routes.owner,
  'POST /v1/jobs/*/settle': routes.settle,
  'DELETE /v1/work/*': (call, works) => cancelWork(works, call),
};

/** Serves a host on a unix socket. @throws what {@link listen} throws */
export async function serve(host: Host, socketPath: string): Promise<Server> {
  const works = new WorkList();
  const server = createServer((request, response) => void handle(host, works, request, response));
  // Saves and consoles last as long as they last.
  server.requestTimeout = 0;
  server.on('clientError', refuseUnreadable);
  server.on('upgrade', (request, socket, head) => void upgrade(host, request, socket, head));
  await listen(server, socketPath);
  return server;
}

async function handle(host: Host, works: WorkList, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  // Node closes a connection that is to be closed as soon as the answer is out, whatever is still being sent over it;
  // who sends it then sees a broken pipe before the answer. Its sender closes it, or `letEnd` does.
  response.setHeader('connection', 'keep-alive');
  response.on('finish', () => letEnd(request));
  // What is wrong with a connection that breaks shows in `close`.
  request.on('error', () => undefined);
  response.on('error', () => undefined);
  try {
    const { route, name, query } = findRoute(request);
    const cancelled = works.signalFor(request.headers[WORK_HEADER]?.toString(), response);
    const signal = cancelled === undefined ? gone.signal : AbortSignal.any([gone.signal, cancelled]);
    await route({ request, response, host, name, query, signal }, works);
  } catch (thrown) {
    const error = asError(thrown);
    if (response.headersSent) response.destroy(error);
    else answer(response, { error: error.toJSON() }, STATUS[ERRORS[error.code].class] ?? 500);
  }
}

/** @throws USAGE */
function findRoute({
  method = '',
  url: target = '',
}: IncomingMessage): Pick<Call, 'name' | 'query'> & { route: Route } {
  const unknown = (): TransmigrateError =>
    new TransmigrateError('USAGE', `There is no ${method} ${target.slice(0, 200)} here`, {
      next: 'spec/host-api.md lists what there is.',
    });
  const [path, query = ''] = target.split(/\?(.*)/s, 2);
  const parts = path.split('/');
  let name = '';
  if (NAMED.has(parts[2]) && parts.length > 3) {
    try {
      name = decodeURIComponent(parts[3]);
    } catch {
      throw unknown();
    }
    // A star in the place of a name is a name that nobody has.
    if (name === '') throw unknown();
    parts[3] = '*';
  } else if (parts.includes('*')) throw unknown();
  const key = `${method} ${parts.join('/')}`;
  if (!Object.hasOwn(ROUTES, key)) throw unknown();
  return { route: ROUTES[key], name, query: new URLSearchParams(query) };
}

/** Bytes that nobody wants are taken and dropped: a connection that is closed over them would lose the answer. */
function letEnd(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  request.resume();
  const limit = setTimeout(() => request.destroy(), LINGER_MS);
  request.on('close', () => clearTimeout(limit));
}

/** A connection over which a machine comes, through a command that speaks for it (protocol 2.5). */
async function upgrade(
  host: Host,
  { method, url, headers }: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  socket.on('error', () => undefined);
  try {
    const [path, query = ''] = (url ?? '').split(/\?(.*)/s, 2);
    if (method !== 'POST' || path !== '/v1/receive' || headers.upgrade !== UPGRADE) {
      throw new TransmigrateError('USAGE', `Nothing becomes of ${method ?? ''} ${(url ?? '').slice(0, 200)} here`);
    }
    const { migrations } = host;
    const { record } = parse(receiveSchema, Object.fromEntries(new URLSearchParams(query)));
    const files = record === undefined ? undefined : await recordFiles(record);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${UPGRADE}\r\n\r\n`);
    if (head.byteLength > 0) socket.unshift(head);
    void migrations.take(pipeConnection(socket, socket, 'standard input and output'), files);
  } catch (thrown) {
    const body = JSON.stringify({ error: asError(thrown).toJSON() });
    socket.end(
      `HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  }
}

/** What is not HTTP at all. */
function refuseUnreadable(cause: Error, socket: Duplex): void {
  if (!socket.writable) return;
  const error = new TransmigrateError('USAGE', 'The request is not HTTP/1.1, or its headers are too long', { cause });
  const body = JSON.stringify({ error: error.toJSON() });
  const head = [
    'HTTP/1.1 400 Bad Request',
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/** `?tail=BYTES` of what was written so far, and with `?follow=1` what comes. */
async function readConsole({ host, response, name, query, signal }: Call): Promise<void> {
  const { console } = host.guest(name);
  const tail = query.get('tail');
  if (tail !== null && !/^\d{1,9}$/.test(tail)) {
    throw new TransmigrateError('USAGE', `'${tail.slice(0, 40)}' is not a number of bytes`, { path: 'tail' });
  }
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  // The follower is there before the tail is taken, so nothing falls between the two.
  const following = query.get('follow') === '1' ? console.follow(signal) : undefined;
  const next = following?.next();
  response.write(console.tail(tail === null ? undefined : Number(tail)));
  for (let step = await next; step !== undefined && step.done !== true; step = await following!.next()) {
    await written(response, step.value);
    if (response.destroyed) {
      await following!.return(undefined);
      return;
    }
  }
  response.end();
}
