//! Where a secret may stand. What an attribute holds may become an argument of a process, which
//! every user of its machine can read, a path, or a name that is shown: a type says which of its
//! attributes do not, and everywhere else a secret is an error.

use super::desk::Desk;
use super::problem::Problem;
use super::read::Entry;
use crate::resource::secret_attributes;

/// Attributes that are, or hold, command lines.
const COMMANDS: &[&str] = &["command", "run", "unless", "only_if", "validate", "evidence"];

/// Reports every secret in an item of the type `word` that is where none may be; true where there
/// is none.
pub fn is_right(desk: &mut Desk, word: &str, entries: &[Entry]) -> bool {
    let allowed = secret_attributes(word);
    let before = desk.problems.len();
    for (number, (key, node)) in entries.iter().enumerate() {
        let Some(place) = node.secret().filter(|_| !allowed.contains(&key.value.as_str())) else { continue };
        let name = &key.value;
        let has_run = entries.iter().any(|(key, _)| key.value == "run");
        let is_command = COMMANDS.contains(&name.as_str()) && (number > 0 || !has_run);
        let (what, label) = if is_command {
            let what = format!("a secret in `{name}` would be on the argument list of a process");
            (what, "every user of the host could read it there")
        } else if number == 0 {
            (format!("the name of a `{word}` cannot hold a secret"), "names are shown, and kept")
        } else {
            (format!("`{name}` of a `{word}` cannot hold a secret"), "is shown, or passed on to programs")
        };
        let help = match (is_command, word) {
            (true, "command") => {
                "hand it over by `environment` or `stdin`: environment: {TOKEN: \"{{ secrets.token }}\"}, and $TOKEN in the command".to_owned()
            }
            (true, _) => "let the command read it from a file that only its user may read".to_owned(),
            _ if allowed.is_empty() => format!("nothing of a `{word}` can hold one"),
            _ => format!("it can stand in `{}`", allowed.join("`, `")),
        };
        desk.report(Problem::at(place, what).label(label).help(help));
    }
    desk.problems.len() == before
}
