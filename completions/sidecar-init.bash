# bash completion for sidecar-init. Made from the tables of the command line by `make generated`.

_sidecar_init_words() {
    local IFS=$' \t\n'
    # shellcheck disable=SC2207 # They are words without white space.
    COMPREPLY+=($(compgen -W "$1" -- "$word"))
}

_sidecar_init_files() {
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    # shellcheck disable=SC2207 # One a line.
    COMPREPLY+=($(compgen -f -- "$word"))
}

# The services of the running init, if it answers within a second.
_sidecar_init_services() {
    local name state names=''
    while read -r name state; do
        [[ $name == SERVICE ]] || names+=" $name"
    done < <("$program" status --timeout 1s "${socket[@]}" 2>/dev/null </dev/null)
    _sidecar_init_words "$names"
}

_sidecar_init() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local program=${COMP_WORDS[0]} subcommand='' options='' index
    local socket=()
    COMPREPLY=()
    # bash makes three words of --option=value.
    if [[ $word == '=' ]]; then
        word=''
    elif [[ $previous == '=' ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            --)
                # What follows is another command's.
                if declare -F _command_offset >/dev/null; then
                    _command_offset $((index + 1))
                elif ((index + 1 == COMP_CWORD)); then
                    local IFS=$'\n'
                    # shellcheck disable=SC2207 # One a line.
                    COMPREPLY=($(compgen -c -- "$word"))
                else
                    _sidecar_init_files
                fi
                return
                ;;
            --socket) socket=(--socket "${COMP_WORDS[index + 1]/#=/${COMP_WORDS[index + 2]}}") ;;
        esac
    done
    if ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[1]} != -* ]]; then
        subcommand=${COMP_WORDS[1]}
    fi
    case "$subcommand $previous" in
        ' --grace') return ;;
        ' --remap') return ;;
        ' --termination-log') _sidecar_init_files; return ;;
        ' --map') compopt -o nospace 2>/dev/null; _sidecar_init_words 'HUP= INT= QUIT= ILL= TRAP= ABRT= BUS= FPE= KILL= USR1= SEGV= USR2= PIPE= ALRM= TERM= STKFLT= CHLD= CONT= STOP= TSTP= TTIN= TTOU= URG= XCPU= XFSZ= VTALRM= PROF= WINCH= IO= PWR= SYS= RTMIN='; return ;;
        ' --parent-death-signal') _sidecar_init_words 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN'; return ;;
        'run --grace') return ;;
        'run --remap') return ;;
        'run --termination-log') _sidecar_init_files; return ;;
        'run -f' | 'run --file') _sidecar_init_files; return ;;
        'run --only') return ;;
        'run --log') _sidecar_init_words 'prefix json inherit'; return ;;
        'run --ready-file') _sidecar_init_files; return ;;
        'check --grace') return ;;
        'check -f' | 'check --file') _sidecar_init_files; return ;;
        'check --only') return ;;
        'check --log') _sidecar_init_words 'prefix json inherit'; return ;;
        'status --timeout') return ;;
        'status --socket') _sidecar_init_files; return ;;
        'health --timeout') return ;;
        'health --socket') _sidecar_init_files; return ;;
        'start --timeout') return ;;
        'start --socket') _sidecar_init_files; return ;;
        'stop --timeout') return ;;
        'stop --socket') _sidecar_init_files; return ;;
        'restart --timeout') return ;;
        'restart --socket') _sidecar_init_files; return ;;
        'signal --timeout') return ;;
        'signal --socket') _sidecar_init_files; return ;;
        'reload --timeout') return ;;
        'reload --socket') _sidecar_init_files; return ;;
        'wait --timeout') return ;;
        'wait --socket') _sidecar_init_files; return ;;
        'logs --timeout') return ;;
        'logs --socket') _sidecar_init_files; return ;;
        'events --timeout') return ;;
        'events --socket') _sidecar_init_files; return ;;
        'graph --timeout') return ;;
        'graph --socket') _sidecar_init_files; return ;;
        'timeline --timeout') return ;;
        'timeline --socket') _sidecar_init_files; return ;;
        'metrics --timeout') return ;;
        'metrics --socket') _sidecar_init_files; return ;;
        'shutdown --code') return ;;
        'shutdown --timeout') return ;;
        'shutdown --socket') _sidecar_init_files; return ;;
    esac
    case $subcommand in
        '') options='--grace --remap --termination-log -q --quiet -g --group --map --parent-death-signal -h --help -V --version' ;;
        'run') options='--grace --remap --termination-log -q --quiet -f --file --only --log --ready-file -h --help -V --version' ;;
        'check') options='--grace -f --file --only --log --json -h --help -V --version' ;;
        'status') options='--json -w --watch --timeout --socket -h --help -V --version' ;;
        'health') options='--json --timeout --socket -h --help -V --version' ;;
        'start') options='--no-wait --timeout --socket -h --help -V --version' ;;
        'stop') options='--no-wait --timeout --socket -h --help -V --version' ;;
        'restart') options='--no-wait --timeout --socket -h --help -V --version' ;;
        'signal') options='--timeout --socket -h --help -V --version' ;;
        'reload') options='--json --timeout --socket -h --help -V --version' ;;
        'wait') options='--ready --exited --timeout --socket -h --help -V --version' ;;
        'logs') options='-f --follow --timeout --socket -h --help -V --version' ;;
        'events') options='--timeout --socket -h --help -V --version' ;;
        'graph') options='--json --timeout --socket -h --help -V --version' ;;
        'timeline') options='--timeout --socket -h --help -V --version' ;;
        'metrics') options='--timeout --socket -h --help -V --version' ;;
        'shutdown') options='--code --timeout --socket -h --help -V --version' ;;
        'help') options='-h --help -V --version' ;;
    esac
    if [[ $word == -* ]]; then
        _sidecar_init_words "$options"
        return
    fi
    if ((COMP_CWORD == 1)); then
        _sidecar_init_words 'run check status health start stop restart signal reload wait logs events graph timeline metrics shutdown help'
        return
    fi
    case $subcommand in
        'start') _sidecar_init_services; ;;
        'stop') _sidecar_init_services; ;;
        'restart') _sidecar_init_services; ;;
        'signal') _sidecar_init_services; _sidecar_init_words 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN'; ;;
        'wait') _sidecar_init_services; ;;
        'logs') _sidecar_init_services; ;;
        'help') _sidecar_init_words 'run check status health start stop restart signal reload wait logs events graph timeline metrics shutdown help'; ;;
    esac
}

complete -F _sidecar_init sidecar-init
