/**
 * A host whose guests have notes beside them, one of which counts while the guest is here:
 *
 *   node examples/own-state/host.ts SOCKET [PORT]
 *
 * It is driven as any other: `transmigrate --socket SOCKET create`, `save`, `migrate` ...
 */
import { runHost } from '../../src/index.ts';
import { Notes } from './notes.ts';

const COUNT_MS = 20;

/**
 * Runs it until `signal`.
 * @param port where machines may come to, 0 for one that is free.
 * @param listening called with that port.
 */
export async function runNotesHost(
  socketPath: string,
  port: number,
  notes: Notes,
  signal: AbortSignal,
  listening: (port: number) => void,
): Promise<void> {
  const timer = setInterval(() => {
    for (const book of notes.all()) book.set('count', `${Number(book.entries.get('count') ?? 0) + 1}`);
  }, COUNT_MS);
  try {
    const listen = { host: '127.0.0.1', port };
    await runHost({ socketPath, tmemBytes: 0, listen, own: [notes] }, signal, async (address) => {
      listening(address!.port);
    });
  } finally {
    clearInterval(timer);
  }
}

if (import.meta.main) {
  const [socketPath, port = '0'] = process.argv.slice(2);
  const end = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => end.abort());
  await runNotesHost(socketPath, Number(port), new Notes(), end.signal, (where) => {
    console.log(`listening on ${socketPath}; machines may come to 127.0.0.1:${where}`);
  });
}
