/** A destination's policy: what a stream asks for is granted, clamped or refused, and the report says so (T6). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  checkTmemPolicy,
  decideTmem,
  IncomingTmem,
  TmemEngine,
  TransmigrateError,
  tmemStatistics,
  type ClientImage,
  type TmemPolicy,
} from '../../../src/index.ts';

const ONE = '11111111-2222-3333-4444-555555555555';
const OTHER = 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee';
const STANDARD = { weight: 100, cap: 5000, allowance: 700 };
const asked = (changes: Partial<ClientImage> = {}): ClientImage => ({
  compress: true,
  frozen: true,
  weight: 300,
  cap: 1000,
  allowance: 400,
  authorised: [],
  ...changes,
});

function verdicts(image: ClientImage, policy: TmemPolicy): string[] {
  return decideTmem(image, policy, STANDARD).decisions.map(({ granted, verdict }) => `${verdict} ${granted}`);
}

describe('each request by itself', () => {
  const cases: readonly [what: string, asked: Partial<ClientImage>, policy: TmemPolicy, expected: string[]][] = [
    ['no policy', {}, {}, ['granted 300', 'granted 1000', 'granted 400']],
    ['within the rules', {}, { weight: { least: 300, most: 300, beyond: 'refuse' } }, ['granted 300']],
    ['too heavy, clamped', {}, { weight: { most: 200, beyond: 'clamp' } }, ['clamped 200']],
    ['too heavy, refused', {}, { weight: { most: 200, beyond: 'refuse' } }, ['refused 100']],
    ['too light, clamped', { weight: 0 }, { weight: { least: 1, beyond: 'clamp' } }, ['clamped 1']],
    ['weight 0 is a small number', { weight: 0 }, { weight: { most: 9, beyond: 'clamp' } }, ['granted 0']],
    ['a cap of 0 is no cap', { cap: 0 }, { cap: { most: 99, beyond: 'clamp' } }, ['granted 300', 'clamped 99']],
    ['no cap, refused', { cap: 0 }, { cap: { most: 99, beyond: 'refuse' } }, ['granted 300', 'refused 5000']],
    ['no cap where any will do', { cap: 0 }, { cap: { least: 9, beyond: 'clamp' } }, ['granted 300', 'granted 0']],
    [
      'an allowance that only a stream has room for',
      { allowance: 2 ** 40 },
      {},
      ['granted 300', 'granted 1000', 'clamped 4294967295'],
    ],
    ['numbers that are none', { weight: Number.NaN, cap: -1 }, {}, ['refused 100', 'refused 5000', 'granted 400']],
    [
      'uuids',
      { authorised: [ONE, OTHER.toUpperCase()] },
      { authorisations: [OTHER] },
      ['granted 300', 'granted 1000', 'granted 400', 'refused false', 'granted true'],
    ],
  ];
  for (const [what, changes, policy, expected] of cases) {
    it(what, () => assert.deepEqual(verdicts(asked(changes), policy).slice(0, expected.length), expected));
  }

  it('a 17th uuid is refused, and one that comes twice is one', () => {
    const uuids = Array.from({ length: 17 }, (_, i) => ONE.slice(0, -2) + String(10 + i));
    const { authorised, decisions } = decideTmem(asked({ authorised: [uuids[0], ...uuids] }), {}, STANDARD);
    assert.deepEqual(authorised, uuids.slice(0, 16));
    assert.equal(decisions.at(-1)?.verdict, 'refused');
    assert.equal(decideTmem(asked({ authorised: uuids }), { authorisations: 'none' }, STANDARD).authorised.length, 0);
  });
});

it('a client that is admitted has what was granted, and says so', () => {
  const engine = new TmemEngine({ limitBytes: 2 ** 20, client: { allowance: 50 } });
  const policy: TmemPolicy = {
    weight: { most: 200, beyond: 'clamp' },
    allowance: { most: 100, beyond: 'refuse' },
    authorisations: [ONE],
  };
  const incoming = IncomingTmem.admit(engine, 4, asked({ authorised: [OTHER, ONE] }), policy);
  assert.deepEqual(incoming.decisions, [
    { what: 'weight', asked: 300, granted: 200, verdict: 'clamped' },
    { what: 'cap', asked: 1000, granted: 1000, verdict: 'granted' },
    { what: 'allowance', asked: 400, granted: 50, verdict: 'refused' },
    { what: 'authorisation', asked: OTHER, granted: false, verdict: 'refused' },
    { what: 'authorisation', asked: ONE, granted: true, verdict: 'granted' },
  ]);
  incoming.run();
  const [client] = tmemStatistics(engine).clients;
  const { weight, cap, allowance, compress, frozen, authorised } = client;
  assert.deepEqual([weight, cap, allowance, compress, frozen], [200, 1000, 50, true, true]);
  assert.deepEqual(authorised, [ONE.replaceAll('-', '')]);
});

describe('a policy is checked before it is used', () => {
  const sound: TmemPolicy = {
    weight: { least: 1, most: 1000, beyond: 'clamp' },
    cap: { beyond: 'refuse' },
    authorisations: [ONE],
  };
  it('a sound one comes back', () => {
    assert.deepEqual(checkTmemPolicy(JSON.parse(JSON.stringify(sound))), sound);
    assert.deepEqual(checkTmemPolicy({ authorisations: 'none' }), { authorisations: 'none' });
  });
  const broken: readonly [path: string, value: unknown][] = [
    ['policy', null],
    ['policy', []],
    ['policy.wait', { wait: {} }],
    ['weight', { weight: 7 }],
    ['weight.top', { weight: { top: 1, beyond: 'clamp' } }],
    ['weight.beyond', { weight: { most: 1 } }],
    ['weight.most', { weight: { most: -1, beyond: 'clamp' } }],
    ['weight.least', { weight: { least: 0.5, beyond: 'clamp' } }],
    ['weight', { weight: { least: 2, most: 1, beyond: 'clamp' } }],
    ['cap.most', { cap: { most: 0, beyond: 'clamp' } }],
    ['allowance.most', { allowance: { most: 2 ** 32, beyond: 'clamp' } }],
    ['authorisations', { authorisations: 'some' }],
    ['authorisations[1]', { authorisations: [ONE, 'x'] }],
  ];
  for (const [path, value] of broken) {
    it(`${path} of ${JSON.stringify(value)}`, () => {
      assert.throws(
        () => checkTmemPolicy(value),
        (error) => error instanceof TransmigrateError && error.code === 'USAGE' && error.path === path,
      );
    });
  }
});
