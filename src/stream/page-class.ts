/** Classes of pages (stream 7.1). From 0x80 on they carry no data. */
export const PAGE_CLASS = {
  ordinary: 0,
  table1: 1,
  table2: 2,
  table3: 3,
  table4: 4,
  pinned1: 9,
  pinned2: 10,
  pinned3: 11,
  pinned4: 12,
  notPresent: 0x80,
  allocated: 0x81,
  broken: 0x82,
  ballooned: 0x83,
} as const;

/** Whether pages of this class come with their content. */
export function hasData(pageClass: number): boolean {
  return pageClass < 0x80;
}
