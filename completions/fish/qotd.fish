complete -c qotd -s n -d 'Maximum length of a short fortune, in characters' -r
complete -c qotd -l fortune-path -d 'Search path of the host\'s fortunes [default: `FORTUNE_PATH`, or the distributions\' directories]' -r
complete -c qotd -l max-length -d 'Maximum length of a reply in octets as sent; 0 is no limit except that of a datagram [default: 511]' -r
complete -c qotd -l charset -d 'Characters that a fortune may contain [default: utf-8]' -r -f -a "utf-8\t'All of Unicode, encoded in UTF-8'
ascii\t'Only printable ASCII, as RFC 865 recommends'"
complete -c qotd -l zone -d 'Time zone in which a day begins, for --daily' -r
complete -c qotd -l key -d 'Key that determines the order, for --daily' -r
complete -c qotd -l seed -d 'Seed of the random choice: the same NUMBER gives the same fortunes after a restart' -r
complete -c qotd -s m -l match -d 'Print all fortunes that match a basic regular expression, as in grep(1), with their files' -r
complete -c qotd -l sandbox -d 'What to do if the kernel lacks a layer of the sandbox' -r -f -a "full\t'Refuse to serve unless every layer and every Landlock right is available (Linux 7.2)'
strict\t'Refuse to serve unless every layer is available; seccomp covers gaps in Landlock'
best-effort\t'Use the layers that the kernel has, and log the missing ones'
off\t'Serve without any lock-down'"
complete -c qotd -l idle-timeout -d 'Close a connection after SECONDS without activity [default: 3]' -r
complete -c qotd -l listen -d 'Address to serve: IP:PORT (TCP and UDP), tcp://IP:PORT, udp://IP:PORT, unix:PATH; can be repeated' -r
complete -c qotd -l max-connections -d 'Maximum number of concurrent connections; one more evicts an idle one, or waits' -r
complete -c qotd -l max-per-source -d 'Maximum number of concurrent connections from one source [default: half of --max-connections]' -r
complete -c qotd -l max-rate-per-source -d 'Maximum number of new connections per second from one source [default: 200; none with --shared]' -r
complete -c qotd -l datagram-rate -d 'Octets per second by which datagrams to a network may exceed those from it [default: longest reply]' -r
complete -c qotd -l datagram-total -d 'Same as --datagram-rate, for all networks together; 0 is no limit' -r
complete -c qotd -l datagram-exempt -d 'Network without limits on datagrams, for your probes, such as 192.0.2.0/24; can be repeated' -r
complete -c qotd -s e -l equal -d 'Give all files the same share, regardless of their number of fortunes'
complete -c qotd -s a -l all -d 'Use the host\'s fortunes, including the offensive ones'
complete -c qotd -s o -l offensive -d 'Use only the host\'s offensive fortunes; has no effect on FILE and DIR'
complete -c qotd -s s -l short -d 'Use only short fortunes'
complete -c qotd -s l -l long -d 'Use only long fortunes'
complete -c qotd -s u -d 'Same as --charset utf-8, regardless of the locale'
complete -c qotd -l daily -d 'One fortune per day, the same on all hosts with this collection; none repeats until all were sent'
complete -c qotd -l shuffle -d 'Send the fortunes of a daemon in random order; none repeats until all were sent'
complete -c qotd -s f -l list -d 'Print the files to choose from, each with its probability, instead of a fortune'
complete -c qotd -s i -l ignore-case -d 'Ignore case, for -m'
complete -c qotd -s c -l cookie-file -d 'Also print the file that the fortune comes from'
complete -c qotd -s w -l wait -d 'Wait long enough to read the fortune: 1 second per 20 characters, at least 6 seconds'
complete -c qotd -s v -d 'Same as -V, for compatibility with fortune-mod'
complete -c qotd -l shared -d 'Serve all clients in one process instead of one process per connection'
complete -c qotd -l log-connections -d 'Log each connection when it ends, at most 20 per second; addresses are personal data'
complete -c qotd -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qotd -s V -l version -d 'Print version'
