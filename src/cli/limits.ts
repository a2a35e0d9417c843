import { Option, type Command } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { LimitsChoice } from '../host/migration/jobs.ts';
import { parseSize } from './size.ts';

/** Options of `migrate` and `set` (L3). */
export interface LimitOptions {
  readonly downtime?: number;
  readonly bandwidth?: number;
  readonly force?: boolean;
  readonly throttle?: number;
  readonly rounds?: number;
}

/** Adds what limits a migration. */
export function addLimitOptions(command: Command): Command {
  return command
    .addOption(new Option('--downtime <ms>', 'the longest that the guest may stand still (300)').argParser(parseWhole))
    .addOption(
      new Option('--bandwidth <size>', 'bytes a second, e.g. 100M, or "off" for no limit').argParser((text) =>
        text === 'off' ? 0 : parseSize(text),
      ),
    )
    .option('--force', 'pause it in the end, however long that takes, rather than give up')
    .addOption(
      new Option('--throttle <percent>', 'how much it may be slowed down (95); 0: not at all').argParser(parseWhole),
    )
    .addOption(new Option('--rounds <number>', 'most rounds (100)').argParser(parseWhole));
}

/** What was given of them. */
export function limitsOf({ downtime, bandwidth, force, throttle, rounds }: LimitOptions): LimitsChoice {
  return {
    ...(downtime !== undefined && { downtimeMs: downtime }),
    ...(bandwidth !== undefined && { bytesPerSecond: bandwidth === 0 ? null : bandwidth }),
    ...(force === true && { force }),
    ...(throttle !== undefined && { throttlePercent: throttle }),
    ...(rounds !== undefined && { rounds }),
  };
}

function parseWhole(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new TransmigrateError('USAGE', `'${text}' is not a whole number`);
}

/** `HOST:PORT`, `[::1]:PORT`. @throws USAGE */
export function parseAddress(text: string): { host: string; port: number } {
  const [, bracketed, plain, port = ''] = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
  throw new TransmigrateError('USAGE', `'${text}' is not HOST:PORT`, { next: 'For example 127.0.0.1:7700.' });
}
