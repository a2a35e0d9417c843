import type { HostClient } from '../host/client.ts';
import type { DemoStep } from '../host/demo.ts';
import type { GuestInfo, HostInfo } from '../host/api.ts';
import type { OwnDescription } from '../host/describe.ts';
import type { makeKeyFiles } from '../host/key-files.ts';
import type { repairFile } from '../host/repair-file.ts';
import type { runHost } from '../host/run.ts';
import type { openFileSource } from '../io/file.ts';
import type { openPipeSource } from '../io/pipe.ts';
import type { ByteSource } from '../io/source.ts';
import type { spool } from '../io/spool.ts';
import type { convertImage } from '../image/convert/convert.ts';
import type { FileSink } from '../io/file-sink.ts';
import type * as memoryTools from '../image/memory/tools.ts';
import type { openImage } from '../image/open/open-image.ts';
import type { OpenedImage } from '../image/open/opened-image.ts';
import type { checkImage } from '../image/check/check-image.ts';
import type { readHostDescription } from '../image/check/host-description.ts';
import type { diffImages } from '../image/diff/diff-images.ts';
import type { inspectImage } from '../image/inspect.ts';
import type { ReplayReport } from '../tmem/replay.ts';
import type { verifyImage } from '../image/verify.ts';

/**
 * Talks with one debugger about an image.
 * @param send writes bytes; returns whether somebody still reads them
 */
export type DebugSession = (
  input: AsyncIterable<Uint8Array>,
  send: (bytes: Uint8Array) => Promise<boolean>,
) => Promise<void>;

/** The part of the library that the commands call. Tests hand in another. */
export interface Library {
  readonly openFileSource: typeof openFileSource;
  readonly openPipeSource: (...args: Parameters<typeof openPipeSource>) => Promise<ByteSource>;
  readonly spool: typeof spool;
  readonly createFile: typeof FileSink.create;
  readonly inspectImage: typeof inspectImage;
  readonly verifyImage: typeof verifyImage;
  readonly convertImage: typeof convertImage;
  readonly openImage: typeof openImage;
  readonly memoryTools: () => Promise<typeof memoryTools>;
  readonly debugImage: (image: OpenedImage) => Promise<DebugSession>;
  readonly diffImages: typeof diffImages;
  readonly readHostDescription: typeof readHostDescription;
  readonly checkImage: typeof checkImage;
  readonly describeHost: (info: HostInfo, guests: readonly GuestInfo[]) => Promise<OwnDescription>;
  readonly repairFile: typeof repairFile;
  readonly connectHost: (socketPath: string) => Promise<HostClient>;
  readonly runHost: typeof runHost;
  readonly makeKeyFiles: typeof makeKeyFiles;
  readonly replayTmem: (lines: Iterable<string>) => Promise<ReplayReport>;
  readonly demonstrate: (
    signal: AbortSignal,
    onProgress: (done: number, total: number | null) => void,
  ) => Promise<AsyncIterable<DemoStep>>;
}

/** The library itself. Each part is loaded when it is called, so that `--help` and completions do not wait for it. */
export const library: Library = {
  openFileSource: async (...args) => (await import('../io/file.ts')).openFileSource(...args),
  openPipeSource: async (...args) => (await import('../io/pipe.ts')).openPipeSource(...args),
  spool: async (...args) => (await import('../io/spool.ts')).spool(...args),
  createFile: async (...args) => (await import('../io/file-sink.ts')).FileSink.create(...args),
  inspectImage: async (...args) => (await import('../image/inspect.ts')).inspectImage(...args),
  verifyImage: async (...args) => (await import('../image/verify.ts')).verifyImage(...args),
  convertImage: async (...args) => (await import('../image/convert/convert.ts')).convertImage(...args),
  openImage: async (...args) => (await import('../image/open/open-image.ts')).openImage(...args),
  memoryTools: () => import('../image/memory/tools.ts'),
  debugImage: async (image) => {
    const [{ GdbSession }, { serveGdb }] = await Promise.all([
      import('../image/gdb/session.ts'),
      import('../image/gdb/serve.ts'),
    ]);
    // What can't be debugged is said now, and not when the first debugger comes.
    let first: InstanceType<typeof GdbSession> | undefined = new GdbSession(image);
    return (input, send) => {
      const session = first ?? new GdbSession(image);
      first = undefined;
      return serveGdb(session, input, send);
    };
  },
  diffImages: async (...args) => (await import('../image/diff/diff-images.ts')).diffImages(...args),
  readHostDescription: async (...args) =>
    (await import('../image/check/host-description.ts')).readHostDescription(...args),
  checkImage: async (...args) => (await import('../image/check/check-image.ts')).checkImage(...args),
  describeHost: async (...args) => (await import('../host/describe.ts')).describeHost(...args),
  repairFile: async (...args) => (await import('../host/repair-file.ts')).repairFile(...args),
  connectHost: async (socketPath) => new (await import('../host/client.ts')).HostClient(socketPath),
  runHost: async (...args) => (await import('../host/run.ts')).runHost(...args),
  makeKeyFiles: async (...args) => (await import('../host/key-files.ts')).makeKeyFiles(...args),
  replayTmem: async (lines) => (await import('../tmem/replay.ts')).replayTmem(lines),
  demonstrate: async (...args) => (await import('../host/demo.ts')).demonstrate(...args),
};
