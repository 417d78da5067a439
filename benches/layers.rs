//! The cost of Landlock, seccomp and the other layers alone: applying them, and each system call afterwards. Children of this
//! process each do one of these things and measure the processor time of their thread. All take turns, each round in another order.
//! Each is compared with the child that does nothing in the same round.
//!
//! `make bench-layers` runs this as root; `ROUNDS=300` by itself. docs/data/layers.csv, docs/costs.md and docs/plots/layers.svg get
//! the results. With `ROUNDS=0` it measures nothing, and writes the page from docs/data.

#[path = "layers/kernel.rs"]
mod kernel;
#[path = "layers/page.rs"]
mod page;
#[path = "layers/plot.rs"]
mod plot;
mod support;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::{env, fs};

use hunker::{Layer, Mode, Policy, Rule, Syscall};
use kernel::{Job, Kind, Make, Program, Shared, attach, filter};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rustix::fs::{Mode as Bits, OFlags, open, openat};
use small_services::engine::Engine;
use small_services::policy::{Io, Lists};
use support::{Result, as_f64, given, interval, median, peer};

/// The number of calls in a sample, so that the two clock readings are a small part of it. A few calls come before, to fill the
/// processor's caches.
const CALLS: usize = 1000;
const OPENS: usize = 200;
const WARM_UP: usize = 20;
/// The number of samples, of which the shortest counts: the others' turns fill the processor's caches, and the machine has other
/// work.
const TRIES: usize = 3;
/// The numbers of rules of filters. The last makes a filter of nearly the maximum length.
const FILTER_RULES: [usize; 6] = [1, 6, 30, 62, 254, LONGEST];
const LONGEST: usize = 2040;
const PLACES: [usize; 6] = [2, 16, 64, 256, 1024, LONGEST];
const STACKS: [usize; 4] = [1, 2, 4, 8];
const LANDLOCK_RULES: [usize; 7] = [0, 1, 2, 4, 8, 16, 64];
/// The kernel allows no more nested Landlock domains.
const DEEP: [usize; 5] = [1, 2, 4, 8, 16];
const DIRECTORIES: usize = 64;

/// What is timed.
enum Act {
    /// In a child: after the first job the second, which repeats the action this many times.
    Child { as_root: bool, times: usize, prepare: Job, timed: Job },
    /// From here on: a process from its start to its end.
    Process(Make),
}

struct Case {
    group: &'static str,
    name: String,
    at: Option<usize>,
    /// The baseline, which is subtracted in each round.
    less: Option<usize>,
    act: Act,
    took: Vec<f64>,
}

/// A line of docs/data/layers.csv: microseconds, and the interval that holds 95 % of a bootstrap's medians.
struct Row {
    group: &'static str,
    name: String,
    at: Option<usize>,
    is_difference: bool,
    median: f64,
    from: f64,
    to: f64,
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, group: &'static str, name: &str, at: Option<usize>, less: Option<usize>, act: Act) -> usize {
        self.0.push(Case { group, name: name.to_owned(), at, less, act, took: Vec::new() });
        self.0.len() - 1
    }

    fn find(&self, group: &str, name: &str, at: usize) -> Result<usize> {
        let found = self.0.iter().position(|it| (it.group, &*it.name, it.at) == (group, name, Some(at)));
        found.ok_or_else(|| format!("there is no {group}, {name}, {at}").into())
    }

    /// The time of a case in each round, minus its baseline.
    fn values(&self, index: usize) -> Vec<f64> {
        let case = &self.0[index];
        let less = case.less.map(|less| &self.0[less].took);
        less.map_or_else(
            || case.took.clone(),
            |less| case.took.iter().zip(less).map(|(one, less)| one - less).collect(),
        )
    }
}

fn nothing() -> Job {
    Box::new(|| Ok(()))
}

/// A process without privileges, before a filter or a domain.
fn unprivileged() -> Job {
    Box::new(kernel::no_new_privileges)
}

/// The number of instructions of a filter without pins.
const fn length(rules: usize) -> usize {
    5 + 2 * rules
}

fn once(prepare: Job, timed: Job) -> Act {
    Act::Child { as_root: false, times: 1, prepare, timed }
}

/// Attaches these filters, then repeats the call.
fn calls(filters: Vec<Vec<libc::sock_filter>>) -> Act {
    let prepare: Job = Box::new(move || {
        kernel::no_new_privileges()?;
        filters.iter().try_for_each(|it| attach(it))?;
        (0..WARM_UP).for_each(|_| kernel::call());
        Ok(())
    });
    let timed: Job = Box::new(|| {
        (0..CALLS).for_each(|_| kernel::call());
        Ok(())
    });
    Act::Child { as_root: false, times: CALLS, prepare, timed }
}

/// Filters: attaching them, and a call afterwards.
fn filters(cases: &mut Cases, control: usize) {
    for (name, kind) in [(page::PREPARED, Kind::Cached), (page::UNPREPARED, Kind::Uncached)] {
        for rules in FILTER_RULES {
            let program = filter(kind, rules, None);
            let at = Some(length(rules));
            cases.add("attach", name, at, Some(control), once(unprivileged(), Box::new(move || attach(&program))));
        }
    }
    let bare = cases.add("without", "getppid(2), no filter", None, None, calls(Vec::new()));
    cases.add("call", page::ONCE_MORE, None, Some(bare), calls(Vec::new()));
    let kinds = [(page::CACHED, Kind::Cached), (page::PINNED, Kind::Pinned), (page::UNCACHED, Kind::Uncached)];
    for (name, kind) in kinds {
        for place in PLACES {
            let program = filter(kind, LONGEST, Some(place));
            cases.add("call", name, Some(place), Some(bare), calls(vec![program]));
        }
    }
    for (name, kind) in &kinds[..2] {
        for rules in &FILTER_RULES[1..] {
            let program = filter(*kind, *rules, Some(2));
            cases.add("length", name, Some(length(*rules)), Some(bare), calls(vec![program]));
        }
        for count in STACKS {
            let program = filter(*kind, 30, Some(16));
            cases.add("stack", name, Some(count), Some(bare), calls(vec![program; count]));
        }
    }
}

/// Directories for rules, already open, and one that contains a file, below several others.
struct Tree {
    many: Vec<Rc<OwnedFd>>,
    /// From the file's own directory upwards.
    above: Vec<Rc<OwnedFd>>,
}

impl Tree {
    fn make() -> Result<Self> {
        let folder = Path::new(&given("SCRATCH")?).join("layers");
        let deepest = DEEP[DEEP.len() - 1];
        let parent = (0..deepest).fold(folder.clone(), |path, number| path.join(number.to_string()));
        fs::create_dir_all(&parent)?;
        fs::write(parent.join("file"), "")?;
        let directory = |path: &Path| -> Result<_> {
            fs::create_dir_all(path)?;
            Ok(Rc::new(open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Bits::empty())?))
        };
        let many = (0..DIRECTORIES).map(|number| directory(&folder.join(format!("many/{number}"))));
        Ok(Self {
            many: many.collect::<Result<_>>()?,
            above: parent.ancestors().take(deepest).map(directory).collect::<Result<_>>()?,
        })
    }

    /// Opens and closes the file repeatedly in this many nested domains of these directories. It is opened by its name alone, so
    /// that no path lookup is measured.
    fn opens(&self, readable: Vec<Rc<OwnedFd>>, domains: usize) -> Act {
        let times = |parent: &OwnedFd, times| -> Result<()> {
            Ok((0..times).try_for_each(|_| openat(parent, c"file", OFlags::CLOEXEC, Bits::empty()).map(drop))?)
        };
        let (parent, again) = (Rc::clone(&self.above[0]), Rc::clone(&self.above[0]));
        let prepare: Job = Box::new(move || {
            kernel::no_new_privileges()?;
            let ruleset = kernel::ruleset(&readable)?;
            (0..domains).try_for_each(|_| kernel::restrict(&ruleset))?;
            times(&parent, WARM_UP)
        });
        Act::Child { as_root: false, times: OPENS, prepare, timed: Box::new(move || times(&again, OPENS)) }
    }
}

/// Landlock: entering a domain, and open(2) in it.
fn domains(cases: &mut Cases, control: usize) -> Result<()> {
    let tree = Tree::make()?;
    for rules in LANDLOCK_RULES {
        let readable = tree.many[..rules].to_vec();
        let enter: Job = Box::new(move || kernel::restrict(&kernel::ruleset(&readable)?));
        cases.add("domain", page::DOMAIN, Some(rules), Some(control), once(unprivileged(), enter));
    }
    let bare = cases.add("without", "open(2) and close(2), no Landlock", None, None, tree.opens(Vec::new(), 0));
    cases.add("open", page::ONCE_MORE, None, Some(bare), tree.opens(Vec::new(), 0));
    let own = &tree.above[..1];
    for rules in LANDLOCK_RULES.into_iter().filter(|rules| *rules > 0) {
        let readable = [own, &tree.many[1..rules]].concat();
        cases.add("open", page::RULES, Some(rules), Some(bare), tree.opens(readable, 1));
    }
    for count in DEEP {
        let readable = vec![tree.above[count - 1].clone()];
        cases.add("open", page::LEVELS, Some(count), Some(bare), tree.opens(readable, 1));
        cases.add("open", page::DOMAINS, Some(count), Some(bare), tree.opens(own.to_vec(), count));
    }
    Ok(())
}

/// The layers of hunker, with the policy of a service that replies and exits.
fn layers(cases: &mut Cases, control: usize) {
    let clock = const { &[Rule::new(Syscall::CLOCK_GETTIME, &[], "the time is read once more")] };
    let mut lists: Lists = Engine::Reply.rules().of(Io::Filter);
    lists.iter_mut().rev().take(1).for_each(|last| *last = clock);
    let policy = Rc::new(Policy::new(&lists));
    let apply = |layer: Layer| {
        let policy = Rc::clone(&policy);
        Box::new(move || Ok(layer.apply(&policy)?)) as Job
    };
    let capabilities = format!("{}, as root", Layer::Capabilities);
    let act = Act::Child { as_root: true, times: 1, prepare: nothing(), timed: apply(Layer::Capabilities) };
    cases.add("layer", &capabilities, None, Some(control), act);
    for layer in Layer::ALL {
        let prepare = if matches!(layer, Layer::Landlock | Layer::Seccomp) { unprivileged() } else { nothing() };
        let name = match layer {
            Layer::Landlock => format!("{layer}, every right and no rule"),
            Layer::Seccomp => format!("{layer}, {} instructions", policy.instructions().len()),
            _ => layer.to_string(),
        };
        cases.add("layer", &name, None, Some(control), once(prepare, apply(layer)));
    }
    for (name, as_root) in [(page::ALL, false), (page::ALL_AS_ROOT, true)] {
        let policy = Rc::clone(&policy);
        let timed: Job = Box::new(move || Ok(hunker::down(&policy, &[], Mode::Strict).map(drop)?));
        cases.add("layer", name, None, Some(control), Act::Child { as_root, times: 1, prepare: nothing(), timed });
    }
}

fn row(of: &Case, values: &[f64], random: &mut SmallRng) -> Row {
    let (from, to) = interval(values, random);
    let is_difference = of.less.is_some();
    Row { group: of.group, name: of.name.clone(), at: of.at, is_difference, median: median(values), from, to }
}

/// The cost of one more of something: the difference between first and last, divided.
fn slopes(cases: &Cases, random: &mut SmallRng) -> Result<Vec<Row>> {
    let last = |list: &[usize]| list[list.len() - 1];
    let mut rows = Vec::new();
    for (what, group, series, from, to) in [
        ("instruction to attach", "attach", page::PREPARED, length(1), length(LONGEST)),
        ("instruction to attach", "attach", page::UNPREPARED, length(1), length(LONGEST)),
        ("rule before a call, to the 256th", "call", page::CACHED, PLACES[0], 256),
        ("rule before a call, to the 256th", "call", page::PINNED, PLACES[0], 256),
        ("rule before a call, to the 256th", "call", page::UNCACHED, PLACES[0], 256),
        ("rule before a call, from there on", "call", page::CACHED, 256, LONGEST),
        ("rule before a call, from there on", "call", page::PINNED, 256, LONGEST),
        ("rule before a call, from there on", "call", page::UNCACHED, 256, LONGEST),
        ("instruction behind a call", "length", page::CACHED, length(6), length(LONGEST)),
        ("instruction behind a call", "length", page::PINNED, length(6), length(LONGEST)),
        ("filter", "stack", page::CACHED, 1, last(&STACKS)),
        ("filter", "stack", page::PINNED, 1, last(&STACKS)),
        ("rule to enter a domain", "domain", page::DOMAIN, 0, last(&LANDLOCK_RULES)),
        ("for open(2)", "open", page::RULES, 1, last(&LANDLOCK_RULES)),
        ("for open(2)", "open", page::LEVELS, 1, last(&DEEP)),
        ("for open(2)", "open", page::DOMAINS, 1, last(&DEEP)),
    ] {
        let [first, second] = [from, to].map(|at| cases.find(group, series, at).map(|index| &cases.0[index].took));
        let values: Vec<f64> = first?.iter().zip(second?).map(|(one, two)| (two - one) / as_f64(to - from)).collect();
        let name = format!("one more {what}: {series}");
        let (from, to) = interval(&values, random);
        rows.push(Row { group: "each", name, at: None, is_difference: true, median: median(&values), from, to });
    }
    Ok(rows)
}

fn main() -> Result<()> {
    let rounds: usize = env::var("ROUNDS").map_or(Ok(300), |it| it.parse())?;
    if rounds == 0 {
        return page::write_again();
    }
    kernel::alone()?;
    let (shared, program) = (Shared::new()?, Program::new(&peer("reply")?)?);
    let mut cases = Cases::default();
    let control = cases.add("without", "nothing: the clock, read twice", None, None, once(nothing(), nothing()));
    cases.add("layer", page::ONCE_MORE, None, Some(control), once(nothing(), nothing()));
    layers(&mut cases, control);
    filters(&mut cases, control);
    domains(&mut cases, control)?;
    let process = cases.add("process", page::PROCESS, None, None, Act::Process(Make::Spawn));
    cases.add("process", page::FORK_EXEC, None, None, Act::Process(Make::ForkExec));
    cases.add("process", page::FORK, None, None, Act::Process(Make::Fork));

    let mut random = SmallRng::seed_from_u64(0);
    let mut order: Vec<_> = (0..cases.0.len()).collect();
    for _ in 0..rounds {
        order.shuffle(&mut random);
        for &index in &order {
            let case = &mut cases.0[index];
            let time = || match &case.act {
                Act::Child { as_root, times, prepare, timed } => {
                    shared.time_in_child(*as_root, prepare, timed).map(|took| took / as_f64(*times))
                }
                Act::Process(make) => program.time(*make),
            };
            let took = (0..TRIES).try_fold(f64::INFINITY, |least, _| Ok(least.min(time()?)));
            let took = took.map_err(|error: support::Error| format!("{}, {}: {error}", case.group, case.name))?;
            case.took.push(took);
        }
    }
    let mut rows: Vec<_> =
        (0..cases.0.len()).map(|index| row(&cases.0[index], &cases.values(index), &mut random)).collect();
    rows.extend(slopes(&cases, &mut random)?);
    page::write(&rows, rows[process].median, rounds)?;
    page::write_rounds(&cases.0)?;
    plot::write(&rows, &page::units()?)
}
