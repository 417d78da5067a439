//! The plots of docs/benchmarks.md, and the page itself.

use std::fs;
use std::path::Path;

use plotters::prelude::*;

use super::Row;
use super::support::{Result, as_f64};

const SIZE: (u32, u32) = (900, 60);
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x4c, 0x72, 0xb0),
    RGBColor(0xdd, 0x84, 0x52),
    RGBColor(0x55, 0xa8, 0x68),
    RGBColor(0xc4, 0x4e, 0x52),
    RGBColor(0x81, 0x72, 0xb3),
    RGBColor(0x93, 0x78, 0x60),
    RGBColor(0xda, 0x8b, 0xc3),
    RGBColor(0x8c, 0x8c, 0x8c),
];

/// One bar: its name, its parts one after the other, each in its own colour, and its spread.
type Bar = (String, Vec<f64>, (f64, f64));

/// The 10th to the 90th percentile of the rounds. Beside a peer, that of the ratios, times the peer's median.
fn spread(row: &Row) -> (f64, f64) {
    let peer = row.ratio.map_or(1.0, |ratio| row.median / ratio);
    (row.spread.0 * peer, row.spread.1 * peer)
}

/// Writes the plots and the page.
pub fn write(rows: &[Row], table: &str) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let plots = docs.join("plots");
    fs::create_dir_all(&plots)?;
    let of = |topic: &str| rows.iter().filter(|row| row.topic == topic).collect::<Vec<_>>();
    let find = |topic: &str, name: &str| {
        let row = rows.iter().find(|row| row.topic == topic && row.name == name);
        row.ok_or_else(|| format!("there is no row {topic}, {name}"))
    };

    let layers = of("a part of a process");
    let [least, qotd, fortune] =
        [find("a process", "static C")?, find("a process", "qotd")?, find("a process", "fortune(6)")?];
    let mut parts = vec![least.median];
    parts.extend(layers.iter().map(|row| row.median));
    parts.push((qotd.median - parts.iter().sum::<f64>()).max(0.0));
    let mut names = vec!["what static C takes as well".to_owned()];
    names.extend(layers.iter().map(|row| row.name.clone()));
    names.push("all else".to_owned());
    let processes = [
        ("static C, 34 octets".to_owned(), vec![least.median], spread(least)),
        ("qotd".to_owned(), parts, spread(qotd)),
        ("fortune(6)".to_owned(), vec![fortune.median], spread(fortune)),
    ];
    bars(&plots.join("process.svg"), "Spawn to exit, µs", &processes, &names)?;

    let mut rates: Vec<Bar> = Vec::new();
    for row in rows.iter().filter(|row| row.unit == "connections/s" && !row.topic.starts_with("processes on a port")) {
        if !rates.iter().any(|(name, ..)| *name == row.name) {
            rates.push((row.name.clone(), vec![row.median], spread(row)));
        }
    }
    bars(&plots.join("connections.svg"), "Connections a second", &rates, &[])?;

    let sizes = of("a collection").into_iter().map(|row| (row.name.clone(), vec![row.median], spread(row)));
    let sizes: Vec<Bar> = sizes.collect();
    bars(&plots.join("collection.svg"), "One fortune from a collection, spawn to exit, µs", &sizes, &[])?;

    let page = fs::read_to_string(docs.join("benchmarks.md"))?;
    let (before, rest) = page.split_once(BEGIN).ok_or("docs/benchmarks.md has no mark for the table")?;
    let (_, after) = rest.split_once(END).ok_or("docs/benchmarks.md has no end of the table")?;
    Ok(fs::write(docs.join("benchmarks.md"), format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))?)
}

const BEGIN: &str = "<!-- make bench PLOTS=yes writes from here -->";
const END: &str = "<!-- to here -->";

/// Horizontal bars from the top down, each followed by its sum. `names` is the legend of their parts.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // pixels
fn bars(path: &Path, title: &str, bars: &[Bar], names: &[String]) -> Result<()> {
    const HEIGHT: i32 = 24;
    const LEFT: i32 = 330;
    const WIDTH: f64 = 480.0;
    let lines = i32::try_from(bars.len() + names.len())?;
    let size = (SIZE.0, SIZE.1 + u32::try_from(lines * HEIGHT)?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(title, (10, 12), ("sans-serif", 18)))?;
    let most = bars.iter().map(|(_, parts, (_, high))| high.max(parts.iter().sum())).fold(f64::MIN_POSITIVE, f64::max);
    let mut top = 45;
    for (name, parts, (low, high)) in bars {
        area.draw(&Text::new(name.clone(), (10, top + 4), ("sans-serif", 14)))?;
        let place = |value: f64| LEFT + (value / most * WIDTH) as i32;
        let mut from = 0.0;
        for (index, part) in parts.iter().enumerate() {
            let corners = [(place(from), top), (place(from + part), top + HEIGHT - 6)];
            area.draw(&Rectangle::new(corners, COLOURS[index % COLOURS.len()].filled()))?;
            from += part;
        }
        let middle = top + (HEIGHT - 6) / 2;
        area.draw(&PathElement::new([(place(*low), middle), (place(*high), middle)], BLACK.stroke_width(2)))?;
        let sum = if most < as_f64(10) { format!("{from:.2}") } else { format!("{from:.0}") };
        area.draw(&Text::new(sum, (6 + place(from.max(*high)), top + 4), ("sans-serif", 14)))?;
        top += HEIGHT;
    }
    for (index, name) in names.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        area.draw(&Rectangle::new([(LEFT, top + 4), (LEFT + 14, top + 18)], colour.filled()))?;
        area.draw(&Text::new(name.clone(), (LEFT + 22, top + 4), ("sans-serif", 14)))?;
        top += HEIGHT;
    }
    area.present()?;
    Ok(())
}
