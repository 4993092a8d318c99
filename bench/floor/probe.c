/* The least a TCP probe can be. For each byte on stdin makes N of them, one after the other. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int count = atoi(argv[2]), error;
    char c;
    (void)argc;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)!write(1, "+", 1);
    while (read(0, &c, 1) == 1) {
        for (int i = 0; i < count; i++) {
            int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            struct pollfd asked = {.fd = fd, .events = POLLOUT};
            socklen_t length = sizeof error;
            connect(fd, (struct sockaddr *)&address, sizeof address);
            poll(&asked, 1, 1000);
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
            if (error) return 1;
            close(fd);
        }
        (void)!write(1, "+", 1);
    }
    return 0;
}
