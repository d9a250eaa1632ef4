# complete.zsh source|fpath FILE LINE...: what an interactive zsh offers at the end of each LINE when Tab is
# pressed: "<line>" and then each offer in <hit></hit>.
zmodload zsh/zpty || exit
how=$1 file=$2
shift 2
load="autoload -Uz compinit; compinit -u -D; source $file"
[[ $how == fpath ]] && load="fpath=(${file:h} \$fpath); autoload -Uz compinit; compinit -u -D"
zpty z zsh -f -i
zpty -w z "stty -echo; PROMPT=; $load"
# Every match passes through compadd; those that only fill an array are not offered.
zpty -w z 'compadd() {
	case " $* " in
	*" -"[OAD]" "*) builtin compadd "$@"; return ;;
	esac
	local -a hits
	builtin compadd -O hits "$@"
	(($#hits)) && print -rl -- "<hit>"${^hits}"</hit>"
	builtin compadd "$@"
}
finished() { print "<end>"; comppostfuncs=(finished) }
comppostfuncs=(finished)
bindkey "^I" complete-word
echo "<rea""dy>"'
zpty -r z out '*<ready>*' || exit
for line; do
	zpty -w -n z "$line"$'\t'
	zpty -r z out '*<end>*' || exit
	print -r -- "<line>$out"
	zpty -w -n z $'\025' # forget the line
done
zpty -d z
