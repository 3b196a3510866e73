# Completion of `sluice` for bash. Verbs and options come from --help, topics and nodes from the broker, if
# one answers at once: nothing here grows old.

_sluice_verbs() {
  "$1" --help 2>/dev/null | awk '/^[A-Z].*:$/ { verbs = $0 !~ /^(Options|Usage)/ } verbs && /^  [a-z]/ { print $1 }'
}

_sluice_options() {
  "$1" ${2:+"$2"} --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,'
}

_sluice() {
  local sluice=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=
  local i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    if [[ ${COMP_WORDS[i]} != -* ]]; then
      verb=${COMP_WORDS[i]}
      break
    fi
  done
  COMPREPLY=()
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_options "$sluice" "$verb")" -- "$current")
    return
  fi
  if [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_verbs "$sluice")" -- "$current")
    return
  fi
  case $before in
    --sort | -s)
      mapfile -t COMPREPLY < <(compgen -W "name rate drops bytes age held" -- "$current")
      return
      ;;
    --socket | --chrome | --output)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    -n | --count | -i | --interval | -w | --window | --seconds | --timeout | --wait | --width | --height | --rate | \
      --bytes | -l | --last | --quality | --slowest | --correlation) return ;;
  esac
  local names=
  case $verb in
    top | ls | graph | echo | hz | snap) names=$("$sluice" ls --topics --wait 0 2>/dev/null) ;;
    info) names=$("$sluice" ls --topics --wait 0 2>/dev/null; "$sluice" ls --nodes --wait 0 2>/dev/null) ;;
  esac
  # One name on a line; they may contain blanks, and what else a shell would act on.
  local name
  while IFS= read -r name; do
    [[ -n $name && $name == "$current"* ]] && COMPREPLY+=("$(printf '%q' "$name")")
  done <<<"$names"
  case $verb in
    run | snap)
      local file
      while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$current")
      ;;
  esac
}

complete -F _sluice sluice
