//! A kernel that enforces `AppArmor` profiles, Debian's in a virtual machine (tests/guest). The services work in the shipped
//! profile (units/super-servers/apparmor), from inetd and as daemons, with Landlock as well. The profile confines another program
//! in their place.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use support::{Folder, program, repository};

const SCRIPT: &str = r#"
mount -t securityfs none /sys/kernel/security
echo "layers $(cat /sys/kernel/security/lsm)"
ours=/usr/local/libexec/small-services
mkdir -p $ours /elsewhere /etc/apparmor.d/abi /var/run /usr/share/games/fortunes /usr/share/zoneinfo
cp $(ls -d /programs/* | grep -vE '/(inetd|inetd.conf|apparmor|apparmor_parser|3.0)$') /bin/busybox $ours
cp /bin/busybox /elsewhere
cp /programs/3.0 /etc/apparmor.d/abi
printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >/etc/passwd
printf 'nogroup:x:65534:\n' >/etc/group
echo 'in a profile' >/usr/share/games/fortunes/own
: >/etc/localtime
/programs/apparmor_parser --config-file /dev/null -r /programs/apparmor
echo "profile $(cat /sys/kernel/security/apparmor/profiles)"
for program in elsewhere/busybox ${ours#/}/busybox; do
	echo "passwd by $program: $(/$program head -n 1 /etc/passwd 2>&1)"
done
echo "logged $(dmesg -c | grep -i denied | grep -c passwd)"

until_it_answers() { until nc 127.0.0.1 $1 </dev/null >/dev/null 2>&1; do sleep 0.1; done; }
ask() { # PORT
	until_it_answers $1
	echo "answer $1 $(nc 127.0.0.1 $1 </dev/null | od -An -c | tr -d ' \n')"
}
/programs/inetd -i /programs/inetd.conf &
for port in 17 13 37; do ask $port; done
echo "echo 7 $(echo hello | nc 127.0.0.1 7)"
mkfifo /tmp/held
nc 127.0.0.1 7 </tmp/held >/tmp/echoed &
exec 3>/tmp/held
echo held >&3
until grep -q held /tmp/echoed; do sleep 0.1; done
confined() { for it in $(pidof $1); do echo "process $1 $(cat /proc/$it/attr/current), $(sed -n 's/^Seccomp:\t/seccomp /p' /proc/$it/status)"; done; }
confined echo
exec 3>&-
killall inetd

$ours/qotd --listen tcp://127.0.0.1:17 --listen udp://127.0.0.1:17 /usr/share/games/fortunes/own 2>>/tmp/log &
$ours/daytime --shared --listen tcp://127.0.0.1:13 2>>/tmp/log &
$ours/lunchd --listen http://127.0.0.1:80 2>>/tmp/log &
for port in 17 13; do ask $port; done
until_it_answers 80
echo "lunch $(wget -q -O - http://127.0.0.1/ | wc -l)"
confined qotd
kill $(pidof qotd daytime lunchd)
wait
cat /tmp/log
dmesg | grep -i denied | sed 's/^/denied /' || true
"#;

#[test]
fn the_services_serve_in_their_profile_and_nothing_else_leaves_it() {
    let folder = Folder::new("apparmor");
    let fill = |name: &str| {
        let text = fs::read_to_string(repository().join("units/super-servers").join(name)).unwrap();
        folder.file(name, text.replace("@libexecdir@", "/usr/local/libexec/small-services"))
    };
    let peers = repository().join("target/peers");
    let programs = support::programs().chain(["lunchd"]).map(program);
    let theirs = ["usr/sbin/inetd", "sbin/apparmor_parser", "etc/apparmor.d/abi/3.0"].map(|path| peers.join(path));
    let mut guest = Command::new(repository().join("tests/guest"));
    guest
        .arg(folder.path().join("guest"))
        .args(programs)
        .args(theirs)
        .args(["apparmor", "inetd.conf"].map(fill))
        .env("AUDIT", "1");
    fs::create_dir(folder.path().join("guest")).unwrap();
    let script = fs::File::open(folder.file("script", SCRIPT)).unwrap();
    let output = guest.stdin(script).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let all = |what: &str| said.lines().filter_map(|line| line.strip_prefix(what)).collect::<Vec<_>>();
    let layers = all("layers ");
    assert!(layers[0].contains("landlock") && layers[0].contains("apparmor"), "{layers:?}");
    assert_eq!(all("profile "), ["small-services (enforce)"]);
    // The profile is enforced: another program in their place may not do what it may do elsewhere.
    let passwd = all("passwd by ");
    assert_eq!(passwd[0], "elsewhere/busybox: root:x:0:0::/:/bin/sh");
    assert!(passwd[1].starts_with("usr/local") && passwd[1].ends_with("Permission denied"), "{passwd:?}");
    assert_eq!(all("logged "), ["1"], "what is denied is in the kernel's log");
    // From inetd, then by daemons.
    let fortunes = all("answer 17 ");
    assert!(fortunes.len() == 2 && fortunes[0].ends_with(r"\r\n") && fortunes[1] == r"inaprofile\r\n", "{fortunes:?}");
    for daytime in all("answer 13 ") {
        assert!(daytime.ends_with(r"\r\n") && daytime.contains(':'), "{daytime}");
    }
    assert_eq!((all("answer 13 ").len(), all("answer 37 ").len()), (2, 1));
    assert_eq!(all("echo 7 "), ["hello"]);
    assert_eq!(all("lunch "), ["1"]);
    let processes = all("process ");
    assert!(processes.len() >= 2, "one of inetd's, and a daemon: {processes:?}");
    for process in processes {
        assert!(process.ends_with(" small-services (enforce), seccomp 2"), "{process}");
    }
    assert_eq!(all("denied "), Vec::<&str>::new());
}
