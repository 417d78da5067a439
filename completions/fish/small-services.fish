# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_small_services_global_optspecs
    string join \n h/help V/version
end

function __fish_small_services_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_small_services_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_small_services_using_subcommand
    set -l cmd (__fish_small_services_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c small-services -n "__fish_small_services_needs_command" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_needs_command" -s V -l version -d 'Print version'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "doctor" -d 'Say what is wrong with the services on this host; exit code 0 only when all is well'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "units" -d 'Print or write systemd units for a program: the same confinement that the small services have'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "strfile" -d 'Make an index of a cookie file, as strfile(1) does'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "unstr" -d 'Print a cookie file in the order of its index, as unstr(1) does'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c small-services -n "__fish_small_services_using_subcommand doctor" -l ask -d 'Ask this service alone whether it answers, as a container\'s health check does: qotd=127.0.0.1:17' -r
complete -c small-services -n "__fish_small_services_using_subcommand doctor" -l json -d 'For programs: one JSON object with the states and the problems'
complete -c small-services -n "__fish_small_services_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_using_subcommand units" -l program -d 'The program\'s file: an absolute path' -r -F
complete -c small-services -n "__fish_small_services_using_subcommand units" -l name -d 'The name of the units: NAME.socket, NAME@.service and so on' -r
complete -c small-services -n "__fish_small_services_using_subcommand units" -l port -d 'The port to serve on' -r
complete -c small-services -n "__fish_small_services_using_subcommand units" -l mode -d 'Only the units of a service for each connection, or those of one service for all connections' -r -f -a "connection\t'A service for each connection'
daemon\t'One service for all connections'"
complete -c small-services -n "__fish_small_services_using_subcommand units" -l kind -d 'What a connection is: a reply, which is over in seconds, or a stream, for as long as the client likes' -r -f -a "reply\t''
stream\t''"
complete -c small-services -n "__fish_small_services_using_subcommand units" -l description -d 'What the program is, in some words: what systemctl shows' -r
complete -c small-services -n "__fish_small_services_using_subcommand units" -l show -d 'A file or directory that the program reads; can be repeated' -r -F
complete -c small-services -n "__fish_small_services_using_subcommand units" -l directory -d 'Write the units there, instead of printing them' -r -F
complete -c small-services -n "__fish_small_services_using_subcommand units" -l udp -d 'Serve UDP on the port as well, from one service for all connections'
complete -c small-services -n "__fish_small_services_using_subcommand units" -l force -d 'Replace units that are there, and do not look whether the program and its files are: for packages'
complete -c small-services -n "__fish_small_services_using_subcommand units" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s c -d 'The character that stands alone on the lines between the texts' -r
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s C -d 'Note that lines which begin with two delimiters are comments, and not to be printed'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s i -d 'Ignore case when ordering the texts'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s o -d 'Order the texts alphabetically, by their first letter or digit on'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s r -d 'Put the texts in random order'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s s -d 'Print no summary'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s x -d 'Note that the texts are in rot13'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s V -l version -d 'Print version'
complete -c small-services -n "__fish_small_services_using_subcommand unstr" -s c -d 'The character to print alone on the lines between the texts; the index\'s if not given' -r
complete -c small-services -n "__fish_small_services_using_subcommand unstr" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_using_subcommand unstr" -s V -l version -d 'Print version'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "doctor" -d 'Say what is wrong with the services on this host; exit code 0 only when all is well'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "units" -d 'Print or write systemd units for a program: the same confinement that the small services have'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "strfile" -d 'Make an index of a cookie file, as strfile(1) does'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "unstr" -d 'Print a cookie file in the order of its index, as unstr(1) does'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
