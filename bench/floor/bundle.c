/* The least a supervisor can be: starts N times the same program, ends all of them on TERM:
   all at once; or in reverse, one after the other; or started like that too, each when the one
   before has said on descriptor 3 that it is ready. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Apart from the loop, whose counter the child would share on the stack, vfork(2). */
static __attribute__((noinline)) pid_t start(char **command, const sigset_t *mask, int ready) {
    pid_t pid = vfork();
    if (!pid) {
        sigprocmask(SIG_SETMASK, mask, 0);
        if (ready == 3) fcntl(3, F_SETFD, 0);
        else if (ready >= 0) dup2(ready, 3);
        execv(command[0], command);
        _exit(127);
    }
    return pid;
}

static pid_t start_until_ready(char **command, const sigset_t *mask) {
    int ends[2];
    char c;
    (void)!pipe2(ends, O_CLOEXEC);
    pid_t pid = start(command, mask, ends[1]);
    close(ends[1]);
    (void)!read(ends[0], &c, 1);
    close(ends[0]);
    return pid;
}

int main(int argc, char **argv) {
    int count = atoi(argv[1]), left = 0;
    (void)argc;
    int in_order = strcmp(argv[2], "at-once") != 0, until_ready = !strcmp(argv[2], "ready");
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, 0);
    pid_t *pids = malloc((size_t)count * sizeof *pids);
    for (int i = 0; i < count; i++, left++)
        pids[i] = until_ready ? start_until_ready(argv + 3, &none) : start(argv + 3, &none, -1);
    while (left) {
        int signal = sigwaitinfo(&all, 0);
        if (signal == SIGTERM)
            for (int i = count - 1; i >= 0; i--) {
                kill(pids[i], SIGTERM);
                if (in_order && waitpid(pids[i], 0, 0) > 0) left--;
            }
        while (waitpid(-1, 0, WNOHANG) > 0) left--;
    }
    return 0;
}
