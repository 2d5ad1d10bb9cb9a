//! Commands: a string, which `/bin/sh` runs, or a list, which is executed as it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(untagged)]
pub enum CommandLine {
    Shell(String),
    Argv(Vec<String>),
}

impl CommandLine {
    /// What is executed: program and arguments.
    pub fn argv(&self) -> Vec<String> {
        match self {
            CommandLine::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            CommandLine::Argv(argv) => argv.clone(),
        }
    }

    /// The same command with every `{}` replaced, quoted where a shell reads it.
    pub fn with(&self, path: &str) -> CommandLine {
        match self {
            CommandLine::Shell(line) => CommandLine::Shell(line.replace("{}", &quote(path))),
            CommandLine::Argv(argv) => {
                CommandLine::Argv(argv.iter().map(|word| word.replace("{}", path)).collect())
            }
        }
    }

    pub fn mentions_placeholder(&self) -> bool {
        match self {
            CommandLine::Shell(line) => line.contains("{}"),
            CommandLine::Argv(argv) => argv.iter().any(|word| word.contains("{}")),
        }
    }
}

/// Quotes a word so that a POSIX shell reads it as that word.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// As a person would type it.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandLine::Shell(line) => f.write_str(line.trim_end()),
            CommandLine::Argv(argv) => {
                f.write_str(&argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = CommandLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command: a string for the shell, or a list of program and arguments")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<CommandLine, E> {
                if line.trim().is_empty() {
                    return Err(E::custom("the command is empty: write what is to be run"));
                }
                no_nul([line])?;
                Ok(CommandLine::Shell(line.to_owned()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<CommandLine, A::Error> {
                let mut argv: Vec<String> = Vec::new();
                while let Some(word) = seq.next_element()? {
                    argv.push(word);
                }
                if argv.first().is_none_or(|program| program.is_empty()) {
                    return Err(serde::de::Error::custom(
                        "the command is empty: its first word is the program",
                    ));
                }
                no_nul(argv.iter().map(String::as_str))?;
                Ok(CommandLine::Argv(argv))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn no_nul<'a, E: serde::de::Error>(words: impl IntoIterator<Item = &'a str>) -> Result<(), E> {
    match words.into_iter().any(|word| word.contains('\0')) {
        true => Err(E::custom("the command holds a NUL byte, which no argument can")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_a_real_shell() {
        for word in ["", "plain", "two words", "it's", "$HOME `id` \"x\"", "new\nline", "*", "~"] {
            let line = format!("printf %s {}", quote(word));
            let seen = std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&seen.stdout), word);
        }
    }

    #[test]
    fn a_placeholder_is_quoted_for_the_shell_and_not_in_a_list() {
        let shell = CommandLine::Shell("nginx -t -c {}".into());
        assert_eq!(shell.with("/a b").to_string(), "nginx -t -c '/a b'");
        let argv = CommandLine::Argv(vec!["nginx".into(), "{}".into()]);
        assert_eq!(argv.with("/a b"), CommandLine::Argv(vec!["nginx".into(), "/a b".into()]));
    }
}
