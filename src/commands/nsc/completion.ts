import { printable } from '../../config/index.js';
import { GROUP } from '../../namespace/index.js';
import type { NameServerProxy } from '../../naming/index.js';

/** What a completion script runs `pyro-nsc` with: the words so far follow, the last of which is to be completed. */
export const COMPLETION_REQUEST = '--complete';

/** The shells that there are completion scripts for. */
export const SHELLS = ['bash', 'zsh'] as const;

/** Commands whose arguments are names that exist. */
const COMPLETED = new Set(['list', 'tree', 'resolve', 'remove', 'deletegroup', 'creategroup', 'showmeta', 'setmeta']);

/** True where what stands behind the command is completed from the names of the running name server. */
export const takesNames = (command: string): boolean => COMPLETED.has(command);

/**
 * The names that begin with what is typed; of a group, with the dot that its members' names have behind it. What has control
 * characters is left out: a line break would make two names of it, and the shell would write it to the terminal.
 */
export async function matchingNames(current: string, nameServer: NameServerProxy): Promise<string[]> {
  const end = Math.max(current.lastIndexOf('.'), current.startsWith(':') ? 0 : -1);
  const typed = current.slice(0, end + 1);
  const members = await nameServer.list(end > 0 ? current.slice(0, end) : typed);
  return members
    .map(({ part, type }) => `${typed}${part}${type === GROUP ? '.' : ''}`)
    .filter((name) => name.startsWith(current) && name === printable(name));
}

/**
 * Scripts that make a shell complete commands, options and names. Readline takes the colon that names begin with for
 * the end of a word, so that bash wants completions without it.
 */
export const COMPLETION_SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = {
  bash: `# Completion of pyro-nsc for bash: add this to ~/.bashrc
_pyro_nsc() {
  local line="\${COMP_LINE:0:COMP_POINT}" reply
  local -a words
  read -ra words <<<"$line"
  [[ "$line" == *[[:space:]] ]] && words+=('')
  COMPREPLY=()
  while IFS= read -r reply; do
    if [[ "$COMP_WORDBREAKS" == *:* ]]; then reply="\${reply#:}"; fi
    COMPREPLY+=("$(printf %q "$reply")")
  done < <(pyro-nsc ${COMPLETION_REQUEST} "\${words[@]:1}" 2>/dev/null)
  # The names of a group's members go on behind its dot.
  if [[ "\${#COMPREPLY[@]}" == 1 && "\${COMPREPLY[0]}" == *. ]]; then compopt -o nospace 2>/dev/null; fi
  return 0
}
complete -F _pyro_nsc pyro-nsc
`,
  zsh: `#compdef pyro-nsc
# Completion of pyro-nsc for zsh: add this to ~/.zshrc, behind compinit
_pyro_nsc() {
  local -a replies groups others
  replies=(\${(f)"$(pyro-nsc ${COMPLETION_REQUEST} "\${(@Q)words[2,CURRENT]}" 2>/dev/null)"})
  # The names of a group's members go on behind its dot.
  groups=(\${(M)replies:#*.})
  others=(\${replies:#*.})
  (( \${#groups} )) && compadd -S '' -a groups
  (( \${#others} )) && compadd -a others
  return 0
}
compdef _pyro_nsc pyro-nsc
`,
};
