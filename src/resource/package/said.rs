//! What package managers say when something goes wrong, in words that say the way out. What is the
//! same for all of them is here.

use super::manager::Work;
use crate::resource::Failure;
use crate::system::commands::Output;

/// How many of the last lines are shown.
const LAST: usize = 25;

/// All that was said.
pub fn text(output: &Output) -> String {
    format!("{}\n{}", output.stdout, output.stderr)
}

/// As it is told: `installing nginx 1.22.1-9`.
pub fn told(work: &Work) -> String {
    let one = |(name, version): &(String, Option<String>)| match version {
        Some(version) => format!("{name} {version}"),
        None => name.clone(),
    };
    match work.install.as_slice() {
        [] => format!("removing {}", work.remove.join(", ")),
        install => format!("installing {}", install.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

/// A failure with the last words of the tool below it.
pub fn failure(reason: String, tool: &str, output: &Output) -> Failure {
    let last = |text: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST)..].join("\n")
    };
    Failure::new(reason)
        .detail(format!("{tool}'s last words"), last(&output.stdout))
        .detail("stderr", last(&output.stderr))
}

/// The first line with one of these in it, without what tools put before it.
pub fn line<'a>(text: &'a str, needles: &[&str]) -> Option<&'a str> {
    let line = text.lines().find(|line| needles.iter().any(|needle| line.contains(needle)))?.trim();
    let prefixes = ["E: ", "W: ", "Err:", "error: ", "Error: ", "ERROR: "];
    Some(prefixes.iter().fold(line, |line, prefix| line.strip_prefix(prefix).unwrap_or(line)))
}

/// Reason and help for what any of them may meet.
pub fn common(text: &str, tried: &str) -> Option<(String, &'static str)> {
    let table: [(&[&str], &str, &str); 4] = [
        (
            &["No space left on device", "enough free space", "not enough free disk space", "Disk full"],
            "the disk is full",
            "`df -h /var /usr` on the host shows it; what was downloaded before can go (`apt-get clean` and its kin)",
        ),
        (
            &[
                "Could not resolve",
                "Temporary failure resolving",
                "Could not connect",
                "Unable to connect",
                "Connection failed",
                "Connection timed out",
                "Connection refused",
                "Network is unreachable",
                "No route to host",
                "Failed to connect",
                "failed to connect",
                "Couldn't connect",
                "Resolving timed out",
            ],
            "a source of packages cannot be reached",
            "does the host reach it: its network, its DNS, its proxy?",
        ),
        (
            &["Read-only file system"],
            "the file system cannot be written to",
            "it is mounted read-only: `findmnt` on the host shows which",
        ),
        (
            &["Permission denied", "are you root"],
            "it is not permitted",
            "only root installs packages: `become: sudo` on the host",
        ),
    ];
    table.iter().find_map(|(needles, what, help)| {
        let line = line(text, needles)?;
        Some((format!("{tried}: {what}: {line}"), *help))
    })
}
