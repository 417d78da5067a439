complete -c qotd -s n -d 'The longest fortune that is a short one, in characters' -r
complete -c qotd -l fortune-path -d 'Where the host\'s fortunes are [default: `FORTUNE_PATH`, or where distributions have them]' -r
complete -c qotd -l max-length -d 'The longest reply, in octets as sent; 0 for no limit (but a datagram\'s own) [default: 511]' -r
complete -c qotd -l charset -d 'Which characters may be in a fortune [default: utf-8]' -r -f -a "utf-8\t'All of Unicode, in UTF-8'
ascii\t'Printing ASCII only, as RFC 865 recommends'"
complete -c qotd -l zone -d 'With --daily: the time zone in which a day begins' -r
complete -c qotd -l key -d 'With --daily: another order for another key' -r
complete -c qotd -l seed -d 'The same choices each time that the program is started with this number' -r
complete -c qotd -s m -l match -d 'Print all fortunes that match a basic regular expression, as in grep(1), and their files' -r
complete -c qotd -l sandbox -d 'What to do if the kernel lacks a layer of the sandbox' -r -f -a "full\t'Refuse to serve unless every layer holds, and Landlock lacks nothing (Linux 7.2)'
strict\t'Refuse to serve unless every layer holds; what an old Landlock lacks, seccomp does'
best-effort\t'Use the layers that the kernel has, and log the others'
off\t'No lock-down at all'"
complete -c qotd -l idle-timeout -d 'Let a client go that was idle for so long [default: 3]' -r
complete -c qotd -l listen -d 'Serve there: IP:PORT, or only tcp://IP:PORT, udp://IP:PORT, unix:PATH; can be repeated' -r
complete -c qotd -l max-connections -d 'Maximum number of concurrent connections; one more ends one that is idle' -r
complete -c qotd -l max-per-source -d 'Maximum number of concurrent connections from one source [default: half of all]' -r
complete -c qotd -l max-rate-per-source -d 'Maximum number of new connections per second from one source [default: 200; with --shared no limit]' -r
complete -c qotd -l datagram-rate -d 'Send a network so many octets a second more in datagrams than it sends [default: one longest reply]' -r
complete -c qotd -l datagram-total -d 'The same for all networks together; 0 is no limit' -r
complete -c qotd -l datagram-exempt -d 'Do not limit datagrams to this network, such as 192.0.2.0/24: that of your probes; can be repeated' -r
complete -c qotd -s e -l equal -d 'Give all files the same share, however many fortunes they hold'
complete -c qotd -s a -l all -d 'The host\'s fortunes, the offensive ones too'
complete -c qotd -s o -l offensive -d 'The host\'s offensive fortunes only; has no effect on FILE or DIR'
complete -c qotd -s s -l short -d 'Short fortunes only'
complete -c qotd -s l -l long -d 'Long fortunes only'
complete -c qotd -s u -d 'The same as --charset utf-8, whatever the locale'
complete -c qotd -l daily -d 'The same fortune all day, on every host with the same collection; none again before all were shown'
complete -c qotd -l shuffle -d 'With one process for all clients: none again before all were sent'
complete -c qotd -s f -l list -d 'Print the files that would be searched, with their share of the choice, and no fortune'
complete -c qotd -s i -l ignore-case -d 'With -m: upper and lower case are the same'
complete -c qotd -s c -l cookie-file -d 'Print the file that the fortune is from, too'
complete -c qotd -s w -l wait -d 'Wait until the fortune can have been read: a second for 20 characters, and at least 6 seconds'
complete -c qotd -s v -d 'The same as -V, as fortune-mod has it'
complete -c qotd -l shared -d 'Serve all clients in one process, instead of making a process for each connection'
complete -c qotd -l log-connections -d 'Log each connection when it ends; off by default: addresses are personal data, and clients could fill the log'
complete -c qotd -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qotd -s V -l version -d 'Print version'
