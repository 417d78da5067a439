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
complete -c small-services -n "__fish_small_services_needs_command" -f -a "doctor" -d 'Check the services on this host, and print the next step for each problem; exits with 0 if there is none'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "units" -d 'Print or write systemd units for a program, with the confinement of the small services'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "strfile" -d 'Create the index of a cookie file, as strfile(1) does'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "unstr" -d 'Print a cookie file in the order of its index, as unstr(1) does'
complete -c small-services -n "__fish_small_services_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c small-services -n "__fish_small_services_using_subcommand doctor" -l ask -d 'Check only this service, over TCP and within 10 seconds, for health checks: qotd=127.0.0.1:17' -r
complete -c small-services -n "__fish_small_services_using_subcommand doctor" -l json -d 'Print the states and the problems as one JSON object, for programs'
complete -c small-services -n "__fish_small_services_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_using_subcommand units" -l program -d 'Absolute path of the program' -r -F
complete -c small-services -n "__fish_small_services_using_subcommand units" -l name -d 'Name of the units: NAME.socket, NAME@.service and so on' -r
complete -c small-services -n "__fish_small_services_using_subcommand units" -l port -d 'Port to serve on' -r
complete -c small-services -n "__fish_small_services_using_subcommand units" -l mode -d 'Make only the units of this mode [default: both]' -r -f -a "connection\t'A per-connection service'
daemon\t'A daemon for all connections'"
complete -c small-services -n "__fish_small_services_using_subcommand units" -l kind -d 'How long a connection lasts: seconds (reply), or until the client closes it (stream)' -r -f -a "reply\t''
stream\t''"
complete -c small-services -n "__fish_small_services_using_subcommand units" -l description -d 'Description of the program, as systemctl shows it' -r
complete -c small-services -n "__fish_small_services_using_subcommand units" -l show -d 'File or directory that the program reads; can be repeated' -r -F
complete -c small-services -n "__fish_small_services_using_subcommand units" -l directory -d 'Write the units to DIR instead of printing them' -r -F
complete -c small-services -n "__fish_small_services_using_subcommand units" -l udp -d 'Also serve UDP on the port, with the daemon'
complete -c small-services -n "__fish_small_services_using_subcommand units" -l force -d 'Replace existing units, and do not check that the program and its files exist; for packages'
complete -c small-services -n "__fish_small_services_using_subcommand units" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s c -d 'Delimiter: the character that stands alone on a line between two texts' -r
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s C -d 'Mark lines that begin with two delimiters as comments, which are not printed'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s i -d 'Ignore case when ordering the texts'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s o -d 'Order the texts alphabetically, from the first letter or digit of each'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s r -d 'Put the texts in random order'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s s -d 'Print no summary'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s x -d 'Mark the texts as rot13'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_using_subcommand strfile" -s V -l version -d 'Print version'
complete -c small-services -n "__fish_small_services_using_subcommand unstr" -s c -d 'Delimiter to print on the lines between the texts [default: that of the index]' -r
complete -c small-services -n "__fish_small_services_using_subcommand unstr" -s h -l help -d 'Print help'
complete -c small-services -n "__fish_small_services_using_subcommand unstr" -s V -l version -d 'Print version'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "doctor" -d 'Check the services on this host, and print the next step for each problem; exits with 0 if there is none'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "units" -d 'Print or write systemd units for a program, with the confinement of the small services'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "strfile" -d 'Create the index of a cookie file, as strfile(1) does'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "unstr" -d 'Print a cookie file in the order of its index, as unstr(1) does'
complete -c small-services -n "__fish_small_services_using_subcommand help; and not __fish_seen_subcommand_from doctor units strfile unstr help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
