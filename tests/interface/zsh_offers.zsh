# Prints what zsh offers for the last of the arguments. $0 is the folder of the completions.
zmodload zsh/zpty

# What an interactive shell runs: a key that completes, notes what is offered, and says when that is done.
cat >$HOME/setup <<'SETUP'
PROMPT= RPROMPT=
unsetopt beep zle_bracketed_paste prompt_sp prompt_cr
autoload -U compinit
# The first shell of a test looks for completions, and the others read what it has found.
compinit -C -d $HOME/found
compadd() {
    # With one of these it adds nothing.
    if (( ! ${@[(I)-[OAD]*]} )); then
        local -a hits
        builtin compadd -O hits "$@"
        (( $#hits )) && print -rl -- $hits >>$HOME/offers
    fi
    builtin compadd "$@"
}
zle -C capture complete-word _main_complete
offer() {
    zle capture
    print -r -- DO''NE
}
zle -N offer
bindkey '^T' offer
print -r -- REA''DY
SETUP

: >$HOME/offers
zpty shell zsh -f -i
zpty -w shell "fpath=(${(q)0} \$fpath); source $HOME/setup"
zpty -r shell said '*READY*' || exit 1
zpty -n -w shell "${(j: :)@}"$'\024'
zpty -r shell said '*DONE*' || exit 1
zpty -d shell
cat $HOME/offers
