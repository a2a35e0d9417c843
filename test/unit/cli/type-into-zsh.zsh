# Types a line and the tab key into a zsh of its own, and prints what its completion adds.
# $1: the completion script; $2: the line.
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1= PS2=; stty -echo; autoload -Uz compinit; compinit -u -D; source '"$1"
zpty -w shell $'
zstyle ":completion:*" insert-tab false
compadd() {
  if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
  local -a hits; builtin compadd -A hits "$@"
  local hit; for hit in $hits; do print -r -- "<hit>$hit</hit>"; done
  builtin compadd "$@"
}
begin() { print -r -- "<begin>" }
finish() { print -r -- "<end>"; exit }
compprefuncs=(begin) comppostfuncs=(finish)
print -r -- "<rea""dy>"'
local line
while zpty -r shell line; do [[ $line == *"<ready>"* ]] && break; done
zpty -w -n shell "$2"$'\t'
while zpty -r shell line; do print -r -- "$line"; [[ $line == *"<end>"* ]] && break; done
