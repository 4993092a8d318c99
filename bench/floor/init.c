/* The least an init for one command can be: starts it, reaps until it has ended. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &all, 0);
    char **command = argv + 2; /* behind -- */
    pid_t child = vfork();
    if (!child) {
        sigprocmask(SIG_SETMASK, &none, 0);
        execvp(command[0], command);
        _exit(127);
    }
    for (;;) {
        int status, signal = sigwaitinfo(&all, 0);
        if (signal != SIGCHLD) { if (signal > 0) kill(child, signal); continue; }
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            if (pid == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}
