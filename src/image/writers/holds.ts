/** What a format has room for: what is left out when an image becomes one of it follows from this. */
export interface FormatHolds {
  /** Pages of guest memory. */
  readonly pages: boolean;
  /** Which page is a page table, and which are named without content (stream 7.1). */
  readonly pageClasses: boolean;
  /** Registers of processors. */
  readonly vcpus: 'full' | 'none';
  /** Kinds of state of processors that it keeps as they are (stream 8.2). */
  readonly vcpuStates: (stateKind: number) => boolean;
  /** CPUID and MSR policies. */
  readonly policies: boolean;
  /** Device blobs of a format that it keeps. */
  readonly devices: (format: string) => boolean;
  /** Disks, whose content is elsewhere. */
  readonly disks: boolean;
  readonly tmem: boolean;
  readonly checkpoints: boolean;
}

/** Nothing but pages: what others add to. */
export const PAGES_ONLY: FormatHolds = {
  pages: true,
  pageClasses: false,
  vcpus: 'none',
  vcpuStates: () => false,
  policies: false,
  devices: () => false,
  disks: false,
  tmem: false,
  checkpoints: false,
};
