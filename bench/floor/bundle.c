/* The least a supervisor can be: starts N times the same program, ends all of them on TERM. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Apart from the loop, whose counter the child would share on the stack, vfork(2). */
static __attribute__((noinline)) pid_t start(char **command, const sigset_t *mask) {
    pid_t pid = vfork();
    if (!pid) {
        sigprocmask(SIG_SETMASK, mask, 0);
        execv(command[0], command);
        _exit(127);
    }
    return pid;
}

int main(int argc, char **argv) {
    int count = atoi(argv[1]), left = 0;
    (void)argc;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, 0);
    pid_t *pids = malloc((size_t)count * sizeof *pids);
    for (int i = 0; i < count; i++, left++)
        pids[i] = start(argv + 2, &none);
    while (left) {
        int signal = sigwaitinfo(&all, 0);
        if (signal == SIGTERM) for (int i = 0; i < count; i++) kill(pids[i], SIGTERM);
        while (waitpid(-1, 0, WNOHANG) > 0) left--;
    }
    return 0;
}
