//! Saved plans: what `plan --out` keeps and `apply PLANFILE` holds itself to. A plan says of each
//! resource what was seen and what would be changed; what has moved since is refused by name.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::{ResourceReport, Status};
use crate::failure::{Failure, io_words};
use crate::redact;
use crate::resource::{Change, Needed};

/// These tell what they are owed for, which nobody could see when they were foreseen.
const OWED: &[&str] = &["restart", "reload"];

/// The first bytes of every saved plan: what tells it from a spec.
const MARK: &str = "{\"converge_plan\":1,";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    converge_plan: u32,
    /// As it was given, and where from: relative paths mean the same when it is applied.
    pub spec: PathBuf,
    pub directory: PathBuf,
    pub vars: Vec<(String, String)>,
    /// When it was made: RFC 3339.
    pub made: String,
    /// By `host/type:name`. What is not in it was not selected.
    resources: BTreeMap<String, Planned>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Planned {
    status: PlannedStatus,
    /// Without the texts of contents: they may be long, and are known by their hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
    /// It stood on something that was to be changed first, so that what it would see then could
    /// not be seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_predicted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlannedStatus {
    Ok,
    Changed,
    /// Skipped, unknown, failed: nothing was planned for it.
    None,
}

impl SavedPlan {
    pub fn new(spec: &Path, vars: &[(String, String)]) -> std::io::Result<SavedPlan> {
        Ok(SavedPlan {
            converge_plan: 1,
            spec: spec.to_owned(),
            directory: std::env::current_dir()?,
            vars: vars.to_vec(),
            made: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            resources: BTreeMap::new(),
        })
    }

    pub fn add(&mut self, report: &ResourceReport) {
        // Of two variants of a resource, the one that is there counts.
        if report.status == Status::Skipped && self.resources.contains_key(&report.id) {
            return;
        }
        let status = match report.status {
            Status::Ok => PlannedStatus::Ok,
            Status::Changed => PlannedStatus::Changed,
            Status::Failed | Status::Skipped | Status::Unknown => PlannedStatus::None,
        };
        let changes = match status {
            PlannedStatus::Changed => report.changes.iter().map(without_texts).collect(),
            _ => Vec::new(),
        };
        let is_predicted = report.is_predicted;
        let planned = Planned { status, changes, is_predicted, reason: report.reason.clone() };
        self.resources.insert(report.id.clone(), planned);
    }

    /// Whole, by rename, and for nobody else to read.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.persist(path).map(drop).map_err(|error| error.error)
    }

    /// The plan in this file; None where it is something else (a spec).
    pub fn read(path: &Path) -> Option<Result<SavedPlan, String>> {
        let text = std::fs::read_to_string(path).ok()?;
        text.starts_with(MARK).then(|| {
            serde_json::from_str(&text)
                .map_err(|error| format!("{} is a damaged plan: {error}", path.display()))
        })
    }

    pub fn spec_path(&self) -> PathBuf {
        if self.spec.is_absolute() { self.spec.clone() } else { self.directory.join(&self.spec) }
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.resources.keys().map(String::as_str)
    }

    pub fn covers(&self, id: &str) -> bool {
        self.resources.contains_key(id)
    }

    /// Whether these changes are the planned ones; else why not.
    pub fn allows(&self, id: &str, needed: &Needed) -> Result<(), Failure> {
        let again = "make a new plan, look at it, and apply that";
        let now = crate::resource::told(&needed.changes);
        let Some(planned) = self.resources.get(id) else {
            return Err(Failure::new("it is not in the plan").help(again));
        };
        match planned.status {
            PlannedStatus::Changed => {}
            PlannedStatus::Ok => {
                let reason =
                    format!("it has moved since the plan was made: it held then, and now needs: {now}");
                return Err(Failure::new(reason).help(again));
            }
            PlannedStatus::None => {
                let why = planned.reason.as_deref().unwrap_or("nothing was planned for it");
                return Err(Failure::new(format!("the plan has no changes for it: {why}")).help(again));
            }
        }
        let is_same = if planned.is_predicted {
            // What it was seen to be may differ now; what it is to become may not.
            needed.changes.iter().map(as_saved).all(|change| {
                let mut there = planned.changes.iter().filter(|there| there.attribute == change.attribute);
                // That a command runs is planned: for which of its paths nobody could see either.
                change.attribute == "on_change_of"
                    || there.any(|there| there.to == change.to || OWED.contains(&&*change.attribute))
            })
        } else {
            needed.changes.iter().map(as_saved).eq(planned.changes.iter().cloned())
        };
        if is_same {
            return Ok(());
        }
        let then = crate::resource::told(&planned.changes);
        Err(Failure::new(format!(
            "it has moved since the plan was made: planned was {then}; now it needs {now}"
        ))
        .help(again))
    }
}

/// What is in the plan holds no secret.
fn as_saved(change: &Change) -> Change {
    let mut change = without_texts(change);
    redact::change(&mut change);
    change
}

fn without_texts(change: &Change) -> Change {
    Change { old_text: None, new_text: None, ..change.clone() }
}

pub fn cannot_save(path: &Path, error: &std::io::Error) -> String {
    format!("the plan cannot be saved to {}: {}", path.display(), io_words(error))
}
