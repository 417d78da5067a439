/* The least that one process can do for clients that may talk first: the reply and the end in one segment, then what the
 * client sent is dropped, and its end is waited for; else the reply may be lost (RFC 2525, section 2.17). No epoll beyond
 * the listener, no limits, no lock-down. Prints its port. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 4096 };
static char junk[262144];

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	struct pollfd listener = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .events = POLLIN};
	if (bind(listener.fd, (struct sockaddr *)&address, length) || listen(listener.fd, MOST) ||
	    getsockname(listener.fd, (struct sockaddr *)&address, &length))
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	int closing[MOST], count = 0;
	for (;;) {
		int ready = poll(&listener, 1, count ? 1 : -1);
		for (int turn = 0; ready > 0 && turn < 64 && count < MOST; turn++) {
			int connection = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK);
			if (connection < 0)
				break;
			send(connection, "The limit is 34 octets and exit.\r\n", 34, MSG_MORE | MSG_NOSIGNAL);
			shutdown(connection, SHUT_WR);
			closing[count++] = connection;
		}
		int left = 0;
		for (int index = 0; index < count; index++)
			if (recv(closing[index], junk, sizeof junk, MSG_TRUNC) < 0)
				closing[left++] = closing[index];
			else
				close(closing[index]);
		count = left;
	}
}
