//! One resource, many starts, one end: what every type is held to. A row arranges a start on a real
//! host; from there the check names what is off and no more, one apply makes it so, and what is so
//! is not touched again. Where `CONVERGE_ROWS` names a file, each row that was so is noted there, and
//! tests/rows.rs counts them when all have run.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use converge::resource::{Action, AnyResource, Check, Needed};
use serde_json::Value;

use crate::agent::{Agent, Host, resource, told};

/// A type's resource and how it looks on the host.
pub struct Table<'a> {
    pub host: &'a Host,
    pub agent: Agent,
    /// The type's word.
    pub word: &'static str,
    /// As a spec's item has it.
    pub declared: Value,
    /// A shell line that removes every trace of earlier rows.
    pub clear: &'a str,
    /// A shell line that prints all that the resource is about, with times and inodes: what it
    /// prints must be the same after a second run.
    pub look: &'a str,
}

impl Table<'_> {
    /// From the start that `arrange` makes, exactly these attributes are off (none: it holds).
    #[track_caller]
    pub fn row(&mut self, start: &str, arrange: &str, off: &[&str]) {
        self.row_from(start, &[arrange, ""], None, off);
    }

    /// The same, where an earlier run had made `earlier` so: between the two shell lines.
    #[track_caller]
    pub fn row_from(&mut self, start: &str, arrange: &[&str; 2], earlier: Option<&Value>, off: &[&str]) {
        self.arrange(arrange[0]);
        if let Some(earlier) = earlier {
            let end = self.agent.converge(&resource(self.word, earlier.clone())).1;
            assert_eq!(end, Ok(()), "{start}: the earlier run");
        }
        if !arrange[1].is_empty() {
            self.host.must(arrange[1]);
        }
        let declared = resource(self.word, self.declared.clone());
        let needed = match self.agent.check(&declared) {
            Ok(Check::Holds) => None,
            Ok(Check::Needs(needed)) => Some(needed),
            other => panic!("{start}: neither holds nor can be made so: {other:?}"),
        };
        let found: Vec<&str> = needed
            .iter()
            .flat_map(|needed| &needed.changes)
            .map(|change| change.attribute.as_str())
            .collect();
        let shown = needed.as_ref().map(told).unwrap_or_default();
        assert_eq!(found, off, "{start}: what the plan says\n{shown}");
        if let Some(needed) = &needed {
            assert!(needed.lacks.is_empty(), "{start}: it lacks {:?}", needed.lacks);
        }
        let before = self.host.must(self.look);
        let (applied, end) = self.agent.converge(&declared);
        assert_eq!(end, Ok(()), "{start}: one run makes it so; changes:\n{shown}");
        assert_eq!(applied, needed, "{start}: apply makes what the plan said");
        let after = self.host.must(self.look);
        if applied.is_none() {
            assert_eq!(after, before, "{start}: it held, and was touched");
        }
        self.holds_untouched(start, &declared);
        assert_eq!(self.host.must(self.look), after, "{start}: the second run touched it");
        self.note(start, if off.is_empty() { "held" } else { "changed" }, off);
    }

    /// From the start that `arrange` makes, it fails with words like these, and touches nothing.
    #[track_caller]
    pub fn refused(&mut self, start: &str, arrange: &str, words: &str) {
        self.arrange(arrange);
        let declared = resource(self.word, self.declared.clone());
        let before = self.host.must(self.look);
        let (applied, end) = self.agent.converge(&declared);
        let said = end.expect_err(start);
        assert!(said.contains(words), "{start}: it says {said:?}, and not {words:?} ({applied:?})");
        assert_eq!(self.host.must(self.look), before, "{start}: it failed, and touched something");
        self.note(start, "refused", &[]);
    }

    /// For what changes nothing: in the situation that `arrange` makes, it is waited for with words
    /// like these, and nothing is touched.
    #[track_caller]
    pub fn waits(&mut self, start: &str, arrange: &str, words: &str) {
        self.arrange(arrange);
        let declared = resource(self.word, self.declared.clone());
        let before = self.host.must(self.look);
        match self.agent.check(&declared) {
            Ok(Check::Waits(waiting)) if waiting.reason.contains(words) => {}
            other => panic!("{start}: it does not wait with the words {words:?}: {other:?}"),
        }
        let needed = Needed { action: Action::Change, changes: Vec::new(), lacks: Vec::new() };
        let failure = self.agent.apply(&declared, &needed).expect_err(start);
        assert!(failure.reason.contains(words), "{start}: nothing can make it so: {}", failure.reason);
        assert_eq!(self.host.must(self.look), before, "{start}: it waited, and touched something");
        self.note(start, "awaited", &[]);
    }

    /// One write a row, so that those of other threads and programs stay whole.
    fn note(&self, start: &str, what: &str, off: &[&str]) {
        let Some(file) = std::env::var_os("CONVERGE_ROWS") else { return };
        let line = format!("{}\t{start}\t{what}\t{}\n", self.word, off.join(" "));
        let mut file = OpenOptions::new().append(true).open(file).expect("CONVERGE_ROWS names a file");
        file.write_all(line.as_bytes()).expect("the row is noted");
    }

    /// What is cleared away and arranged anew where another test's useradd was at work: shadow's tools
    /// do not wait for each other.
    #[track_caller]
    fn arrange(&self, line: &str) {
        for attempt in 1.. {
            self.host.sh(self.clear);
            let (code, said) = self.host.sh(line);
            let is_locked = said.contains("cannot lock /etc/") && attempt < 30;
            assert!(code == 0 || is_locked, "{line}: {said}");
            if code == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    #[track_caller]
    fn holds_untouched(&mut self, start: &str, declared: &AnyResource) {
        let again = self.agent.converge(declared);
        assert_eq!(again, (None, Ok(())), "{start}: the second run");
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        self.host.sh(self.clear);
    }
}
