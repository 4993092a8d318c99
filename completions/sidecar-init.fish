# fish completion for sidecar-init. Made from the tables of the command line by `make generated`.

# Whether no word is there yet.
function __sidecar_init_is_first
    test (count (commandline -opc)) = 1
end

# Whether this subcommand is there, or none for `--`; nothing is ours behind a `--`.
function __sidecar_init_of
    set -l words (commandline -opc)
    contains -- -- $words; and return 1
    set -l subcommand --
    if set -q words[2]; and not string match -q -- '-*' $words[2]
        set subcommand $words[2]
    end
    test $subcommand = $argv[1]
end

function __sidecar_init_is_command
    contains -- -- (commandline -opc)
end

# What another command takes, which follows a `--`.
function __sidecar_init_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    set -l line (string escape -- $words[(math $at + 1)..-1]) (commandline -ct)
    complete -C (string join ' ' -- $line)
end

# The services of the running init, if it answers within a second.
function __sidecar_init_services
    set -l words (commandline -opc)
    set -l socket
    if set -l at (contains -i -- --socket $words)
        set socket --socket $words[(math $at + 1)]
    end
    $words[1] status --timeout 1s $socket 2>/dev/null </dev/null | string match -rv '^SERVICE ' | string replace -r ' .*' ''
end

complete -c sidecar-init -f
complete -c sidecar-init -n __sidecar_init_is_command -a '(__sidecar_init_command)'
complete -c sidecar-init -n __sidecar_init_is_first -a run -d 'Run the services of a bundle\'s file'
complete -c sidecar-init -n __sidecar_init_is_first -a check -d 'Print what run would do with these options, or every error in the file'
complete -c sidecar-init -n __sidecar_init_is_first -a status -d 'Print a table of the services'
complete -c sidecar-init -n __sidecar_init_is_first -a health -d 'Exit with 0 if every service is ready and live'
complete -c sidecar-init -n __sidecar_init_is_first -a start -d 'Start services, and wait until they are up'
complete -c sidecar-init -n __sidecar_init_is_first -a stop -d 'Stop services, and wait until they have ended'
complete -c sidecar-init -n __sidecar_init_is_first -a restart -d 'Stop services, start them, and wait until they are up'
complete -c sidecar-init -n __sidecar_init_is_first -a signal -d 'Send a signal to the main processes of services'
complete -c sidecar-init -n __sidecar_init_is_first -a reload -d 'Read the bundle\'s file again, and apply the changes'
complete -c sidecar-init -n __sidecar_init_is_first -a wait -d 'Wait until a service is ready or has ended'
complete -c sidecar-init -n __sidecar_init_is_first -a logs -d 'Print the last lines of a service\'s output'
complete -c sidecar-init -n __sidecar_init_is_first -a events -d 'Print events as they happen, one JSON object per line'
complete -c sidecar-init -n __sidecar_init_is_first -a graph -d 'Print the dependencies between services'
complete -c sidecar-init -n __sidecar_init_is_first -a timeline -d 'Print an SVG of when each service was started, ready and stopped'
complete -c sidecar-init -n __sidecar_init_is_first -a metrics -d 'Print metrics for Prometheus'
complete -c sidecar-init -n __sidecar_init_is_first -a shutdown -d 'Shut the bundle down'
complete -c sidecar-init -n __sidecar_init_is_first -a help -d 'Print how a subcommand is used'
complete -c sidecar-init -n '__sidecar_init_of --' -l grace -x -d 'how long the whole shutdown may take, at most 1h'
complete -c sidecar-init -n '__sidecar_init_of --' -l remap -x -d 'exit with TO in place of FROM'
complete -c sidecar-init -n '__sidecar_init_of --' -l termination-log -r -F -d 'also write the closing record, or why nothing could be run, to FILE'
complete -c sidecar-init -n '__sidecar_init_of --' -s q -l quiet -d 'log only problems and the closing record'
complete -c sidecar-init -n '__sidecar_init_of --' -s g -l group -d 'forward signals to the command\'s process group'
complete -c sidecar-init -n '__sidecar_init_of --' -l map -x -a 'HUP= INT= QUIT= ILL= TRAP= ABRT= BUS= FPE= KILL= USR1= SEGV= USR2= PIPE= ALRM= TERM= STKFLT= CHLD= CONT= STOP= TSTP= TTIN= TTOU= URG= XCPU= XFSZ= VTALRM= PROF= WINCH= IO= PWR= SYS= RTMIN=' -d 'forward one signal as another, or drop it'
complete -c sidecar-init -n '__sidecar_init_of --' -l parent-death-signal -x -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN' -d 'the signal for the command when sidecar-init dies'
complete -c sidecar-init -n '__sidecar_init_of --' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of --' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of run' -l grace -x -d 'how long the whole shutdown may take, at most 1h'
complete -c sidecar-init -n '__sidecar_init_of run' -l remap -x -d 'exit with TO in place of FROM'
complete -c sidecar-init -n '__sidecar_init_of run' -l termination-log -r -F -d 'also write the closing record, or why nothing could be run, to FILE'
complete -c sidecar-init -n '__sidecar_init_of run' -s q -l quiet -d 'log only problems and the closing record'
complete -c sidecar-init -n '__sidecar_init_of run' -s f -l file -r -F -d 'the bundle\'s file'
complete -c sidecar-init -n '__sidecar_init_of run' -l only -x -d 'only these services, separated by commas'
complete -c sidecar-init -n '__sidecar_init_of run' -l log -x -a 'prefix json inherit' -d 'prefix, json or inherit, for every service'
complete -c sidecar-init -n '__sidecar_init_of run' -l ready-file -r -F -d 'exists while every service is ready and live'
complete -c sidecar-init -n '__sidecar_init_of run' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of run' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of check' -l grace -x -d 'how long the whole shutdown may take, at most 1h'
complete -c sidecar-init -n '__sidecar_init_of check' -s f -l file -r -F -d 'the bundle\'s file'
complete -c sidecar-init -n '__sidecar_init_of check' -l only -x -d 'only these services, separated by commas'
complete -c sidecar-init -n '__sidecar_init_of check' -l log -x -a 'prefix json inherit' -d 'prefix, json or inherit, for every service'
complete -c sidecar-init -n '__sidecar_init_of check' -l json -d 'print the plan as JSON'
complete -c sidecar-init -n '__sidecar_init_of check' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of check' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of status' -l json -d 'print the answer as JSON'
complete -c sidecar-init -n '__sidecar_init_of status' -s w -l watch -d 'print it again at each event'
complete -c sidecar-init -n '__sidecar_init_of status' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of status' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of status' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of status' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of health' -l json -d 'print the answer as JSON'
complete -c sidecar-init -n '__sidecar_init_of health' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of health' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of health' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of health' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of start' -l no-wait -d 'do not wait for the services'
complete -c sidecar-init -n '__sidecar_init_of start' -l timeout -x -d 'how long to wait for the services'
complete -c sidecar-init -n '__sidecar_init_of start' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of start' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of start' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of start' -a '(__sidecar_init_services)'
complete -c sidecar-init -n '__sidecar_init_of stop' -l no-wait -d 'do not wait for the services'
complete -c sidecar-init -n '__sidecar_init_of stop' -l timeout -x -d 'how long to wait for the services'
complete -c sidecar-init -n '__sidecar_init_of stop' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of stop' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of stop' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of stop' -a '(__sidecar_init_services)'
complete -c sidecar-init -n '__sidecar_init_of restart' -l no-wait -d 'do not wait for the services'
complete -c sidecar-init -n '__sidecar_init_of restart' -l timeout -x -d 'how long to wait for the services'
complete -c sidecar-init -n '__sidecar_init_of restart' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of restart' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of restart' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of restart' -a '(__sidecar_init_services)'
complete -c sidecar-init -n '__sidecar_init_of signal' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of signal' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of signal' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of signal' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of signal' -a '(__sidecar_init_services)'
complete -c sidecar-init -n '__sidecar_init_of signal' -a 'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS RTMIN'
complete -c sidecar-init -n '__sidecar_init_of reload' -l json -d 'print the answer as JSON'
complete -c sidecar-init -n '__sidecar_init_of reload' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of reload' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of reload' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of reload' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of wait' -l ready -d 'until it is ready'
complete -c sidecar-init -n '__sidecar_init_of wait' -l exited -d 'until it has ended'
complete -c sidecar-init -n '__sidecar_init_of wait' -l timeout -x -d 'how long to wait for the services'
complete -c sidecar-init -n '__sidecar_init_of wait' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of wait' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of wait' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of wait' -a '(__sidecar_init_services)'
complete -c sidecar-init -n '__sidecar_init_of logs' -s f -l follow -d 'print new output too'
complete -c sidecar-init -n '__sidecar_init_of logs' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of logs' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of logs' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of logs' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of logs' -a '(__sidecar_init_services)'
complete -c sidecar-init -n '__sidecar_init_of events' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of events' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of events' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of events' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of graph' -l json -d 'print the answer as JSON'
complete -c sidecar-init -n '__sidecar_init_of graph' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of graph' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of graph' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of graph' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of timeline' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of timeline' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of timeline' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of timeline' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of metrics' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of metrics' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of metrics' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of metrics' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of shutdown' -l code -x -d 'the bundle\'s exit code'
complete -c sidecar-init -n '__sidecar_init_of shutdown' -l timeout -x -d 'how long the init may take to answer'
complete -c sidecar-init -n '__sidecar_init_of shutdown' -l socket -r -F -d 'the control socket'
complete -c sidecar-init -n '__sidecar_init_of shutdown' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of shutdown' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of help' -s h -l help -d 'print how it is used'
complete -c sidecar-init -n '__sidecar_init_of help' -s V -l version -d 'print the version'
complete -c sidecar-init -n '__sidecar_init_of help' -a 'run check status health start stop restart signal reload wait logs events graph timeline metrics shutdown help'
