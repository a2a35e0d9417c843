import type { Argument, Command, Option } from 'commander';

/** The shells there is a script for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
/** One of them. */
export type Shell = (typeof SHELLS)[number];

/** What completes at a place: options with what they do, words with what they do, and whether files do. */
interface Place {
  readonly name: string;
  readonly options: readonly Option[];
  readonly words: readonly { readonly word: string; readonly text: string }[];
  readonly files: boolean;
}

const NAMES = ['transmigrate', 'tmig'];
/** The command that is meant where only a file is given. */
const IMPLIED = 'inspect';

/**
 * The completion script for a shell, made from the program's own commands. It is static: pressing the key starts no
 * process, and it completes files, which generators that ask the program do not.
 */
export function completionScript(program: Command, shell: Shell): string {
  const commands = commandPlaces(program);
  const implied = commands.find(({ name }) => name === IMPLIED);
  const first: Place = {
    name: '',
    options: [...optionsOf(program), ...(implied?.options ?? [])].filter(isFirstOfItsName),
    words: commands.map(({ name, text }) => ({ word: name, text })),
    files: true,
  };
  const lines = { bash, zsh, fish }[shell](first, commands);
  return `${lines.join('\n')}\n`;
}

function commandPlaces(program: Command): (Place & { text: string })[] {
  const shared = program.options.filter((option) => !option.hidden && option.long !== '--version');
  const commands = program.createHelp().visibleCommands(program);
  return commands.map((command) => {
    const isHelp = command.name() === 'help';
    const argument = command.registeredArguments[0];
    const names = commands.filter((one) => one !== command).map((one) => ({ word: one.name(), text: one.summary() }));
    return {
      name: command.name(),
      text: command.summary() || command.description(),
      options: isHelp ? [] : [...optionsOf(command), ...shared].filter(isFirstOfItsName),
      words: isHelp ? names : (argument?.argChoices ?? []).map((word) => ({ word, text: '' })),
      files: !isHelp && argument !== undefined && takesFiles(argument),
    };
  });
}

function takesFiles(argument: Argument): boolean {
  return argument.name() === 'file';
}

function optionsOf(command: Command): Option[] {
  return command.createHelp().visibleOptions(command);
}

function isFirstOfItsName(option: Option, at: number, all: readonly Option[]): boolean {
  return all.findIndex((other) => other.long === option.long) === at;
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function bash(first: Place, commands: readonly Place[]): string[] {
  const list = (words: readonly string[]) => `$'${words.join(String.raw`\n`)}'`;
  const options = (place: Place) => list(place.options.flatMap(flagsOf).filter((flag) => flag.startsWith('--')));
  const cases = commands.flatMap((place) => {
    const words = place.files
      ? []
      : [
          `    ${place.name}/*)`,
          '      compopt +o default 2> /dev/null',
          `      COMPREPLY=($(compgen -W ${list(place.words.map(({ word }) => word))} -- "$cur")) ;;`,
        ];
    return [`    ${place.name}/-*) COMPREPLY=($(compgen -W ${options(place)} -- "$cur")) ;;`, ...words];
  });
  return [
    '# Completes transmigrate and tmig in bash: source <(transmigrate completion bash)',
    '_transmigrate() {',
    "  local cur=${COMP_WORDS[COMP_CWORD]} command='' i IFS=$'\\n'",
    '  COMPREPLY=()',
    '  for ((i = 1; i < COMP_CWORD; i++)); do',
    '    case ${COMP_WORDS[i]} in',
    '      -?*) ;;',
    `      ${commands.map(({ name }) => name).join(' | ')}) command=\${COMP_WORDS[i]}; break ;;`,
    `      *) command=${IMPLIED}; break ;;`,
    '    esac',
    '  done',
    '  case $command/$cur in',
    `    /-*) COMPREPLY=($(compgen -W ${options(first)} -- "$cur")) ;;`,
    '    /*)',
    '      compopt -o filenames 2> /dev/null',
    `      COMPREPLY=($(compgen -W ${list(first.words.map(({ word }) => word))} -- "$cur"; compgen -f -- "$cur")) ;;`,
    ...cases,
    '  esac',
    '}',
    '# Where nothing is offered, files are.',
    `complete -o default -F _transmigrate ${NAMES.join(' ')}`,
  ];
}

function zsh(first: Place, commands: readonly Place[]): string[] {
  const optionSpecs = (place: Place) =>
    place.options.map((option) => {
      const flags = flagsOf(option);
      const text = `[${option.description.replace(/[[\]\\:]/g, String.raw`\$&`)}]`;
      return flags.length === 1
        ? quote(`${flags.join('')}${text}`)
        : `${quote(`(${flags.join(' ')})`)}{${flags.join(',')}}${quote(text)}`;
    });
  const described = (place: Place) =>
    place.words.map(({ word, text }) => quote(text === '' ? word : `${word}:${text.replaceAll(':', String.raw`\:`)}`));
  const describe = (place: Place, tag: string) => [
    `    local -a words=(${described(place).join(' ')})`,
    `    _describe -t ${tag} ${tag} words`,
  ];
  const functions = commands.flatMap((place) => [
    `_transmigrate_${place.name}() {`,
    place.files || place.words.length === 0
      ? `  _arguments ${[...optionSpecs(place), ...(place.files ? [quote('*:image:_files')] : [])].join(' \\\n    ')}`
      : [
          `  _arguments ${[...optionSpecs(place), quote(`1: :_transmigrate_${place.name}_words`)].join(' \\\n    ')}`,
          '}',
          `_transmigrate_${place.name}_words() {`,
          ...describe(place, 'words').map((line) => line.slice(2)),
        ].join('\n'),
    '}',
  ]);
  return [
    `#compdef ${NAMES.join(' ')}`,
    '# Completes transmigrate and tmig in zsh: source <(transmigrate completion zsh)',
    ...functions,
    '_transmigrate_first() {',
    ...describe(first, 'commands').map((line) => line.slice(2)),
    '  _files',
    '}',
    '_transmigrate() {',
    '  local curcontext=$curcontext state line',
    '  typeset -A opt_args',
    `  _arguments -C ${[...optionSpecs(first), quote('1: :_transmigrate_first'), quote('*:: :->rest')].join(
      ' \\\n    ',
    )}`,
    '  [[ $state == rest ]] || return 0',
    '  case $line[1] in',
    `    ${commands.map(({ name }) => name).join('|')}) _transmigrate_$line[1] ;;`,
    `    *) _transmigrate_${IMPLIED} ;;`,
    '  esac',
    '}',
    '# Autoloaded, this file is the function; sourced, it must name it.',
    'if [[ $funcstack[1] == _transmigrate ]]; then',
    '  _transmigrate "$@"',
    'else',
    `  compdef _transmigrate ${NAMES.join(' ')}`,
    'fi',
  ];
}

function fish(first: Place, commands: readonly Place[]): string[] {
  const condition = (place: Place) =>
    quote(`test (__transmigrate_command) = ${place.name === '' ? 'none' : place.name}`);
  const complete = (place: Place, rest: string) => `complete -c transmigrate -n ${condition(place)} ${rest}`;
  const escape = (text: string) => `'${text.replace(/[\\']/g, String.raw`\$&`)}'`;
  const places = [first, ...commands].flatMap((place) => [
    ...(place.files ? [] : [complete(place, '-f')]),
    ...place.words.map(({ word, text }) => complete(place, `-a ${word}${text === '' ? '' : ` -d ${escape(text)}`}`)),
    ...place.options.map((option) => {
      const short = option.short === undefined ? '' : `-s ${option.short.slice(1)} `;
      return complete(place, `${short}-l ${(option.long ?? '').slice(2)} -d ${escape(option.description)}`);
    }),
  ]);
  return [
    '# Completes transmigrate and tmig in fish: transmigrate completion fish | source',
    'function __transmigrate_command',
    '  for word in (commandline -opc)[2..-1]',
    '    switch $word',
    "      case '-?*'",
    `      case ${commands.map(({ name }) => name).join(' ')}`,
    '        echo $word',
    '        return',
    "      case '*'",
    `        echo ${IMPLIED}`,
    '        return',
    '    end',
    '  end',
    '  echo none',
    'end',
    ...places,
    ...NAMES.slice(1).map((name) => `complete -c ${name} -w ${NAMES[0]}`),
  ];
}
