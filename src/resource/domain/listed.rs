//! The rows of `xl list`, and which situation a domain is in. Xen has no word for most of them:
//! they are told apart by flags, memory, CPU time, and by the `xl` processes that are alive.
//! What is written here was seen on Xen 4.17; tests/data/xl holds the recordings.

use std::fmt;

/// A row of `xl list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub id: u32,
    pub memory: u64,
    pub vcpus: u32,
    /// Six columns: running, blocked, paused, shut down, the reason of that, dying.
    pub flags: String,
    /// CPU seconds used; of a domain that never ran, none.
    pub seconds: f64,
}

/// `xl` processes that are at work on the domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtWork {
    /// An `xl create`, in the foreground of whoever called it.
    pub creates: bool,
    /// The `xl create` that stays behind watches the domain: when it goes, that clears it away or
    /// creates it anew, as its configuration says.
    pub watches: bool,
    /// It is creating it anew (a reboot).
    pub rebuilds: bool,
    pub destroys: bool,
}

/// What converge tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Situation {
    Absent,
    /// On its way to running: created, or created anew by a reboot.
    Building,
    Running,
    Paused,
    /// Shut down, and kept by `on_poweroff = "preserve"`.
    ShutDown,
    /// Crashed, and kept by `on_crash = "preserve"`.
    Crashed,
    /// Going: shutting down, rebooting, being destroyed.
    Dying,
    /// What a killed `xl create` left: nothing will ever run in it.
    HalfBuilt,
}

impl Row {
    pub fn read(line: &str) -> Option<Row> {
        // The name is what is before the last five columns.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name @ .., id, memory, vcpus, flags, seconds] = &words[..] else { return None };
        if name.is_empty() || flags.len() != 6 {
            return None;
        }
        Some(Row {
            name: name.join(" "),
            id: id.parse().ok()?,
            memory: memory.parse().ok()?,
            vcpus: vcpus.parse().ok()?,
            flags: (*flags).to_owned(),
            seconds: seconds.parse().ok()?,
        })
    }

    /// Shut down, and shown as what is being cleared away or created anew.
    pub fn may_be_going(&self) -> bool {
        self.has('s') && (self.has('p') || self.flags.ends_with("r-"))
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

pub fn find(list: &str, name: &str) -> Option<Row> {
    list.lines().filter_map(Row::read).find(|row| row.name == name)
}

impl Situation {
    pub fn of(row: Option<&Row>, work: AtWork) -> Situation {
        let Some(row) = row else {
            // Its row has no name yet (`(null)`), or is gone between two lives.
            return if work.creates || work.rebuilds { Situation::Building } else { Situation::Absent };
        };
        let shut_down = row.flags.chars().nth(3) == Some('s');
        let reason = row.flags.chars().nth(4).unwrap_or('-');
        let is_paused = row.has('p');
        if row.has('d') || is_paused && work.destroys {
            return Situation::Dying;
        }
        if shut_down {
            // The `xl` that watches it is about to clear it away or to create it anew, and does not
            // stay where it is to be preserved.
            let is_attended = work.watches || work.creates || work.rebuilds || work.destroys;
            return match reason {
                // A suspension, for saving.
                's' => Situation::Dying,
                _ if is_attended => Situation::Dying,
                'c' | 'w' => Situation::Crashed,
                _ => Situation::ShutDown,
            };
        }
        let is_whole = row.memory > 0 && row.vcpus > 0;
        if !is_paused && is_whole {
            // `------` too: it has work, and no CPU at this moment.
            return Situation::Running;
        }
        let never_ran = row.seconds == 0.0;
        if never_ran && (work.creates || work.rebuilds) {
            return Situation::Building;
        }
        // Also where somebody has unpaused it: there is nothing in it that could run.
        if is_whole { Situation::Paused } else { Situation::HalfBuilt }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Situation::Absent => "absent",
            Situation::Building => "being built",
            Situation::Running => "running",
            Situation::Paused => "paused",
            Situation::ShutDown => "shut down (preserved)",
            Situation::Crashed => "crashed (preserved)",
            Situation::Dying => "on its way down",
            Situation::HalfBuilt => "half built (what a killed `xl create` left)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: AtWork = AtWork { creates: false, watches: false, rebuilds: false, destroys: false };

    fn situation(line: &str, work: AtWork) -> Situation {
        Situation::of(Some(&Row::read(line).unwrap()), work)
    }

    #[test]
    fn the_recorded_lists_are_read() {
        for (recorded, expected) in [
            (include_str!("../../../tests/data/xl/01-list-only-dom0.txt"), Situation::Absent),
            (include_str!("../../../tests/data/xl/14-list-just-created.txt"), Situation::Running),
            (include_str!("../../../tests/data/xl/15-list-idle-1.txt"), Situation::Running),
            (include_str!("../../../tests/data/xl/30-list-paused.txt"), Situation::Paused),
            (include_str!("../../../tests/data/xl/33-list-paused-twice.txt"), Situation::Paused),
            (include_str!("../../../tests/data/xl/42-list-created-paused.txt"), Situation::Paused),
            (include_str!("../../../tests/data/xl/66-list-preserved-shutdown.txt"), Situation::ShutDown),
            (include_str!("../../../tests/data/xl/86-list-crashed.txt"), Situation::Crashed),
        ] {
            assert_eq!(Situation::of(find(recorded, "vps0").as_ref(), NOBODY), expected, "{recorded}");
        }
        let watched = AtWork { watches: true, ..NOBODY };
        for recorded in [
            include_str!("../../../tests/data/xl/62-list-after-shutdown-all.txt"),
            include_str!("../../../tests/data/xl/89-list-pvh-died-at-once.txt"),
        ] {
            assert_eq!(Situation::of(find(recorded, "vps0").as_ref(), watched), Situation::Dying);
        }
    }

    #[test]
    fn a_domain_being_built_is_no_paused_one() {
        let creating = AtWork { creates: true, ..NOBODY };
        for line in ["vps0 3 0 0 --p--- 0.0", "vps0 3 128 0 --p--- 0.0", "vps0 3 128 1 --p--- 0.0"] {
            assert_eq!(situation(line, creating), Situation::Building, "{line}");
        }
        // Before it has its name.
        assert_eq!(Situation::of(None, creating), Situation::Building);
        // Nobody builds it any more.
        assert_eq!(situation("vps0 3 0 0 --p--- 0.0", NOBODY), Situation::HalfBuilt);
        assert_eq!(situation("vps0 3 128 0 --p--- 0.0", NOBODY), Situation::HalfBuilt);
        assert_eq!(situation("vps0 3 128 1 --p--- 0.0", NOBODY), Situation::Paused);
        // Somebody unpaused what was not built yet, or never will be.
        assert_eq!(situation("vps0 3 0 0 ------ 0.0", creating), Situation::Building);
        assert_eq!(situation("vps0 3 0 0 ------ 0.0", NOBODY), Situation::HalfBuilt);
        assert_eq!(situation("vps0 3 128 1 r----- 0.7", creating), Situation::Running);
    }

    #[test]
    fn a_reboot_passes_from_row_to_row() {
        let rebuilding = AtWork { rebuilds: true, ..NOBODY };
        let watched = AtWork { watches: true, ..NOBODY };
        assert_eq!(situation("vps0 5 128 1 ---sr- 13.4", watched), Situation::Dying);
        assert_eq!(situation("vps0 5 128 1 --psr- 13.4", watched), Situation::Dying);
        assert_eq!(Situation::of(None, rebuilding), Situation::Building);
        assert_eq!(situation("vps0 6 0 0 --p--- 0.0", rebuilding), Situation::Building);
    }

    #[test]
    fn what_nobody_clears_away_is_preserved_and_not_on_its_way() {
        let watched = AtWork { watches: true, ..NOBODY };
        for (line, of_itself) in [
            ("vps0 5 128 1 --ps-- 13.4", Situation::ShutDown),
            ("vps0 5 128 1 --psc- 13.4", Situation::Crashed),
            ("vps0 5 128 1 ---sr- 13.4", Situation::ShutDown),
        ] {
            assert_eq!(situation(line, watched), Situation::Dying, "{line}");
            assert_eq!(situation(line, NOBODY), of_itself, "{line}");
        }
        assert_eq!(situation("vps0 5 128 1 ---s-- 13.4", watched), Situation::Dying);
        assert_eq!(situation("vps0 5 128 1 ---s-- 13.4", NOBODY), Situation::ShutDown);
    }

    #[test]
    fn a_domain_that_is_being_destroyed_is_no_paused_one() {
        let destroying = AtWork { destroys: true, ..NOBODY };
        assert_eq!(situation("vps0 6 128 1 --p--- 11.8", destroying), Situation::Dying);
        assert_eq!(situation("vps0 6 128 1 --p--- 11.8", NOBODY), Situation::Paused);
        assert_eq!(situation("vps0 6 128 1 -----d 11.8", NOBODY), Situation::Dying);
        assert_eq!(situation("vps0 6 128 1 ------ 11.8", NOBODY), Situation::Running);
    }
}
