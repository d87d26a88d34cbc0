# SPDX-License-Identifier: Apache-2.0
# bash completion for lodge: the program itself knows what may stand where.
_lodge() {
    local IFS=$'\n' word answer line
    local -a words=() dirs=()
    COMPREPLY=()
    # bash takes --type=hpc apart at the '='; put it together again.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $i -gt 1 && ( $word == = || ${COMP_WORDS[i - 1]} == = ) &&
              ${#words[@]} -gt 0 && ${words[-1]} == --* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    answer=$("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    for line in $answer; do
        case $line in
        :files) compopt -o default 2>/dev/null ;;
        :dirs) compopt -o dirnames 2>/dev/null ;;
        *) COMPREPLY+=("$line") ;;
        esac
    done
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -F _lodge lodge
