//! Why apt or dpkg failed, from what they said.

use super::super::said::{common, line, text};
use crate::resource::Failure;
use crate::system::commands::Output;

/// `tried`: as in `installing nginx 1.22.1-9`.
pub fn failure(output: &Output, tried: &str) -> Failure {
    let said = text(output);
    let (reason, help) = told(&said, tried, &output.ending());
    let failure = super::super::said::failure(reason, "apt", output);
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn told(said: &str, tried: &str, ending: &str) -> (String, Option<String>) {
    let lines: Vec<&str> = said.lines().collect();
    if let Some((reason, help)) = script(&lines) {
        return (format!("{tried}: {reason}"), Some(help));
    }
    if let Some(line) = line(said, &["does not have a Release file", "no longer has a Release file"]) {
        let what = format!("{tried}: a source is not what a source looks like: {line}");
        return (what, Some("correct it in /etc/apt/sources.list.d, or remove it".to_owned()));
    }
    let is_gone = ["404  Not Found", "404 Not Found", "File not found - "];
    let fetched = lines.iter().find(|line| line.starts_with("E: Failed to fetch"));
    if let Some(line) = line(fetched.unwrap_or(&""), &is_gone).or_else(|| line(said, &is_gone)) {
        let what = format!("{tried}: the source no longer has it: {line}");
        let help = "the index is older than the source: `refresh: 1h` has it read anew first";
        return (what, Some(help.to_owned()));
    }
    if let Some((reason, help)) = common(said, tried) {
        return (reason, Some(help.to_owned()));
    }
    let unmet: Vec<&str> = lines
        .iter()
        .skip_while(|line| !line.contains("packages have unmet dependencies"))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim())
        .collect();
    if !unmet.is_empty() && said.contains("Unmet dependencies. Try") {
        let what =
            format!("{tried}: apt changes nothing while what is installed is at odds: {}", unmet.join("; "));
        let help = "`apt-get --fix-broken install` on the host says how it can be mended";
        return (what, Some(help.to_owned()));
    }
    if !unmet.is_empty() {
        let what = format!("{tried}: its dependencies cannot be met: {}", unmet.join("; "));
        let help = "is a source missing, is one of them on hold or pinned (`apt-mark showhold`, `apt-cache policy`)?";
        return (what, Some(help.to_owned()));
    }
    let table: [(&[&str], &str, &str); 6] = [
        (
            &["Packages need to be removed but remove is disabled"],
            "others would be removed for it, which the plan did not say",
            "the next plan shows them",
        ),
        (
            &["Held packages were changed"],
            "packages that are on hold would have to change for it",
            "`apt-mark showhold` names them, and `apt-mark unhold` lets them change",
        ),
        (
            &["Essential packages were removed"],
            "the system cannot do without it (it is essential)",
            "converge does not remove it",
        ),
        (
            &["unauthenticated", "is not signed", "NO_PUBKEY", "EXPKEYSIG", "couldn't be verified"],
            "a source is not signed by a key that the host knows",
            "its key belongs into /etc/apt/keyrings, and `signed-by` in its source names it",
        ),
        (
            &["trying to overwrite"],
            "a file of it belongs to another package",
            "declare the other one absent, if this is to replace it",
        ),
        (
            &["Could not get lock", "was locked by another process"],
            "another program kept its lock all the time",
            "give the resource a longer `timeout`, or see on the host whether it hangs",
        ),
    ];
    for (needles, what, help) in table {
        if let Some(line) = line(said, needles) {
            return (format!("{tried}: {what}: {line}"), Some(help.to_owned()));
        }
    }
    let first = lines.iter().find_map(|line| line.strip_prefix("E: "));
    (format!("{tried}: {}", first.unwrap_or(ending)), None)
}

/// A package's script that failed: which, how, and the last that it said.
fn script(lines: &[&str]) -> Option<(String, String)> {
    let at = lines.iter().position(|line| line.contains("script subprocess"))?;
    // `installed NAME package post-installation script subprocess returned error exit status 3`
    let words: Vec<&str> = lines[at].split_whitespace().collect();
    let package =
        words.iter().position(|word| *word == "package").and_then(|at| words.get(at.checked_sub(1)?));
    let package = package?;
    let kind = words.iter().position(|word| *word == "script").and_then(|at| words.get(at.checked_sub(1)?));
    let how = match words.iter().position(|word| *word == "status") {
        Some(status) => format!("exit status {}", words.get(status + 1).unwrap_or(&"")),
        None => words[words.len().saturating_sub(3)..].join(" "),
    };
    let own = |line: &&&str| {
        let noise =
            ["Setting up", "Preparing to unpack", "Unpacking", "Removing", "(Reading", "Processing triggers"];
        !line.trim().is_empty()
            && !noise.iter().any(|begin| line.starts_with(begin))
            && !line.starts_with("dpkg: ")
    };
    // dpkg's own words begin on the line before.
    let said = lines[..at].iter().rev().skip(1).take(1).find(own);
    let said = said.map(|line| format!(": {}", line.trim())).unwrap_or_default();
    let reason = format!("the {} script of {package} failed with {how}{said}", kind?);
    Some((reason, format!("`dpkg --configure {package}` on the host runs it again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_in_one_line() {
        let data = "tests/data/packages";
        for (file, words, help) in [
            (
                "script-failed",
                "the post-installation script of cvg-bad failed with exit status 3: broken by design",
                "dpkg --configure cvg-bad",
            ),
            (
                "unmet",
                "its dependencies cannot be met: cvg-missing : Depends: cvg-nowhere (>= 2)",
                "apt-mark showhold",
            ),
            ("held", "packages that are on hold would have to change for it: Held", "unhold"),
            ("removes", "others would be removed for it", "the next plan"),
            (
                "gone",
                "the source no longer has it: Failed to fetch file:/srv/cvg-repo/./cvg-lib_1.0",
                "refresh",
            ),
            ("unreachable", "cannot be reached: Could not connect to 127.0.0.1:8", "network"),
            ("unsigned", "not signed by a key that the host knows", "signed-by"),
            ("unauthenticated", "not signed by a key that the host knows", "signed-by"),
        ] {
            let said = std::fs::read_to_string(format!("{data}/apt-{file}.txt")).unwrap();
            let (reason, told_help) = told(&said, "installing x 1", "exit 100");
            assert!(reason.starts_with("installing x 1: ") && reason.contains(words), "{file}: {reason}");
            assert!(told_help.unwrap_or_default().contains(help), "{file}");
        }
    }
}
