// The tables of the specification that the builder needs, typed anew from its pages.

export const recordTypes = {
  ABOUT: { type: 0x00000001, section: '6.1', limit: 1 << 20 },
  DICTIONARY: { type: 0x00000002, section: '12', limit: 64 << 10 },
  SEAL: { type: 0x00000003, section: '5.3', limit: 48 },
  BARRIER: { type: 0x00000004, section: '6.2', limit: 528 },
  ROUND: { type: 0x00000005, section: '6.3', limit: 16 },
  CHECKPOINT: { type: 0x00000006, section: '6.4', limit: 16 },
  END: { type: 0x00000007, section: '6.5', limit: 576 },
  INDEX: { type: 0x80000008, section: '13.1', limit: 196616 },
  INDEX_ROOT: { type: 0x80000009, section: '13.2', limit: 16 << 20 },
  ACK: { type: 0x0000000a, section: '6.6', limit: 48 },
  RAM: { type: 0x00000010, section: '7', limit: 16 << 20 },
  VCPU_X86: { type: 0x00000020, section: '8.1', limit: 512 },
  VCPU_STATE: { type: 0x00000021, section: '8.2', limit: 16 << 20 },
  X86_CPUID: { type: 0x00000022, section: '8.3', limit: 98312 },
  X86_MSR: { type: 0x00000023, section: '8.4', limit: 65544 },
  DEVICE: { type: 0x00000030, section: '9.1', limit: 851 },
  DEVICE_DATA: { type: 0x00000031, section: '9.2', limit: (1 << 20) + 24 },
  DISK: { type: 0x00000032, section: '9.3', limit: 4564 },
  TMEM_CLIENT: { type: 0x00000040, section: '10.1', limit: 280 },
  TMEM_POOL: { type: 0x00000041, section: '10.2', limit: 48 },
  TMEM_PAGES: { type: 0x00000042, section: '10.3', limit: 16 << 20 },
  TMEM_INVALIDATE: { type: 0x00000043, section: '10.4', limit: 16 << 20 },
  ORIGIN: { type: 0x80000050, section: '11', limit: 16 << 20 },
} as const;

export type RecordName = keyof typeof recordTypes;

export const optionalBit = 0x80000000;

export const features = ['ENCRYPTED', 'PAGE_REFERENCES', 'DELTAS', 'INCREMENTAL'] as const;
export const kinds = { save: 1, migration: 2, incremental: 3, core: 4 } as const;
