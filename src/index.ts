/**
 * The public API of Transmigrate. Everything exported here is documented where it is defined, and stays; everything
 * else may change.
 */
export * from './browser.ts';

export { openFileSource } from './io/file.ts';
export { openPipeSource } from './io/pipe.ts';
export { FileSink } from './io/file-sink.ts';
export {
  restore,
  save,
  type EmulatorOptions,
  type RestoredEmulator,
  type SavedEmulator,
  type SaveOptions,
} from './migrate/runner/in-process.ts';
