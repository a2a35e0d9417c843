import type { HostClient } from '../host/client.ts';
import type { DemoStep } from '../host/demo.ts';
import type { GuestInfo, HostInfo } from '../host/api.ts';
import type { OwnDescription } from '../host/describe.ts';
import type { repairFile } from '../host/repair-file.ts';
import type { runHost } from '../host/run.ts';
import type { openFileSource } from '../io/file.ts';
import type { openPipeSource } from '../io/pipe.ts';
import type { ByteSource } from '../io/source.ts';
import type { spool } from '../io/spool.ts';
import type { checkImage } from '../image/check/check-image.ts';
import type { readHostDescription } from '../image/check/host-description.ts';
import type { diffImages } from '../image/diff/diff-images.ts';
import type { inspectImage } from '../image/inspect.ts';
import type { openImage } from '../image/open/open-image.ts';
import type { ReplayReport } from '../tmem/replay.ts';
import type { verifyImage } from '../image/verify.ts';

/** The part of the library that the commands call. Tests hand in another. */
export interface Library {
  readonly openFileSource: typeof openFileSource;
  readonly openPipeSource: (...args: Parameters<typeof openPipeSource>) => Promise<ByteSource>;
  readonly spool: typeof spool;
  readonly inspectImage: typeof inspectImage;
  readonly verifyImage: typeof verifyImage;
  readonly openImage: typeof openImage;
  readonly diffImages: typeof diffImages;
  readonly readHostDescription: typeof readHostDescription;
  readonly checkImage: typeof checkImage;
  readonly describeHost: (info: HostInfo, guests: readonly GuestInfo[]) => Promise<OwnDescription>;
  readonly repairFile: typeof repairFile;
  readonly connectHost: (socketPath: string) => Promise<HostClient>;
  readonly runHost: typeof runHost;
  readonly replayTmem: (lines: Iterable<string>) => Promise<ReplayReport>;
  readonly demonstrate: (signal: AbortSignal) => Promise<AsyncIterable<DemoStep>>;
}

/** The library itself. Each part is loaded when it is called, so that `--help` and completions do not wait for it. */
export const library: Library = {
  openFileSource: async (...args) => (await import('../io/file.ts')).openFileSource(...args),
  openPipeSource: async (...args) => (await import('../io/pipe.ts')).openPipeSource(...args),
  spool: async (...args) => (await import('../io/spool.ts')).spool(...args),
  inspectImage: async (...args) => (await import('../image/inspect.ts')).inspectImage(...args),
  verifyImage: async (...args) => (await import('../image/verify.ts')).verifyImage(...args),
  openImage: async (...args) => (await import('../image/open/open-image.ts')).openImage(...args),
  diffImages: async (...args) => (await import('../image/diff/diff-images.ts')).diffImages(...args),
  readHostDescription: async (...args) =>
    (await import('../image/check/host-description.ts')).readHostDescription(...args),
  checkImage: async (...args) => (await import('../image/check/check-image.ts')).checkImage(...args),
  describeHost: async (...args) => (await import('../host/describe.ts')).describeHost(...args),
  repairFile: async (...args) => (await import('../host/repair-file.ts')).repairFile(...args),
  connectHost: async (socketPath) => new (await import('../host/client.ts')).HostClient(socketPath),
  runHost: async (...args) => (await import('../host/run.ts')).runHost(...args),
  replayTmem: async (lines) => (await import('../tmem/replay.ts')).replayTmem(lines),
  demonstrate: async (signal) => (await import('../host/demo.ts')).demonstrate(signal),
};
