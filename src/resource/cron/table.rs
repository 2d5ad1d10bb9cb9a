//! Jobs in a crontab: each has a line before it that says whose it is, and all other lines, comments
//! and blanks are somebody else's and keep their bytes and their place.

use crate::attribute::{Schedule, sha256_hex};

/// Before a job; the label follows.
const MARK: &str = "# converge: ";

/// A job as it stands in a crontab.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// `NAME=value`: lines before it that hold for it.
    pub variables: Vec<String>,
    pub schedule: String,
    /// What follows the schedule: the command, and before it in /etc/cron.d the user.
    pub rest: String,
}

impl Job {
    fn sum(&self) -> (String, String) {
        let short = |text: &str| sha256_hex(text.as_bytes())[..4].to_owned();
        (short(&self.schedule), short(&[self.variables.join("\n"), self.rest.clone()].join("\n")))
    }

    fn lines(&self, label: &str) -> Vec<String> {
        let (schedule, rest) = self.sum();
        let mut lines = vec![format!("{MARK}{label} ({schedule}{rest})")];
        lines.extend(self.variables.iter().cloned());
        lines.push(format!("{} {}", self.schedule, self.rest));
        lines
    }
}

/// The label of a marker, and the sums of the job that it was written with.
fn marker(line: &str) -> Option<(&str, Option<(&str, &str)>)> {
    let text = line.strip_prefix(MARK)?.trim_end();
    let sums = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")).filter(|(_, sums)| {
        sums.len() == 8 && sums.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase())
    });
    Some(match sums {
        Some((label, sums)) => (label, Some(sums.split_at(4))),
        None => (text, None),
    })
}

/// Whether a label would be read as one with sums behind it.
pub fn is_ambiguous(label: &str) -> bool {
    marker(&format!("{MARK}{label}")).is_some_and(|(_, sums)| sums.is_some())
}

/// What there is of a label in a crontab, and the crontab as it is to be.
#[derive(PartialEq, Debug, Default)]
pub struct Edit {
    /// The job that is there.
    pub found: Option<Job>,
    /// There is a marker, whatever follows it.
    pub is_marked: bool,
    /// It is there more than once.
    pub has_twins: bool,
    pub text: Vec<u8>,
}

/// The crontab with the job, or without it. `variables` are names of lines that may belong to a job.
pub fn edit(old: &[u8], label: &str, wanted: Option<&Job>, variables: &[&str]) -> Edit {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let texts: Vec<Option<&str>> = lines.iter().map(|line| std::str::from_utf8(line).ok()).collect();
    let new = |edit: &mut Edit| {
        for line in wanted.iter().flat_map(|job| job.lines(label)) {
            edit.text.extend(line.as_bytes());
            edit.text.push(b'\n');
        }
    };
    let (mut edit, mut at) = (Edit::default(), 0);
    while at < lines.len() {
        let sums = match texts[at].and_then(marker) {
            Some((found, sums)) if found == label => sums,
            _ => {
                edit.text.extend(lines[at]);
                at += 1;
                continue;
            }
        };
        at += 1;
        edit.has_twins |= edit.is_marked;
        let is_first = !std::mem::replace(&mut edit.is_marked, true);
        let found = job_after(&texts[at..], variables).filter(|found| is_ours(found, sums, wanted));
        let Some(Found { job, remarks, length }) = found else {
            if is_first {
                new(&mut edit);
            }
            continue;
        };
        // One that is as it should be stays to the byte.
        let sum = job.sum();
        let is_right = wanted == Some(&job) && sums == Some((&sum.0, &sum.1));
        let end = at + remarks + length;
        if is_first && is_right && lines[end - 1].ends_with(b"\n") {
            edit.text.extend(lines[at - 1..end].concat());
        } else {
            edit.text.extend(lines[at..at + remarks].concat());
            if is_first {
                new(&mut edit);
            }
        }
        if is_first {
            edit.found = Some(job);
        }
        at = end;
    }
    if !edit.is_marked && wanted.is_some() {
        if !edit.text.is_empty() && !edit.text.ends_with(b"\n") {
            edit.text.push(b'\n');
        }
        new(&mut edit);
    }
    edit
}

/// A job that follows a marker.
struct Found {
    job: Job,
    /// So many lines before it are blank or comments, and somebody else's.
    remarks: usize,
    /// Of the job itself, with its variables.
    length: usize,
}

fn job_after(texts: &[Option<&str>], variables: &[&str]) -> Option<Found> {
    let is_variable =
        |line: &&str| line.split_once('=').is_some_and(|(name, _)| variables.contains(&name.trim()));
    let is_remark = |text: &&Option<&str>| {
        text.is_none_or(|text| {
            text.trim().is_empty() || text.trim_start().starts_with('#') && marker(text).is_none()
        })
    };
    let remarks = texts.iter().take_while(is_remark).count();
    let texts =
        || texts[remarks..].iter().map_while(|text| text.map(|text| text.strip_suffix('\n').unwrap_or(text)));
    let before: Vec<String> = texts().take_while(is_variable).map(str::to_owned).collect();
    let length = before.len() + 1;
    let (schedule, rest) = Schedule::cut(texts().nth(before.len())?)?;
    let job = Job { variables: before, schedule: schedule.to_string(), rest: rest.to_owned() };
    Some(Found { job, remarks, length })
}

/// Whether the job after a marker is the marker's. Somebody may have taken the job away and left the
/// marker: what follows then is a job of his own.
fn is_ours(found: &Found, sums: Option<(&str, &str)>, wanted: Option<&Job>) -> bool {
    let Found { job, remarks, .. } = found;
    let (schedule, rest) = job.sum();
    let is_command =
        sums.is_some_and(|(_, old)| old == rest) || wanted.is_some_and(|wanted| wanted.rest == job.rest);
    // With something in between, the same schedule says little.
    if *remarks > 0 {
        return is_command;
    }
    is_command
        || sums.is_none_or(|(old, _)| old == schedule)
        || wanted.is_some_and(|wanted| wanted.schedule == job.schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(schedule: &str, rest: &str) -> Job {
        Job { variables: Vec::new(), schedule: schedule.to_owned(), rest: rest.to_owned() }
    }

    fn put(old: &str, job: &Job) -> String {
        String::from_utf8(edit(old.as_bytes(), "backup", Some(job), &[]).text).unwrap()
    }

    fn taken(old: &str) -> String {
        String::from_utf8(edit(old.as_bytes(), "backup", None, &[]).text).unwrap()
    }

    #[test]
    fn a_job_is_added_behind_what_is_there_and_taken_away_again() {
        let ours = job("0 3 * * *", "/bin/backup");
        let alone = put("", &ours);
        let mut lines = alone.lines();
        assert!(lines.next().unwrap().starts_with("# converge: backup ("));
        assert_eq!((lines.next(), lines.next()), (Some("0 3 * * * /bin/backup"), None));
        assert!(alone.ends_with('\n'));
        for others in ["# mine\n\nMAILTO=me\n5 5 * * * mine\n", "@daily x\r\n# caf\u{e9}\n", "\n\n"] {
            assert_eq!(put(others, &ours), format!("{others}{alone}"));
            assert_eq!(taken(&put(others, &ours)), others);
            assert_eq!(put(&put(others, &ours), &ours), put(others, &ours));
            let between = format!("{alone}{others}");
            assert_eq!(taken(&between), others);
        }
        assert_eq!(put("@daily x", &ours), format!("@daily x\n{alone}"));
        assert_eq!(taken("nothing of ours"), "nothing of ours");
    }

    #[test]
    fn what_is_no_utf_8_keeps_its_bytes() {
        let old = b"# caf\xe9\n* * * * * \xff\n";
        let edited = edit(old, "backup", Some(&job("@daily", "x")), &[]);
        assert!(edited.text.starts_with(old));
    }

    #[test]
    fn an_edited_job_is_put_right_in_its_place() {
        let ours = job("0 3 * * *", "/bin/backup");
        let alone = put("", &ours);
        let around = |middle: &str| format!("# before\n{middle}# after\n@daily x\n");
        for edited in ["0 4 * * * /bin/backup", "0 3 * * * /bin/backup >/dev/null", "0 3 * * * /bin/backup\r"]
        {
            let there = around(&alone.replace("0 3 * * * /bin/backup", edited));
            assert_eq!(put(&there, &ours), around(&alone), "{edited}");
            assert_eq!(taken(&there), around(""), "{edited}");
        }
        let spaced = around(&alone.replace("0 3 *", "0\t3  *"));
        assert_eq!(put(&spaced, &ours), spaced);
        // The spec has changed in both.
        let other = job("@hourly", "/bin/other");
        assert_eq!(put(&around(&alone), &other), around(&put("", &other)));
        // A marker that has lost its sums.
        let (_, job_line) = alone.split_once('\n').unwrap();
        assert_eq!(put(&around(&format!("# converge: backup\n{job_line}")), &ours), around(&alone));
    }

    #[test]
    fn a_comment_that_was_put_between_stays_and_makes_no_second_job() {
        let ours = job("0 3 * * *", "/bin/backup");
        let alone = put("", &ours);
        let (mark, line) = alone.split_once('\n').unwrap();
        let between = format!("{mark}\n# by Jo\n\n{line}# after\n");
        assert_eq!(put(&between, &ours), between);
        assert_eq!(put(&between.replace("0 3", "0 4"), &ours), format!("# by Jo\n\n{alone}# after\n"));
        assert_eq!(taken(&between), "# by Jo\n\n# after\n");
        // The job of another label is not what was put between.
        let other = alone.replace("backup (", "other (");
        assert_eq!(taken(&format!("{mark}\n{other}")), other);
    }

    #[test]
    fn a_job_of_somebody_elses_after_a_marker_that_was_left_stays() {
        let ours = job("0 3 * * *", "/bin/backup");
        let alone = put("", &ours);
        let mark = alone.lines().next().unwrap();
        for next in ["5 5 * * * mine\n", "# mine\n0 3 * * * mine\n", "\n", "MAILTO=me\n0 3 * * * mine\n", ""]
        {
            let there = format!("{mark}\n{next}");
            assert_eq!(put(&there, &ours), format!("{alone}{next}"), "{next}");
            assert_eq!(taken(&there), next, "{next}");
        }
    }

    #[test]
    fn a_job_that_is_there_twice_is_there_once_afterwards() {
        let ours = job("0 3 * * *", "/bin/backup");
        let alone = put("", &ours);
        let edited = edit(format!("{alone}# x\n{alone}").as_bytes(), "backup", Some(&ours), &[]);
        assert!(edited.has_twins);
        assert_eq!(String::from_utf8(edited.text).unwrap(), format!("{alone}# x\n"));
    }

    #[test]
    fn other_labels_are_others() {
        let ours = job("0 3 * * *", "/bin/backup");
        let longer = put("", &ours).replace("backup (", "backup 2 (");
        assert_eq!(taken(&longer), longer);
        assert!(is_ambiguous("x (0123abcd)") && !is_ambiguous("x (0123)") && !is_ambiguous("x (0123ABCD)"));
    }

    #[test]
    fn variables_before_a_job_belong_to_it_where_they_may() {
        let ours = Job { variables: vec!["MAILTO=ops".into()], ..job("@daily", "root x") };
        let edited = edit(b"PATH=/bin\n", "backup", Some(&ours), &["MAILTO", "SHELL"]);
        let text = String::from_utf8(edited.text).unwrap();
        assert!(
            text.starts_with("PATH=/bin\n# converge: backup (")
                && text.ends_with("\nMAILTO=ops\n@daily root x\n")
        );
        let again = edit(text.as_bytes(), "backup", Some(&ours), &["MAILTO", "SHELL"]);
        assert_eq!((again.found.as_ref(), again.text.as_slice()), (Some(&ours), text.as_bytes()));
        let without = Job { variables: Vec::new(), ..ours };
        let edited = edit(text.as_bytes(), "backup", Some(&without), &["MAILTO", "SHELL"]);
        assert!(!String::from_utf8(edited.text).unwrap().contains("MAILTO"));
    }
}
