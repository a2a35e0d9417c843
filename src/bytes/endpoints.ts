/** Something whose bytes can be read at any place: a file, a block device, memory. */
export interface RandomAccess {
  /** For messages. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /** Reads up to `into.byteLength` bytes from `position`; fewer only at the end. Returns how many. */
  readAt(position: number, into: Uint8Array): Promise<number>;
}

/** Somewhere bytes go, in order. */
export interface ByteSink {
  /**
   * Takes the bytes. Resolves when the caller may change them again, which is also how the sink slows its writer down.
   * Calls need not wait for each other; the bytes keep the order of the calls.
   */
  write(bytes: Uint8Array): Promise<void>;
}
