// `calstream completion bash|zsh|fish`: what a shell offers after a tab. Made from the commands
// themselves, so that nothing is offered that there is not. Invariant: a shell that loads it starts
// no process of ours.
import type { Command } from 'commander'
import { UserError } from '#shared/process/user-error.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof SHELLS)[number]

/** One place in the tree of commands: "calstream keys". */
interface Place {
  readonly at: string
  readonly choices: readonly Choice[]
}

interface Choice {
  readonly word: string
  readonly description: string
  readonly isCommand: boolean
}

/**
 * The script for a shell, to be loaded by it. Throws UserError for a shell that is not known.
 * @param program the whole command, with all that it has below.
 */
export function completionScript(program: Command, shell: string): string {
  const known = SHELLS.find((name) => name === shell)
  if (known === undefined)
    throw new UserError(`There is no completion for "${shell}". It is one of: ${SHELLS.join(', ')}.`)
  const places = placesOf(program, program.name(), optionsOf(program))
  return WRITERS[known](places)
}

/** How each is loaded, for a person. */
export const HOW_TO_LOAD = `
Load it once, or from the file that your shell reads at its start:
  bash  source <(calstream completion bash)
  zsh   source <(calstream completion zsh)
  fish  calstream completion fish | source`

function placesOf(command: Command, at: string, everywhere: readonly Choice[]): readonly Place[] {
  const commands = command.commands.map((one) => ({
    word: one.name(),
    description: one.description(),
    isCommand: true,
  }))
  const own = [...optionsOf(command), ...everywhere, { word: '--help', description: '', isCommand: false }]
  const options = [...new Map(own.map((choice) => [choice.word, choice])).values()]
  return [
    { at, choices: [...commands, ...options] },
    ...command.commands.flatMap((one) => placesOf(one, `${at} ${one.name()}`, everywhere)),
  ]
}

function optionsOf(command: Command): readonly Choice[] {
  return command.options.flatMap(({ long, description }) =>
    long === undefined || long === null ? [] : [{ word: long, description, isCommand: false }],
  )
}

const WRITERS: Readonly<Record<Shell, (places: readonly Place[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
}

/** The places that a word leads to; what is no command (an id, an option's value) leads nowhere. */
function walkCases(places: readonly Place[]): string {
  return places
    .slice(1)
    .map(({ at }) => quoted(at))
    .join(' | ')
}

function bashScript(places: readonly Place[]): string {
  const cases = places.map(
    ({ at, choices }) => `    ${quoted(at)}) words=${quoted(choices.map(({ word }) => word).join(' '))} ;;`,
  )
  return `# bash completion of calstream
_calstream() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" at=calstream words='' word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$at $word" in
      ${walkCases(places)}) at="$at $word" ;;
    esac
  done
  case "$at" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _calstream calstream
`
}

function zshScript(places: readonly Place[]): string {
  // _describe splits a choice at its first colon.
  const entry = ({ word, description }: Choice) => quoted(`${word}:${description.replaceAll(':', '\\:')}`)
  const cases = places.map(
    ({ at, choices }) => `    (${quoted(at)}) choices=(${choices.map(entry).join(' ')}) ;;`,
  )
  return `#compdef calstream
# zsh completion of calstream
_calstream() {
  local at=calstream word
  local -a choices
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in
      (${walkCases(places)}) at="$at $word" ;;
    esac
  done
  case "$at" in
${cases.join('\n')}
  esac
  _describe -t commands calstream choices
}
compdef _calstream calstream
`
}

function fishScript(places: readonly Place[]): string {
  const lines = places.flatMap(({ at, choices }) =>
    choices.map(({ word, description, isCommand }) => {
      const what = isCommand ? `-a ${fishQuoted(word)}` : `-l ${fishQuoted(word.replace(/^--/, ''))}`
      return `complete -c calstream -n ${fishQuoted(`test (__calstream_at) = "${at}"`)} ${what} -d ${fishQuoted(description)}`
    }),
  )
  return `# fish completion of calstream
function __calstream_at
  set -l at calstream
  set -l words (commandline -opc)
  for word in $words[2..]
    switch "$at $word"
      case ${places
        .slice(1)
        .map(({ at }) => fishQuoted(at))
        .join(' ')}
        set at "$at $word"
    end
  end
  echo $at
end
complete -c calstream -f
${lines.join('\n')}
`
}

/** For bash and zsh: nothing inside means anything. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
