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

export { runHost, type HostSettings } from './host/run.ts';
export { HostClient } from './host/client.ts';

export type { OwnGuest, OwnSeat, OwnState, PinnedState } from './migrate/section/own.ts';
export type { StateLoader, StateWriter } from './migrate/section/section.ts';
export {
  bytesOf,
  singleOutput,
  type Ledger,
  type LiveChannel,
  type LiveOutput,
  type LiveState,
  type Lost,
  type StateLeft,
  type StateOffer,
} from './migrate/section/live.ts';
export { leastSent, takeTurns, type Taker, type Waiting } from './migrate/section/turns.ts';
