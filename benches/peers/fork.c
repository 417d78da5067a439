/* The least that a process for each connection with a filter of its own can do: fork, take the connection to descriptors 0 and 1,
 * let go of all others, attach the filter (read from the file that is named: instructions as seccomp(2) takes them), write 34
 * octets, say that this was all, drop what the client sent until its end. The kernel reaps. Nothing is limited, counted or logged,
 * and the parent has no filter. Prints its port. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter instructions[BPF_MAXINSNS];
static char junk[262144];

static void serve(int connection, const struct sock_fprog *filter)
{
	if (dup2(connection, 0) < 0 || dup2(connection, 1) < 0 || syscall(SYS_close_range, 3, ~0U, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter))
		_exit(1);
	if (write(1, "The limit is 34 octets and exit.\r\n", 34) == 34 && !shutdown(1, SHUT_WR))
		recv(0, junk, sizeof junk, MSG_TRUNC | MSG_WAITALL);
	_exit(0);
}

int main(int count, char **arguments)
{
	FILE *file = count == 2 ? fopen(arguments[1], "r") : NULL;
	struct sock_fprog filter = {.filter = instructions};
	if (!file || !(filter.len = fread(instructions, sizeof *instructions, BPF_MAXINSNS, file)))
		return 1;
	fclose(file);

	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int connection = accept(listener, NULL, NULL);
		if (connection < 0)
			continue;
		if (!fork())
			serve(connection, &filter);
		close(connection);
	}
}
