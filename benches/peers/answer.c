/* The least that a datagram service can do: recvfrom, sendto 34 octets. Prints its port. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int socket_ = socket(AF_INET, SOCK_DGRAM, 0);
	char request[65536];
	if (bind(socket_, (struct sockaddr *)&address, length) || getsockname(socket_, (struct sockaddr *)&address, &length))
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		struct sockaddr_in client;
		length = sizeof client;
		if (recvfrom(socket_, request, sizeof request, 0, (struct sockaddr *)&client, &length) >= 0)
			sendto(socket_, "The limit is 34 octets and exit.\r\n", 34, 0, (struct sockaddr *)&client, length);
	}
}
