/**
 * A key pair and a certificate that it signs itself (RFC 5280), in the encoding of ASN.1 that certificates have (DER).
 * Node reads certificates and makes none. Who trusts such a certificate trusts this one key: it may sign no others.
 */
import { createHash, generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { TransmigrateError } from '../errors.ts';

export interface KeyRequest {
  /** Names and addresses of the host: who connects to one of them compares it. The first is the subject, too. */
  readonly names: readonly string[];
  readonly from: Date;
  readonly days: number;
  /** 16 random bytes. */
  readonly serial: Uint8Array;
}

export interface KeyPair {
  /** PEM. */
  readonly certificate: string;
  /** PEM, of the private key: not for anybody else. */
  readonly key: string;
  /** {@link identityOf} the certificate. */
  readonly identity: string;
}

const NAMES_MOST = 100;
const DAYS_MOST = 36_500;
/** Of a common name (RFC 5280, appendix A.1). */
const COMMON_NAME_MOST = 64;

/** Who a peer is: SHA-256 of its public key as certificates hold it, in hexadecimal. It may get a new certificate. */
export function identityOf(certificate: X509Certificate): string {
  return createHash('sha256').update(spkiOf(certificate.publicKey)).digest('hex');
}

/** @throws USAGE for names, days or a serial that a certificate can't have */
export function makeKeys({ names, from, days, serial }: KeyRequest): KeyPair {
  const wrong = (what: string): TransmigrateError => new TransmigrateError('USAGE', what);
  if (names.length === 0 || names.length > NAMES_MOST) throw wrong(`A certificate has 1 to ${NAMES_MOST} names`);
  for (const name of names) {
    if (
      isIP(name) === 0 &&
      !/^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i.test(name)
    )
      throw wrong(`${JSON.stringify(name)} is neither a host name nor an address`);
  }
  if (!(Number.isInteger(days) && days >= 1 && days <= DAYS_MOST)) throw wrong(`Days are 1 to ${DAYS_MOST}`);
  if (serial.byteLength !== 16) throw wrong('A serial number has 16 bytes');
  const until = new Date(from.getTime() + days * 86_400_000);
  if (Number.isNaN(until.getTime()) || until.getUTCFullYear() > 9999) throw wrong('No such day can be written');

  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const spki = spkiOf(publicKey);
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const subject = sequence(
    set(sequence(oid(OID.commonName), tlv(TAG.utf8, text(names[0].slice(0, COMMON_NAME_MOST))))),
  );
  const signed = sequence(
    tlv(TAG.context0, integer(Uint8Array.of(2))),
    integer(serial),
    algorithm,
    subject,
    sequence(time(from), time(until)),
    subject,
    spki,
    tlv(TAG.context3, sequence(...extensions(names, spki))),
  );
  const signature = sign('sha256', signed, privateKey);
  const der = sequence(signed, algorithm, bits(signature));
  const certificate = new X509Certificate(der);
  return {
    certificate: certificate.toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    identity: identityOf(certificate),
  };
}

function extensions(names: readonly string[], spki: Uint8Array): Uint8Array[] {
  const alternatives = names.map((name) =>
    isIP(name) === 0 ? tlv(TAG.dnsName, text(name)) : tlv(TAG.ipAddress, addressBytes(name)),
  );
  const keyId = createHash('sha256').update(spki).digest().subarray(0, 20);
  const critical = tlv(TAG.boolean, Uint8Array.of(0xff));
  const extension = (id: string, value: Uint8Array, ...marks: Uint8Array[]): Uint8Array =>
    sequence(oid(id), ...marks, tlv(TAG.octets, value));
  return [
    // No authority: an empty sequence says so.
    extension(OID.basicConstraints, sequence(), critical),
    // Bit 0: digital signatures, which is what TLS 1.3 does with the key.
    extension(OID.keyUsage, tlv(TAG.bits, Uint8Array.of(7, 0x80)), critical),
    extension(OID.extendedKeyUsage, sequence(oid(OID.serverAuth), oid(OID.clientAuth))),
    extension(OID.subjectKeyId, tlv(TAG.octets, keyId)),
    extension(OID.subjectAlternativeName, sequence(...alternatives)),
  ];
}

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  subjectKeyId: '2.5.29.14',
  subjectAlternativeName: '2.5.29.17',
} as const;

/** Tags of DER (X.690), and those that RFC 5280 gives a meaning by their place. */
const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  context0: 0xa0,
  context3: 0xa3,
  dnsName: 0x82,
  ipAddress: 0x87,
} as const;

function tlv(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  if (length > 0xffff) throw new RangeError('a part of a certificate of more than 65535 bytes');
  return Buffer.concat([Uint8Array.of(tag, ...size), ...parts]);
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(TAG.sequence, ...parts);
}

function set(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(TAG.set, ...parts);
}

/** A number that is not negative: in as few bytes as it needs, and with a zero before a high bit. */
function integer(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first === -1 ? Uint8Array.of(0) : bytes.subarray(first);
  return tlv(TAG.integer, digits[0] >= 0x80 ? Uint8Array.of(0) : new Uint8Array(0), digits);
}

function bits(bytes: Uint8Array): Uint8Array {
  return tlv(TAG.bits, Uint8Array.of(0), bytes);
}

function oid(dotted: string): Uint8Array {
  const [first, second, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const digits = [part & 0x7f];
    for (let high = Math.floor(part / 128); high > 0; high = Math.floor(high / 128))
      digits.unshift(0x80 | (high & 0x7f));
    bytes.push(...digits);
  }
  return tlv(TAG.oid, Uint8Array.from(bytes));
}

/** Up to 2049 with two digits of the year, and then with four (RFC 5280, 4.1.2.5). */
function time(date: Date): Uint8Array {
  const digits = date.toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const year = date.getUTCFullYear();
  return year >= 1950 && year < 2050 ? tlv(TAG.utcTime, text(digits.slice(2))) : tlv(TAG.generalizedTime, text(digits));
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** 4 or 16 bytes. */
function addressBytes(address: string): Uint8Array {
  if (isIP(address) === 4) return Uint8Array.from(address.split('.').map(Number));
  // The last 32 bits may be written as an address of four numbers.
  const plain = address.replace(/^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, before: string, ...four: string[]) => {
    const [a, b, c, d] = four.slice(0, 4).map(Number);
    return `${before}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head, tail] = plain.split('%', 1)[0].split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => '0'), ...back];
  return Uint8Array.from(
    groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  );
}

function spkiOf(key: X509Certificate['publicKey']): Uint8Array {
  return key.export({ type: 'spki', format: 'der' });
}
