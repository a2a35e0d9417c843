/** Something that says when time is over: handed in, so that tests need not wait. */
export interface Timers {
  /** Calls `action` after so many milliseconds, once. @returns what takes that back */
  after(ms: number, action: () => void): () => void;
}

/** The system's. A timer does not keep the process alive. */
export const systemTimers: Timers = {
  after: (ms, action) => {
    const timer = setTimeout(action, ms).unref();
    return () => clearTimeout(timer);
  },
};
