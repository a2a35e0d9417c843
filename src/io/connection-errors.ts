import { TransmigrateError } from '../errors.ts';

/** What the system's and TLS's errors mean. */
const KNOWN: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'there is no such name',
  EAI_AGAIN: 'the name can not be looked up now',
  EHOSTUNREACH: 'there is no way there',
  ENETUNREACH: 'there is no way there',
  ETIMEDOUT: 'nothing came back',
  EACCES: 'permission denied',
  EADDRINUSE: 'something else listens there already',
  EADDRNOTAVAIL: 'this machine does not have the address',
  ECONNRESET: 'the other end broke it off',
  EPIPE: 'the other end reads no more',
  ERR_STREAM_PREMATURE_CLOSE: 'it was closed',
  ERR_STREAM_DESTROYED: 'it was closed',
  ERR_STREAM_WRITE_AFTER_END: 'it was ended before',
};

/** Codes of OpenSSL and of TLS's alerts that are about a certificate, on this side or the other. */
const ABOUT_TRUST =
  /CERT|SELF_SIGNED|UNABLE_TO|ALERT_UNKNOWN_CA|ALERT_BAD_CERTIFICATE|ALERT_ACCESS_DENIED|ALERT_DECRYPT_ERROR/;

function reasonOf(cause: unknown): { code: string; why: string } {
  if (cause instanceof AggregateError && cause.errors.length > 0) return reasonOf(cause.errors[0]);
  const { code = '', message } = cause as NodeJS.ErrnoException;
  return { code, why: KNOWN[code] ?? message };
}

/** No connection came about. */
export function connectFailed(name: string, cause: unknown): TransmigrateError {
  if (cause instanceof TransmigrateError) return cause;
  const { code, why } = reasonOf(cause);
  if (ABOUT_TRUST.test(code)) return untrusted(name, why, cause);
  return new TransmigrateError('CONNECT_FAILED', `Can't connect to ${name}: ${why}`, {
    data: { peer: name, reason: why },
    cause,
  });
}

/** A connection ended in another way than by the end of what the other end had to say. */
export function connectionLost(name: string, cause: unknown): TransmigrateError {
  if (cause instanceof TransmigrateError) return cause;
  const { code, why } = reasonOf(cause);
  // TLS 1.3 lets a client think that it is connected before the server has looked at its certificate.
  if (ABOUT_TRUST.test(code)) return untrusted(name, why, cause);
  return lostBecause(name, why, cause);
}

export function lostBecause(name: string, why: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('CONNECTION_LOST', `The connection to ${name} was lost: ${why}`, {
    data: { peer: name, reason: why },
    ...(cause !== undefined && { cause }),
  });
}

export function untrusted(name: string, why: string, cause?: unknown): TransmigrateError {
  return new TransmigrateError('PEER_UNTRUSTED', `${name} and this host do not trust each other: ${why}`, {
    data: { peer: name, reason: why },
    ...(cause !== undefined && { cause }),
  });
}

export function listenFailed(name: string, cause: unknown): TransmigrateError {
  if (cause instanceof TransmigrateError) return cause;
  const { why } = reasonOf(cause);
  return new TransmigrateError('LISTEN_FAILED', `Can't listen on ${name}: ${why}`, {
    data: { address: name, reason: why },
    cause,
  });
}

export function cancelled(name: string): TransmigrateError {
  return new TransmigrateError('CANCELLED', `The connection to ${name} was cancelled`);
}
