# Completion of `sluice` for bash. Verbs and options come from --help, topics and nodes from the broker, if
# one answers at once: nothing here grows old.

# Of the program, or of a verb that has operations.
_sluice_verbs() {
  "$1" ${2:+"$2"} --help 2>/dev/null | awk '/^[A-Z].*:$/ { verbs = $0 !~ /^(Options|Usage|Examples)/ } verbs && /^  [a-z]/ { print $1 }'
}

_sluice_options() {
  "$1" ${2:+"$2"} ${3:+"$3"} --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,'
}

_sluice() {
  local sluice=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb=
  local operation= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    [[ ${COMP_WORDS[i]} == -* ]] && continue
    if [[ -z $verb ]]; then
      verb=${COMP_WORDS[i]}
    elif [[ $verb == @(state|breaker) && -z $operation ]]; then
      operation=${COMP_WORDS[i]}
    fi
  done
  COMPREPLY=()
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_options "$sluice" "$verb" "$operation")" -- "$current")
    return
  fi
  if [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_verbs "$sluice")" -- "$current")
    return
  fi
  if [[ $verb == @(state|breaker) && -z $operation ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_sluice_verbs "$sluice" "$verb")" -- "$current")
    return
  fi
  case $before in
    --priority)
      mapfile -t COMPREPLY < <(compgen -W "critical high normal low" -- "$current")
      return
      ;;
    --reliable)
      mapfile -t COMPREPLY < <(compgen -W "delivered handled" -- "$current")
      return
      ;;
    --mode)
      mapfile -t COMPREPLY < <(compgen -W "latest next reliable" -- "$current")
      return
      ;;
    --sort | -s)
      mapfile -t COMPREPLY < <(compgen -W "name rate drops bytes age held" -- "$current")
      return
      ;;
    --class)
      mapfile -t COMPREPLY < <(compgen -W "message access life_cycle dead_letter purged" -- "$current")
      return
      ;;
    dlq)
      mapfile -t COMPREPLY < <(compgen -W "ls show retry purge export" -- "$current")
      return
      ;;
    --socket | --chrome | --output | -f | --file)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
    -n | --count | -i | --interval | -w | --window | --seconds | --timeout | --wait | --width | --height | --rate | \
      --bytes | -l | --last | --quality | --slowest | --correlation | -C | -W | -F | --format | --ttl | --history | \
      --group | --credits | --type | --traceparent | --wait-for | --max-bytes | --workers | --command | --listen | \
      --revision | --max-keys | --max-value-bytes | --since | --until | --limit | --id) return ;;
  esac
  local names=
  case $before in
    --to | --source | --node) verb=--nodes ;;
    --topic) verb=echo ;;
  esac
  case $verb in
    --nodes) names=$("$sluice" ls --nodes --wait 0 2>/dev/null) ;;
    top | ls | graph | echo | hz | snap | pub | sub) names=$("$sluice" ls --topics --wait 0 2>/dev/null) ;;
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
