/* The least that a process per connection can do: write 34 octets, end. */
#include <unistd.h>

int main(void)
{
	return write(1, "The limit is 34 octets and exit.\r\n", 34) != 34;
}
