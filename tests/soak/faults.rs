//! A run that something happens to: at each of its operations in turn an error, a full disk, or
//! its end. What is seen then, and what the next run makes of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use converge::run::Purpose;
use converge::spec::Spec;
use converge::system::faults::Faults;
use rustix::io::Errno;

use crate::engine::{self, Way};
use crate::generate::Case;
use crate::oracle;
use crate::parts;
use crate::round::{Place, another_end, lasting, leftover};
use crate::tree::{self, Snapshot};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One operation fails.
    Error(Errno),
    /// From this one on all fail, as on a disk that has gone.
    Gone(Errno),
    /// Nothing more happens: the process is dead.
    Crash,
}

pub const KINDS: &[Kind] = &[
    Kind::Error(Errno::IO),
    Kind::Error(Errno::ACCESS),
    Kind::Error(Errno::NOSPC),
    Kind::Gone(Errno::IO),
    Kind::Crash,
];

struct At {
    kind: Kind,
    number: usize,
    seen: AtomicUsize,
    happened: AtomicBool,
    is_written: AtomicBool,
    /// A content got its name before it was on the disk: a power cut would leave an empty file.
    is_hollow: AtomicBool,
}

impl At {
    fn new(kind: Kind, number: usize) -> At {
        let (is_written, is_hollow) = (AtomicBool::new(false), AtomicBool::new(false));
        At {
            kind,
            number,
            seen: AtomicUsize::new(0),
            happened: AtomicBool::new(false),
            is_written,
            is_hollow,
        }
    }

    /// These runs go step by step: a candidate is made, written, synced, renamed.
    fn watch(&self, operation: &'static str) {
        match operation {
            "write" => self.is_written.store(true, Ordering::Relaxed),
            "create" | "sync" | "unlink" => self.is_written.store(false, Ordering::Relaxed),
            "rename" if self.is_written.load(Ordering::Relaxed) => {
                self.is_hollow.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Faults for At {
    fn before(&self, operation: &'static str) -> Result<(), Errno> {
        self.watch(operation);
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        if number < self.number {
            return Ok(());
        }
        if number == self.number {
            self.happened.store(true, Ordering::Relaxed);
        }
        match self.kind {
            Kind::Error(errno) if number == self.number => Err(errno),
            Kind::Error(_) => Ok(()),
            Kind::Gone(errno) => Err(errno),
            // Every operation after it ends here too: nothing runs any more.
            Kind::Crash => std::panic::resume_unwind(Box::new(format!("crash before {operation}"))),
        }
    }
}

/// All faults of this kind, one run each. How many there were.
pub fn all(place: &Place, case: &Case, end: &Snapshot, kind: Kind) -> Result<usize, String> {
    let spec = place.load(case)?;
    let mut number = 0;
    while one(place, case, &spec, end, kind, number)
        .map_err(|wrong| format!("with {kind:?} at operation {number}: {wrong}"))?
    {
        number += 1;
    }
    Ok(number)
}

fn one(
    place: &Place,
    case: &Case,
    spec: &Spec,
    end: &Snapshot,
    kind: Kind,
    number: usize,
) -> Result<bool, String> {
    let root: &Path = &place.root;
    tree::build(root, &case.tree);
    let before = tree::look(root);
    let at = Arc::new(At::new(kind, number));
    let faults: Arc<dyn Faults> = Arc::clone(&at) as Arc<dyn Faults>;
    engine::run(spec, root, Purpose::Apply, Way::InTurn(1), Some(faults));
    if at.is_hollow.load(Ordering::Relaxed) {
        return Err("a file was put in its place before its content was on the disk".to_owned());
    }
    if !at.happened.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let cut = tree::look(root);
    if let Some(touched) = oracle::touched(spec, &before, &cut) {
        return Err(format!("what is not declared was touched: {touched}"));
    }
    if let Some(broken) = broken(spec, &lasting(before), &lasting(cut.clone()), end) {
        return Err(broken);
    }
    // Only what dies has no time to clear away.
    if matches!(kind, Kind::Error(_))
        && let Some(left) = leftover(&cut)
    {
        return Err(left);
    }
    let told = engine::run(spec, root, Purpose::Apply, Way::InTurn(2), None);
    match another_end(&told, end, root).or_else(|| leftover(&tree::look(root))) {
        Some(wrong) => Err(format!("the next run does not mend it: {wrong}")),
        None => Ok(true),
    }
}

/// A file that is neither the old nor the new one, or that is missing though there is an old and
/// a new one.
fn broken(spec: &Spec, before: &Snapshot, cut: &Snapshot, end: &Snapshot) -> Option<String> {
    for (path, there) in cut.iter().filter(|(_, there)| there.kind == 'f') {
        // Of what a command was run for there may be other words each time.
        let is_record = path.starts_with("/var/lib/converge/");
        if is_record && serde_json::from_slice::<serde_json::Value>(&there.content).is_err() {
            return Some(format!("{path} is half of a record: {there:?}"));
        }
        if is_record || path.ends_with(".converge") {
            continue;
        }
        let known = [before.get(path), end.get(path)];
        let known: Vec<_> = known.into_iter().flatten().filter(|known| known.kind == 'f').collect();
        // Of several parts in one file some may be new.
        let states: Vec<&[u8]> = known.iter().map(|known| known.content.as_slice()).collect();
        let is_edited = oracle::is_edited(spec, cut, path);
        let is_known = states.contains(&there.content.as_slice());
        if !is_known && !(is_edited && parts::is_between(&there.content, &states)) {
            return Some(format!("{path} is neither old nor new: {there:?}"));
        }
        // Its content is new or old, and so are its owner and mode (chown comes before chmod).
        let access = |it: &crate::tree::Entry| (it.mode, it.uid, it.gid);
        let is_whole = |known: &&crate::tree::Entry| match is_edited {
            true => access(known) == access(there),
            false => known.lasting() == there.lasting(),
        };
        if there.inode != before.get(path).map_or(0, |was| was.inode) && !known.iter().any(is_whole) {
            return Some(format!("{path} is new, without its owner and mode: {there:?}"));
        }
    }
    let is_leaf = |snapshot: &Snapshot, path: &String| snapshot.get(path).is_some_and(|it| it.kind != 'd');
    let lost =
        before.keys().find(|path| is_leaf(before, path) && is_leaf(end, path) && !cut.contains_key(*path));
    lost.map(|path| format!("{path} is lost"))
}
