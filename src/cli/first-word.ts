import type { Command } from 'commander';
import { STDIN } from './context.ts';

/**
 * Puts in the word `inspect` where it was left out: before a file, `-`, or nothing but options. A word that is
 * neither a command nor a file stays, and commander names the nearest command; one that looks like a path is taken
 * for a file, so that it is said that there is no such file.
 */
export function withCommandWord(
  argv: readonly string[],
  program: Command,
  fileExists: (path: string) => boolean,
): readonly string[] {
  const word = firstWord(argv, program);
  if (word === undefined) {
    const asksForHelp = argv.some((arg) => ['-h', '--help', '-V', '--version'].includes(arg));
    return asksForHelp ? argv : ['inspect', ...argv];
  }
  if (!word.afterDashes && (word.text === 'help' || program.commands.some((one) => one.name() === word.text)))
    return argv;
  const isFile = word.afterDashes || word.text === STDIN || /[./\\]/.test(word.text) || fileExists(word.text);
  return isFile ? ['inspect', ...argv] : argv;
}

function firstWord(argv: readonly string[], program: Command): { text: string; afterDashes: boolean } | undefined {
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? '';
    if (arg === '--') {
      const next = argv[i + 1];
      return next === undefined ? undefined : { text: next, afterDashes: true };
    }
    if (arg === STDIN || !arg.startsWith('-')) return { text: arg, afterDashes: false };
    // The value of an option is not the word that is looked for.
    if (program.options.some((option) => option.required && (option.short === arg || option.long === arg))) i += 1;
  }
  return undefined;
}
