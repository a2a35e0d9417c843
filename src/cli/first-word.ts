import type { Command } from 'commander';
import { STDIN } from './context.ts';

/** How xl called the commands that are below `tmem` here. */
const XL_NAME = /^(tmem)-(list|freeze|thaw|set|shared-auth|freeable)$/;

/**
 * Puts the word of the command first. Where it was left out, before a file, `-`, or nothing but options, it is
 * `inspect`; where it stands behind options it is moved, so that `--json verify FILE` is no riddle. A word that is
 * neither a command nor a file is left alone, for commander to name the nearest command; one that looks like a path
 * is taken for a file, so that it is said that there is no such file.
 */
export function withCommandWord(
  argv: readonly string[],
  program: Command,
  fileExists: (path: string) => boolean,
): readonly string[] {
  const old = argv.findIndex((arg) => XL_NAME.test(arg));
  if (old >= 0 && firstWord(argv, program)?.at === old) {
    const [group, name] = XL_NAME.exec(argv[old])!.slice(1);
    return [group, name, ...argv.slice(0, old), ...argv.slice(old + 1)];
  }
  const turned = withImageSecond(argv, program);
  if (turned !== undefined) return turned;
  const word = firstWord(argv, program);
  if (word === undefined) {
    const asksForHelp = argv.some((arg) => ['-h', '--help', '-V', '--version'].includes(arg));
    return asksForHelp ? argv : ['inspect', ...argv];
  }
  const isCommand = (text: string) => program.commands.some((one) => one.name() === text);
  const topic = argv[word.at + 1];
  // Of a word that there is no help for, commander would print the help of everything.
  if (word.text === 'help' && !word.afterDashes && topic !== undefined && !topic.startsWith('-') && !isCommand(topic))
    return [topic];
  if (!word.afterDashes && (word.text === 'help' || isCommand(word.text)))
    return [word.text, ...argv.slice(0, word.at), ...argv.slice(word.at + 1)];
  const isFile =
    word.afterDashes || word.text === STDIN || word.text === '' || /[./\\]/.test(word.text) || fileExists(word.text);
  return isFile ? ['inspect', ...argv] : [word.text];
}

/** Commands of which the image may come before what is done with it: `memory IMAGE read`. */
const IMAGE_FIRST = 'memory';

/** The same with the image behind; undefined where that is not how it was said. */
function withImageSecond(argv: readonly string[], program: Command): readonly string[] | undefined {
  const group = firstWord(argv, program);
  if (group === undefined || group.text !== IMAGE_FIRST || group.afterDashes) return undefined;
  const isBelow = (text: string | undefined) =>
    text === 'help' ||
    program.commands.some((one) => one.name() === IMAGE_FIRST && one.commands.some((sub) => sub.name() === text));
  const [image, action] = argv.slice(group.at + 1);
  if (image === undefined || isBelow(image) || !isBelow(action) || (image.startsWith('-') && image !== STDIN)) {
    return undefined;
  }
  return [IMAGE_FIRST, action ?? '', ...argv.slice(0, group.at), image, ...argv.slice(group.at + 3)];
}

interface Word {
  readonly text: string;
  readonly at: number;
  readonly afterDashes: boolean;
}

function firstWord(argv: readonly string[], program: Command): Word | undefined {
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i] ?? '';
    if (arg === '--') {
      const next = argv[i + 1];
      return next === undefined ? undefined : { text: next, at: i + 1, afterDashes: true };
    }
    if (arg === STDIN || !arg.startsWith('-')) return { text: arg, at: i, afterDashes: false };
    // The value of an option is not the word that is looked for.
    if (program.options.some((option) => option.required && (option.short === arg || option.long === arg))) i += 1;
  }
  return undefined;
}
