//! The text of `--help`.

pub(crate) const HELP: &str = "\
sidecar-init: PID 1 for containers. Runs one command or a bundle of services,
reaps, forwards signals, stops everything in order, and prints why it stopped.

Usage:
  sidecar-init [OPTIONS] -- COMMAND [ARG]...
  sidecar-init run [OPTIONS] [-f FILE] [-- COMMAND [ARG]...]
  sidecar-init check [OPTIONS] [-f FILE] [-- COMMAND [ARG]...]

To control a running bundle:
  sidecar-init status [--json] [--watch]
  sidecar-init health [--json]
  sidecar-init start|stop|restart NAME... [--timeout DURATION] [--no-wait]
  sidecar-init signal NAME... SIGNAL
  sidecar-init reload [--json]
  sidecar-init wait NAME --ready|--exited [--timeout DURATION]
  sidecar-init logs NAME [--follow]
  sidecar-init events | graph [--json] | metrics
  sidecar-init timeline > FILE.svg
  sidecar-init shutdown [--code N]

Options for one command and for run:
  --grace DURATION          how long the whole shutdown may take, at most 1h; then
                            processes that still run are killed; for check too
                            [default: 8s, or what FILE says] [env: SIDECAR_INIT_GRACE]
  --remap FROM=TO           exit with TO in place of FROM, e.g. 143=0; may be
                            repeated [env: SIDECAR_INIT_REMAP]
  --termination-log FILE    also write the closing record, or why nothing could be
                            run, to FILE, e.g. /dev/termination-log
  -q, --quiet               log only problems and the closing record

Options for one command:
  -g, --group               forward signals to the command's process group
  --map SIGNAL=[SIGNAL]     forward one signal as another, or drop it: TERM=QUIT,
                            HUP=; may be repeated. TERM and INT, and signals mapped
                            to them, begin the shutdown; a dropped one does not
  --parent-death-signal SIGNAL
                            the signal for the command when sidecar-init dies

Options of run and check:
  -f, --file FILE           the bundle file [default: /etc/sidecar-init/bundle.toml]
                            [env: SIDECAR_INIT_CONFIG]
  --only NAMES              only these services, separated by commas
  --log MODE                prefix, json or inherit, for every service
  --ready-file FILE         exists while every service is ready and live (run only)
  --json                    print the plan as JSON (check only)

Options to control a running bundle:
  --socket PATH             the control socket [default: /run/sidecar-init.sock or
                            /dev/shm/sidecar-init.sock] [env: SIDECAR_INIT_SOCKET,
                            for run too]
  --timeout DURATION        how long the init may take to answer [default: 5s; reload:
                            1m]; start, stop, restart and wait: how long to wait for
                            the services [default: 1m; wait: for ever]

  -h, --help                print this
  -V, --version             print the version

TERM and INT begin the shutdown; a second one kills at once. With one command every
other signal is forwarded to it; in a bundle [signals] routes it. With run, COMMAND
gets the terminal, and its exit ends the bundle.

Exit codes: that of the command, or of the first service that failed (128+n for
signal n); 0 if a bundle was shut down on request; 64 wrong usage; 65 no service
selected, or one that a selected service requires is not; 78 errors in the bundle
file; 124 a service not ready in time or not live; 125 sidecar-init itself failed; 126
not executable; 127 not found. To control a running bundle: 0, 1 if the init refuses
or is not healthy, 69 if none answers.
";
