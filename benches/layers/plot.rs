//! docs/plots/layers.svg: each value with its interval.

use std::fs;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::support::{Result, as_f64};
use super::{Row, page};

const COLOURS: [RGBColor; 3] = [RGBColor(0x4c, 0x72, 0xb0), RGBColor(0xdd, 0x84, 0x52), RGBColor(0x55, 0xa8, 0x68)];
const SIZE: (u32, u32) = (900, 760);
const PROCESS_HEIGHT: u32 = 26;
const FONT: (&str, i32) = ("sans-serif", 13);

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub fn write(rows: &[Row], units: &[Row]) -> Result<()> {
    fs::create_dir_all("docs/plots")?;
    // From the cheapest to the dearest: a lock-down, a process, a unit.
    let locked_down = |row: &&Row| [page::ALL, page::ALL_AS_ROOT].contains(&&*row.name);
    let processes = rows.iter().filter(|row| row.group == "process" || locked_down(row));
    let mut processes: Vec<_> = processes.chain(units).collect();
    processes.sort_by(|one, other| one.median.total_cmp(&other.median));
    let height = 90 + PROCESS_HEIGHT * u32::try_from(processes.len())?;
    let area = SVGBackend::new("docs/plots/layers.svg", (SIZE.0, SIZE.1 + height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (panels, below) = area.split_vertically(SIZE.1);
    draw_processes(&below, &processes)?;
    let panels = panels.split_evenly((2, 2));
    for (panel, (group, title, x)) in panels.iter().zip([
        ("attach", "To attach a filter, µs", "instructions"),
        ("call", "A call after it, µs more than without", "place of its rule among 2,040"),
        ("domain", "To enter a Landlock domain, µs", "rules (the first point: none)"),
        ("open", "open(2) and close(2) in it, µs more than without", "number of what the colour says"),
    ]) {
        let of: Vec<_> = rows.iter().filter(|row| row.group == group && row.at.is_some()).collect();
        draw(panel, title, x, &of)?;
    }
    area.present()?;
    Ok(())
}

/// One line for each, on a logarithmic axis.
fn draw_processes(panel: &Panel, rows: &[&Row]) -> Result<()> {
    let right = rows.iter().map(|row| row.to).fold(10.0, f64::max) * 1.5;
    let mut chart = ChartBuilder::on(panel)
        .caption("A lock-down, a process, a unit, µs", ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(420)
        .build_cartesian_2d((10.0..right).log_scale(), 0.0..as_f64(rows.len()))?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_mesh().disable_y_axis().x_labels(6).label_style(FONT).x_label_formatter(&|value| value.to_string());
    mesh.draw()?;
    for (index, row) in rows.iter().enumerate() {
        let height = as_f64(rows.len() - index) - 0.5;
        let (_, y) = chart.backend_coord(&(10.0, height));
        let (_, top) = panel.get_base_pixel();
        let style = FONT.into_text_style(panel).pos(Pos::new(HPos::Right, VPos::Center));
        panel.draw(&Text::new(row.name.replace('`', ""), (415, y - top), style))?;
        chart.draw_series([PathElement::new([(row.from, height), (row.to, height)], COLOURS[0].stroke_width(5))])?;
        chart.draw_series([Circle::new((row.median, height), 3, COLOURS[0].filled())])?;
    }
    Ok(())
}

/// Both axes are logarithmic: zero rules are drawn at one half, and values below the axis at its end.
fn draw(panel: &Panel, title: &str, x: &str, rows: &[&Row]) -> Result<()> {
    let place = |row: &Row| row.at.filter(|at| *at > 0).map_or(0.5, as_f64);
    let bottom = rows.iter().map(|row| row.median).filter(|it| *it > 0.0).fold(f64::INFINITY, f64::min) / 2.0;
    let top = rows.iter().map(|row| row.to).fold(bottom, f64::max) * 2.0;
    let left = rows.iter().map(|row| place(row)).fold(f64::INFINITY, f64::min) / 1.3;
    let right = rows.iter().map(|row| place(row)).fold(left, f64::max) * 1.3;
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right).log_scale(), (bottom..top).log_scale())?;
    let plain = |value: &f64| value.to_string();
    let mut mesh = chart.configure_mesh();
    mesh.disable_mesh().x_labels(6).y_labels(6).x_desc(x).label_style(FONT).axis_desc_style(FONT);
    mesh.x_label_formatter(&plain).y_label_formatter(&plain).draw()?;
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&&*row.name) {
            names.push(&row.name);
        }
    }
    for (name, colour) in names.iter().zip(COLOURS) {
        let of: Vec<_> = rows.iter().filter(|row| row.name == *name).collect();
        let point = |row: &Row| (place(row), row.median.max(bottom));
        chart.draw_series([PathElement::new(of.iter().map(|row| point(row)).collect::<Vec<_>>(), colour.mix(0.4))])?;
        for row in &of {
            let ends = [(place(row), row.from.max(bottom)), (place(row), row.to.max(bottom))];
            chart.draw_series([PathElement::new(ends, colour.stroke_width(5))])?;
            chart.draw_series([Circle::new(point(row), 3, colour.filled())])?;
        }
    }
    // One series needs no legend.
    for (index, (name, colour)) in names.iter().zip(COLOURS).enumerate().filter(|_| names.len() > 1) {
        let line = 44 + 18 * i32::try_from(index)?;
        panel.draw(&Rectangle::new([(90, line), (102, line + 12)], colour.filled()))?;
        panel.draw(&Text::new((*name).to_owned(), (108, line), FONT))?;
    }
    Ok(())
}
