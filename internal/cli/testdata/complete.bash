# complete.bash FILE WORD...: what the completions in FILE offer at the last word, one a line.
# bash itself says what COMP_WORDS are only to a terminal, so they are given here as it would split them.
compopt() { :; } # is allowed within a completion alone
source "$1" || exit
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
complete -p "$1" >/dev/null || exit
"_$1"
((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
exit 0
