//! The files of lunchd and of the services in the table, as in `units`: with placeholders for the paths that `make install`
//! fills in.

use super::template::{Value, Values, fill, part};
use super::{CONNECTION, DAEMON, units, values};
use crate::services::{self, Row};

const INETD: &str = include_str!("../../units/templates/super-servers/inetd.conf");
const XINETD: &str = include_str!("../../units/templates/super-servers/xinetd");
const TCPSERVER: &str = include_str!("../../units/templates/super-servers/tcpserver");
const WEB: [(&str, &str); 3] = [
    ("lunchd.service", include_str!("../../units/templates/lunchd.service")),
    ("lunchd-http.socket", include_str!("../../units/templates/lunchd-http.socket")),
    ("lunchd-https.socket", include_str!("../../units/templates/lunchd-https.socket")),
];
const NOTE: &str = "# Made by `make units` from the table `services` and units/templates.\n";

/// All files, with their paths in `units`.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for row in services::all() {
        let values = values_of(&row);
        files.extend(units(row.unit, &CONNECTION, &values));
        files.extend(units(row.unit, &DAEMON, &values));
        files.push((format!("super-servers/xinetd.d/{}", row.program), fill(XINETD, &values)));
    }
    for (name, template) in WEB {
        let socket = name.trim_end_matches(".socket").to_owned();
        let values = Values::from([("socket", socket.into()), ("executable", "@libexecdir@".into())]);
        files.push((name.to_owned(), fill(template, &values)));
    }
    let lines = [("lines", "inetd-lines"), ("reasons", "inetd-reasons"), ("tcpd", "inetd-tcpd")];
    let lines = lines.map(|(name, line)| {
        let rows = services::all().filter(|row| name != "reasons" || !row.shipped);
        let lines: String = rows.map(|row| fill(part(line).unwrap_or_default(), &values_of(&row))).collect();
        (name, lines.trim_end().to_owned().into())
    });
    files.push(("super-servers/inetd.conf".to_owned(), fill(INETD, &Values::from(lines))));
    for (_, text) in &mut files {
        text.insert_str(0, NOTE);
    }
    // A script must begin with its `#!` line.
    files.push(("super-servers/tcpserver".to_owned(), fill(TCPSERVER, &values_of(&services::row("qotd")))));
    files
}

fn values_of(row: &Row) -> Values {
    let shipped = if row.shipped { "on" } else { "off" };
    let part = |name: &str| Value::Part(name.to_owned());
    let mut values = values(row.unit, format!("{} (RFC {})", row.title, row.rfc), row.port, row.kind);
    values.extend([
        ("program", row.program.into()),
        ("rfc", row.rfc.to_string().into()),
        ("documentation", part("documentation")),
        ("command", format!("@libexecdir@/{}", row.program).into()),
        // The directory of all programs.
        ("executable", "@libexecdir@".into()),
        ("files", row.files.map_or_else(|| "".into(), |files| part(&format!("files-{files}")))),
        // tmpfiles.d creates it.
        ("root", "".into()),
        ("datagrams", part(if row.udp { "datagrams-yes" } else { "datagrams-asked" })),
        ("transports", if row.udp { "TCP and UDP" } else { "TCP" }.into()),
        // For inetd and xinetd.
        ("comment", if row.shipped { "" } else { "#" }.into()),
        ("padded", format!("{:<3}", row.port).into()),
        ("head", part(&format!("xinetd-{shipped}"))),
        ("only-from", if row.shipped { "".into() } else { part("only-from-off") }),
        ("disable", if row.shipped { "no" } else { "yes" }.into()),
    ]);
    values
}
