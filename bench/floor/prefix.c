/* The least a logger can be: runs a program, and writes its lines after a prefix. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    static char in[65536], out[65536 * 2];
    static const char prefix[] = "[s] ";
    size_t kept = 0;
    int fds[2];
    (void)!pipe(fds);
    if (!vfork()) {
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], in + kept, sizeof in - kept)) > 0;) {
        size_t end = kept + (size_t)n, start = 0, length = 0;
        for (char *newline; (newline = memchr(in + start, '\n', end - start));) {
            size_t line = (size_t)(newline - in) + 1 - start;
            memcpy(out + length, prefix, 4);
            memcpy(out + length + 4, in + start, line);
            length += 4 + line;
            start += line;
        }
        memmove(in, in + start, end - start);
        kept = end - start;
        for (size_t done = 0; done < length;) {
            ssize_t written = write(1, out + done, length - done);
            if (written <= 0) return 1;
            done += (size_t)written;
        }
    }
    wait(0);
    return 0;
}
