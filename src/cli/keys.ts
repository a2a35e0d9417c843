import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { TransmigrateError } from '../errors.ts';
import type { Context, GlobalOptions } from './context.ts';
import { escapeText } from './escape.ts';
import { addExamples } from './examples.ts';

interface KeysOptions extends GlobalOptions {
  readonly cert: string;
  readonly key: string;
  readonly name: readonly string[];
  readonly days: number;
  readonly json?: boolean;
}

const DAYS = 365;

/** `transmigrate keys make`. */
export function keysCommand(context: Context): Command {
  const make = new Command('make')
    .summary('make a key pair and its certificate')
    .description(
      'Makes a key pair for TLS between hosts, with a certificate that it signs itself. Each host names its own ' +
        'with --tls-cert and --tls-key of "host run", and the certificates of the others with --tls-ca. Files that ' +
        'are there are not replaced.',
    )
    .requiredOption('--cert <file>', 'where the certificate goes: for the other hosts')
    .requiredOption('--key <file>', 'where the private key goes: for nobody else')
    .addOption(
      new Option('--name <name>', 'a name or address of the host; may be given again (default: this machine’s)')
        .argParser((text: string, before: readonly string[]) => [...before, text])
        .default([], 'none'),
    )
    .addOption(
      new Option('--days <number>', 'how long it is valid')
        .argParser((text) => {
          if (/^\d{1,6}$/.test(text)) return Number(text);
          throw new TransmigrateError('USAGE', `'${text}' is no number of days`);
        })
        .default(DAYS),
    )
    .option('--json', 'print one JSON object')
    .action(async (_options: unknown, self: Command) => {
      const { cert, key, name, days, json, quiet } = self.optsWithGlobals<KeysOptions>();
      const files = { certificate: resolve(cert), key: resolve(key), names: name, days };
      const made = await context.library.makeKeyFiles(files);
      if (json === true) await context.stdout.writeJson(made);
      else if (quiet !== true) {
        await context.stdout.writeLines([
          escapeText(`${made.certificate}, for ${made.names.join(', ')}`),
          `identity ${made.identity}`,
        ]);
      }
    });
  return new Command('keys')
    .summary('keys for TLS between hosts')
    .description('Keys and certificates by which hosts know each other.')
    .addCommand(
      addExamples(make, [{ line: 'transmigrate keys make --cert a.crt --key a.key', what: 'For this machine.' }]),
    );
}
