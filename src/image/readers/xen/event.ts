import type { LibxcEvent } from '../../../foreign/xen-libxc/reader.ts';
import type { LibxlEvent } from '../../../foreign/xen-libxl/reader.ts';
import type { XenopsdEvent } from '../../../foreign/xenopsd/reader.ts';
import type { XlEvent } from '../../../foreign/xl/reader.ts';

/** What the readers of Xen's formats hand out. */
export type XenEvent = LibxcEvent | LibxlEvent | XlEvent | XenopsdEvent;
