import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { crc32, gunzipSync } from 'node:zlib';
import { TransmigrateError } from '../../../src/errors.ts';
import { fillPattern } from '../../../src/tmem/page-pattern.ts';
import { replayTmem } from '../../../src/tmem/replay.ts';

const fixtures = new URL('../../fixtures/tmem/', import.meta.url);

function linesOf(name: string): string[] {
  return gunzipSync(readFileSync(new URL(name, fixtures)))
    .toString()
    .split('\n');
}

/** What each recording holds, so that a replay that compares nothing can't pass. */
const RECORDINGS: Readonly<Record<string, readonly [operations: number, contents: number, evictions: number]>> = {
  'a1-mix.4.4.4.jsonl.gz': [6408, 707, 0],
  'b-evict.4.4.4.jsonl.gz': [15_038, 757, 5591],
  'b-evict-compress.4.4.4.jsonl.gz': [18_047, 1376, 1338],
  'c-weights.4.4.4.jsonl.gz': [18_017, 977, 7364],
  'd-compress.4.4.4.jsonl.gz': [10_017, 786, 0],
  'e-save.4.3.4-cursorfix.jsonl.gz': [5828, 1326, 0],
  'f-maxpages.4.4.4.jsonl.gz': [6002, 882, 0],
};

describe('a recording of the reference replays without a difference', () => {
  it('is tested with every recording', () => {
    const there = readdirSync(fixtures).filter((name) => name.endsWith('.gz'));
    assert.deepEqual(there.sort(), Object.keys(RECORDINGS).sort());
  });
  for (const [name, [operations, contents, evictions]] of Object.entries(RECORDINGS)) {
    it(name, () => {
      const report = replayTmem(linesOf(name));
      assert.deepEqual(report.differences, []);
      assert.equal(report.differenceCount, 0);
      assert.deepEqual(
        [report.operations, report.compared.contents, report.compared.evictions],
        [operations, contents, evictions],
      );
      assert.ok(report.compared.results > operations * 0.99);
      if (name.startsWith('e-')) {
        assert.deepEqual([report.compared.savedPages, report.compared.invalidations], [222, 42]);
      }
    });
  }
});

describe('a replay', () => {
  const changed = (name: string, wanted: RegExp, change: (line: string) => string): string[] => {
    const lines = linesOf(name);
    const at = lines.findIndex((line) => wanted.test(line));
    assert.notEqual(at, -1);
    lines[at] = change(lines[at]);
    return lines;
  };

  it('finds a result, a content, an eviction, a saved page and an invalidation that differ', () => {
    const cases: [string, RegExp, (line: string) => string, string][] = [
      ['a1-mix.4.4.4.jsonl.gz', /"op":"flush".*"rc":1/, (l) => l.replace('"rc":1', '"rc":0'), 'result'],
      ['a1-mix.4.4.4.jsonl.gz', /"op":"get".*"crc"/, (l) => l.replace(/"crc":"./, '"crc":"x'), 'content'],
      ['b-evict.4.4.4.jsonl.gz', /"ev":\[\[1,0/, (l) => l.replace('"ev":[[1,0', '"ev":[[1,1'), 'evictions'],
      ['e-save.4.3.4-cursorfix.jsonl.gz', /"sub":19.*"i":27/, (l) => l.replace('"i":27', '"i":28'), 'saved page'],
      ['e-save.4.3.4-cursorfix.jsonl.gz', /"sub":20.*"i":11/, (l) => l.replace('"i":11', '"i":99'), 'invalidation'],
      ['c-weights.4.4.4.jsonl.gz', /"op":"list"/, (l) => l.replace('ww:100', 'ww:101'), 'statistics'],
    ];
    for (const [name, wanted, change, what] of cases) {
      const { differenceCount, differences } = replayTmem(changed(name, wanted, change));
      assert.equal(differenceCount, 1, `${what}: ${JSON.stringify(differences)}`);
      assert.equal(differences[0].what, what);
    }
  });

  describe('of saves, by builds that differ', () => {
    const put = (i: number): object => ({ op: 'put', c: 1, p: 0, o: '1.0.0', i, pg: `m:${i + 1}`, rc: 1 });
    const begin = (live: number): object => ({ op: 'ctl', sub: 10, c: 1, p: 0, a1: live, rc: 1 });
    const end = { op: 'ctl', sub: 21, c: 1, p: 0, rc: 0 };
    const saved = (i: number): object => ({ op: 'ctl', sub: 19, c: 1, p: 0, rc: 1, hp: 0, o: '1.0.0', i });
    const none = { op: 'ctl', sub: 19, c: 1, p: 0, rc: -1 };
    const start = [
      { op: 'config' },
      { op: 'newpool', c: 1, p: 0, flags: 0x0100_0001, uuid: ['0', '0'], rc: 0 },
      ...[7, 3, 5].map(put),
    ];
    const replayed = (operations: readonly object[]): number =>
      replayTmem(operations.map((each, n) => JSON.stringify({ n, ...each }))).differenceCount;
    const thrice = (again: readonly object[]): object[] => [
      ...start,
      begin(0),
      saved(7),
      saved(3),
      saved(5),
      none,
      end,
      begin(1),
      ...again,
      end,
    ];

    it('one that starts again', () => {
      assert.equal(replayed(thrice([saved(7), saved(3), saved(5), none])), 0);
      assert.equal(replayed(thrice([saved(3), saved(5), none])), 0, 'without the first page');
      assert.ok(replayed(thrice([saved(7), saved(5), none])) > 0, 'a page is missing');
    });
    it('one that goes on where the save before had ended', () => {
      assert.equal(replayed(thrice([none])), 0);
      const cut = [...start, begin(0), saved(3), end];
      assert.equal(replayed([...cut, begin(0), saved(5), none, end]), 0);
      assert.equal(replayed([...cut, put(9), begin(0), saved(5), saved(9), none, end, begin(0), none]), 0);
      assert.equal(replayed([...cut, begin(0), saved(9), none, end]), 1, 'a page that is not there');
    });
    it('while pages go: listed by a live save alone, with those of an object in ascending order', () => {
      const flush = (rc: number): object => ({ op: 'flushobj', c: 1, p: 0, o: '1.0.0', rc });
      const gone = (i: number): object => ({ op: 'ctl', sub: 20, c: 1, rc: 1, hp: 0, o: '1.0.0', i });
      const noMore = { op: 'ctl', sub: 20, c: 1, rc: 0 };
      assert.equal(replayed([...start, begin(1), flush(-1000), gone(3), gone(5), gone(7), noMore, end]), 0);
      assert.equal(replayed([...start, begin(0), flush(-1000), noMore, none, end]), 0);
      const over = (rc: number): object => ({ ...put(3), rc });
      assert.equal(replayed([...start, begin(1), over(-28), { ...put(4), rc: -1000 }, gone(3), noMore, end]), 0);
      assert.equal(replayed([...start, begin(0), over(1), { ...put(4), rc: -1000 }, noMore, end]), 0);
    });
  });

  it('with shared contents: each page of one is spared once, also when another is put over it', () => {
    const put = (i: number, pg: string, ev: number[] = []): object => {
      const evicted = ev.map((each) => [1, 0, '1.0.0', each]);
      return { op: 'put', c: 1, p: 0, o: '1.0.0', i, pg, rc: 1, ...(ev.length > 0 && { ev: evicted }) };
    };
    const lines = [
      { op: 'config', compress: 0, dedup: 1, tze: 1 },
      { op: 'newpool', c: 1, p: 0, flags: 0x0100_0000, uuid: ['0', '0'], rc: 0 },
      put(0, 'r:1'),
      put(1, 'r:1'),
      put(2, 'r:2'),
      put(3, 'z'),
      // 0 and 1 go to the end of the list; 2 has its content for itself.
      put(4, 'z', [2]),
      // 3 and 4 share zeros: 3 is spared, then 0, which was spared, goes; 1 has its content for itself from then on.
      put(0, 'z'),
      put(5, 'r:9', [0]),
      put(6, 'r:8', [1]),
      { op: 'compress', c: 1, v: 1, rc: -1 },
    ];
    const { differences } = replayTmem(lines.map((each, n) => JSON.stringify({ n, ...each })));
    assert.deepEqual(differences, []);
  });

  it('keeps as many differences as it is told, and counts all', () => {
    const lines = linesOf('a1-mix.4.4.4.jsonl.gz').map((line) => line.replace('"rc":1', '"rc":2'));
    const report = replayTmem(lines, 3);
    assert.equal(report.differences.length, 3);
    assert.ok(report.differenceCount > 1000);
  });

  it('refuses what is no recording', () => {
    const refused = (lines: string[], code: string): void =>
      assert.throws(
        () => replayTmem(lines),
        (error) => error instanceof TransmigrateError && error.code === code,
      );
    const config = '{"n":0,"op":"config"}';
    refused([], 'JSON_INVALID');
    refused(['', ' '], 'JSON_INVALID');
    const wrong = ['"c":"1"', '"p":1.5', '"o":7', '"i":null', '"pg":[]', '"uuid":["1"]', '"uuid":["1","g"]', '"ev":7'];
    for (const field of [...wrong, '"ev":[[1,0,"0.0.0"]]', '"ev":[[1,0,2,3]]', '"text":1', '"rc":"1"']) {
      assert.throws(
        () => replayTmem([config, '', `{"n":1,"op":"put",${field}}`]),
        (error) => error instanceof TransmigrateError && error.code === 'FIELD_VALUE' && error.data['line'] === 3,
        field,
      );
    }
    refused(['{"n":1,"op":"put"}'], 'JSON_INVALID');
    refused(['nonsense'], 'JSON_INVALID');
    refused(['[1]'], 'JSON_INVALID');
    refused(['null'], 'JSON_INVALID');
    refused([config, '{"n":1,"op":"put","c":1,"p":0,"o":"1.0","i":0,"pg":"z"}'], 'FIELD_VALUE');
    refused([config, '{"n":1,"op":"put","c":1,"p":0,"o":"1.0.0","i":0,"pg":"q:1"}'], 'FIELD_VALUE');
  });
});

it('page contents are those that the recordings name', () => {
  const vectors = JSON.parse(readFileSync(new URL('page-vectors.json', fixtures), 'utf8')) as {
    pg: string;
    crc: string;
  }[];
  assert.equal(vectors.length, 31);
  const page = new Uint8Array(4096);
  for (const { pg, crc } of vectors) {
    page.fill(0xee);
    fillPattern(pg, page);
    assert.equal(crc32(page).toString(16).padStart(8, '0'), crc, pg);
  }
});
