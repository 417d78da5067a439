//! docs/escapes.md, and how it counts the attacks of docs/data/escapes.csv.

use std::collections::BTreeSet;

use super::support::attack::table as markdown;
use super::table::{DONE, Table, surroundings};
use super::{FORKS, expected, reach};

/// Where the page says why attacks are possible in some surroundings, if they are.
fn reasons(column: usize) -> &'static str {
    const PROGRAM: usize = 2;
    const UNITS: usize = PROGRAM + 1 + FORKS.len();
    match column {
        0 => "the control: a refused attack needs something that this kernel or machine lacks",
        1 => "[no right for them](#attacks-on-files-and-networks-that-landlock-alone-does-not-stop)",
        column if column == UNITS - 1 => "[the keeper forks](#what-the-program-alone-does-not-stop)",
        column if column >= UNITS => "[reasons](#what-the-unit-alone-does-not-stop)",
        _ => "–",
    }
}

/// Of each of the surroundings, how the attacks ended.
fn summary(table: &Table) -> String {
    let lines = surroundings().into_iter().enumerate().map(|(column, name)| {
        let count = |is: &dyn Fn(&str) -> bool| table.rows.iter().filter(|row| is(&row.cells[column])).count();
        let (done, killed) = (count(&|cell| cell == DONE), count(&|cell| cell.starts_with("killed")));
        let nothing = count(&|cell| cell.starts_with('('));
        let refused = table.rows.len() - done - killed - nothing;
        let numbers = [killed, refused, nothing, done].map(|it| if it == 0 { "–".to_owned() } else { it.to_string() });
        [&[name.to_owned()], &numbers[..], &[reasons(column).to_owned()]].concat()
    });
    let head = ["setting", "killed", "refused", "shows nothing", "possible", "why"];
    markdown(&head, &lines.collect::<Vec<_>>())
}

/// The page.
pub fn page(table: &Table) -> String {
    let families: BTreeSet<_> = table.rows.iter().map(|row| &row.family).collect();
    // The data name them all.
    let some = |acts: &[&str]| match acts {
        [first, _, _, _, rest @ ..] => format!("{first}; and {} more", rest.len() + 3),
        few => few.join("; "),
    };
    let list = |lists: &[(&[&str], &str)]| {
        lists.iter().fold(String::new(), |all, (acts, why)| all + &format!("- {}: {why}.\n", some(acts)))
    };
    let page = include_str!("page.md")
        .replace("@count@", &table.rows.len().to_string())
        .replace("@families@", &families.len().to_string())
        .replace("@machine@", &table.machine)
        .replace("@summary@\n", &summary(table))
        .replace("@units@\n", &list(expected::UNITS_LEAVE))
        .replace("@neighbours@\n", &list(expected::NEIGHBOURS_UNITS_LEAVE))
        .replace("@daemons@\n", &list(expected::DAEMONS_UNITS_LEAVE))
        .replace("@keepers@\n", &list(expected::KEEPERS_UNITS_LEAVE))
        .replace("@keeper@\n", &list(expected::KEEPER_LEAVES))
        .replace("@readers@\n", &list(expected::READERS_LEAVE))
        .replace("@reach@", &reach::LIST.len().to_string());
    let mut marks = page.split('@').skip(1);
    assert!(marks.all(|rest| rest.starts_with(".service")), "tests/escapes/page.md has a mark that nothing fills");
    page
}
