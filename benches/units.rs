//! The cost of a hardened unit: from connecting to the end of the reply, through `fortune@.service` as installed, in a real
//! systemd; compared with a unit that lists every directive and a plain unit around fortune(6). All take turns, so that other load
//! on the machine affects all alike.
//!
//! `make bench` runs this as root. The systemd is tests/machine's.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;
use std::{env, fs};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use support::machine::{address, boot, measure_inside, run, serve, settle};
use support::{Goal, Result, Rows, connect_and_read, given, peer, wait_for};

fn variants(folder: &Path) -> Result<Vec<(String, String)>> {
    let install = ["make", "-C", env!("CARGO_MANIFEST_DIR"), "install"];
    run("run", folder, &install)?;
    let shipped = run("run", folder, &["cat", "/usr/local/lib/systemd/system/fortune@.service"])?;
    let shipped: String =
        shipped.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, it| all + it + "\n");
    let listed = |name: &str| fs::read_to_string(Path::new("benches/units").join(name));
    // To a directory that DynamicUser= does not hide, as it may hide the repository.
    let fortune = peer("usr/games/fortune")?.display().to_string();
    run("run", folder, &["cp", "-r", &fortune, &given("FORTUNES")?, "/usr/local/share"])?;
    let everything = listed("everything.conf")?.replace("@libexecdir@", "/usr/local/libexec/small-services");
    let plain = listed("plain.conf")?.replace("@fortune@", "/usr/local/share/fortune /usr/local/share/fortunes-min");
    Ok(vec![
        ("every directive".to_owned(), everything),
        ("plain, fortune(6)".to_owned(), plain),
        ("fortune@.service".to_owned(), shipped),
    ])
}

fn main() -> Result<()> {
    let folder = Path::new(&given("SCRATCH")?).join("machine");
    // Second run: in the machine's network.
    if let Ok(names) = env::var("UNITS") {
        return measure(&folder, names.lines());
    }
    let _machine = boot(&folder, "bookworm")?;
    let variants = variants(&folder)?;
    serve(&folder, variants.iter().map(|(_, unit)| unit.as_str()))?;
    let mut exposures = String::new();
    for index in 0..3 {
        let unit = format!("variant{index}@1.service");
        let report = run("run", &folder, &["systemd-analyze", "security", "--no-pager", &unit])?;
        let level = report.rsplit_once(": ").and_then(|(_, rest)| rest.split(' ').next()).ok_or("no exposure")?;
        let _ = writeln!(exposures, "{level}");
    }
    let names: Vec<&str> = variants.iter().map(|(name, _)| name.as_str()).collect();
    measure_inside(&folder, [("UNITS", names.join("\n").as_str()), ("EXPOSURES", &exposures)])
}

fn measure<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let rounds: usize = env::var("UNIT_ROUNDS").map_or(Ok(30), |it| it.parse())?;
    let mut contenders: Vec<(&str, Vec<f64>, Vec<f64>)> = names.map(|name| (name, Vec::new(), Vec::new())).collect();
    wait_for(address(0))?;
    // Each time in another order: the clean-up of one falls on the next.
    let mut random = SmallRng::seed_from_u64(0);
    let mut order: Vec<_> = (0..contenders.len()).collect();
    for round in 0..=rounds {
        order.shuffle(&mut random);
        for &index in &order {
            let (name, times, processor) = &mut contenders[index];
            let before = settle(folder)?;
            let start = Instant::now();
            connect_and_read(address(index), b"").map_err(|error| format!("{name}: {error}"))?;
            let took = start.elapsed().as_secs_f64() * 1e3;
            // Until the manager has cleaned up.
            let after = settle(folder)?;
            if round > 0 {
                times.push(took);
                processor.push(after - before);
            }
        }
    }
    let mut rows = Rows::new();
    let [everything, plain, shipped] = contenders.as_slice() else { return Err("no units".into()) };
    for (peer, goal) in [(everything, Goal::AtMost(0.5)), (plain, Goal::AtMost(2.0))] {
        rows.add("a unit", shipped.0, "ms", &shipped.1, Some((peer.0, &peer.1)), goal);
    }
    rows.add("a unit", everything.0, "ms", &everything.1, None, Goal::None);
    rows.add("a unit", plain.0, "ms", &plain.1, None, Goal::None);
    let exposures = env::var("EXPOSURES")?;
    for (one, exposure) in [everything, plain, shipped].into_iter().zip(exposures.lines()) {
        rows.add("a unit", one.0, "processor ms", &one.2, Some((everything.0, &everything.2)), Goal::None);
        let goal = if one.0 == shipped.0 { Goal::AtMost(1.0) } else { Goal::None };
        rows.add("a unit", one.0, "exposure", &[exposure.parse()?], Some(("0.5", &[0.5])), goal);
    }
    rows.write("units")
}
