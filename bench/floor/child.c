/* What the inits under measurement run. Small and static, so that its own cost is small. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t nanos = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    (void)!write(1, &nanos, sizeof nanos);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "sleep";
    int count = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(mode, "signal")) { /* says when a signal came */
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, 0);
        now();
        for (;;) { sigwaitinfo(&set, 0); now(); }
    }
    if (!strcmp(mode, "exit")) { /* says when it ends */
        now();
        return 0;
    }
    if (!strcmp(mode, "orphans")) { /* one after the other */
        for (int i = 0; i < count; i++) {
            pid_t middle = fork();
            if (!middle) { if (fork() == 0) _exit(0); _exit(0); }
            waitpid(middle, 0, 0);
        }
        (void)!write(1, "+", 1);
        for (;;) pause();
    }
    if (!strcmp(mode, "burst")) { /* all at once: they end when their group leader says so */
        int gate[2];
        (void)!pipe(gate);
        pid_t middle = fork();
        if (!middle) {
            char c;
            for (int i = 0; i < count; i++)
                if (fork() == 0) { close(gate[1]); (void)!read(gate[0], &c, 1); _exit(0); }
            _exit(0);
        }
        close(gate[0]);
        waitpid(middle, 0, 0);
        (void)!write(1, "+", 1);
        char c;
        (void)!read(0, &c, 1);
        close(gate[1]);
        for (;;) pause();
    }
    if (!strcmp(mode, "notify")) (void)!write(3, "\n", 1); /* ready, as s6 wants to hear it */
    if (!strcmp(mode, "lines") || !strcmp(mode, "talk")) { /* this many lines of 100 bytes */
        static char block[100 * 640];
        for (int i = 0; i < 640; i++) { memset(block + i * 100, 'x', 99); block[i * 100 + 99] = '\n'; }
        for (int i = 0; i < count / 640; i++)
            for (size_t done = 0; done < sizeof block;) {
                ssize_t n = write(1, block + done, sizeof block - done);
                if (n <= 0) return 1;
                done += (size_t)n;
            }
        if (!strcmp(mode, "talk")) for (;;) pause();
        return 0;
    }
    /* sleep, or a service's name, which s6 passes on: says that it runs, and waits for its end */
    (void)!write(1, "+", 1);
    for (;;) pause();
}
