//! The unit file of a process, and the file of its environment: written, and read back to say
//! attribute by attribute what another declaration would change.

use std::collections::BTreeMap;

use super::kept::{PATH, Places};
use super::{GRACE, LOOP_RESTARTS, Process, Restart, loop_within};
use crate::attribute::CommandLine;
use crate::resource::Failure;

const MARK: &str = "# Written by converge for process:";

/// What a unit file of ours says, in systemd's words.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Said {
    pub command: String,
    pub directory: String,
    pub user: String,
    pub restart: String,
    pub delay: String,
}

impl Process {
    /// The whole unit file.
    pub(super) fn unit_text(&self, places: &Places) -> Result<String, Failure> {
        let said = self.said();
        let mut text = format!(
            "{MARK}{}\n\
             [Unit]\n\
             Description={} (kept alive by converge)\n\
             After=network.target\n\
             StartLimitIntervalSec={}s\n\
             StartLimitBurst={}\n\
             \n\
             [Service]\n\
             Type=exec\n\
             ExecStart={}\n",
            self.name,
            percent(&self.name),
            loop_within(self.delay.get()).as_secs(),
            LOOP_RESTARTS + 1,
            said.command,
        );
        if !said.directory.is_empty() {
            text += &format!("WorkingDirectory={}\n", said.directory);
        }
        text += &format!("User={}\n", said.user);
        if !self.environment.is_empty() {
            text += &format!("EnvironmentFile={}\n", places.environment()?);
        }
        text += &format!(
            "Environment=PATH={PATH}\n\
             Restart={}\n\
             RestartSec={}\n\
             TimeoutStopSec={GRACE}\n",
            said.restart, said.delay,
        );
        if self.restart == Restart::OnFailure {
            // To systemd these are good ends. What is to be kept alive was killed.
            text += "RestartForceExitStatus=SIGHUP SIGINT SIGPIPE SIGTERM\n";
        }
        text += "\n[Install]\nWantedBy=multi-user.target\n";
        Ok(text)
    }

    /// What it will say.
    pub(super) fn said(&self) -> Said {
        Said {
            command: self
                .command_line()
                .argv()
                .iter()
                .map(|word| exec_word(word))
                .collect::<Vec<_>>()
                .join(" "),
            directory: self.directory.as_ref().map(|path| percent(path.as_str())).unwrap_or_default(),
            user: percent(self.user()),
            restart: self.restart.to_string(),
            // `m` is a minute there too, and `d` a day.
            delay: self.delay.to_string(),
        }
    }
}

/// Whose process a unit file is, where converge wrote it.
pub fn whose(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix(MARK)
}

/// What a unit file of ours says; of another, whatever it says.
pub fn read(text: &str) -> Said {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    Said {
        command: value("ExecStart"),
        directory: value("WorkingDirectory"),
        user: value("User"),
        restart: value("Restart"),
        delay: value("RestartSec"),
    }
}

/// As a person would write the command: what `exec_word` did to each word is undone.
pub fn command_told(exec: &str) -> String {
    let (mut argv, mut chars) = (Vec::new(), exec.chars());
    while chars.by_ref().any(|c| c == '"') {
        let mut word = String::new();
        while let Some(c) = chars.next().filter(|c| *c != '"') {
            let next = if matches!(c, '%' | '$' | '\\') { chars.next() } else { None };
            word.push(match (c, next) {
                ('\\', Some('n')) => '\n',
                ('\\', Some('t')) => '\t',
                ('\\', Some('r')) => '\r',
                ('\\', Some(escaped)) => escaped,
                (c, _) => c,
            });
        }
        argv.push(word);
    }
    match argv.as_slice() {
        // Written by hand, in another way.
        [] => exec.to_owned(),
        [sh, c, line] if sh == "/bin/sh" && c == "-c" => CommandLine::Shell(line.clone()).to_string(),
        _ => CommandLine::Argv(argv).to_string(),
    }
}

/// One word of ExecStart: systemd.service(5), "Command lines".
fn exec_word(word: &str) -> String {
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '%' => quoted.push_str("%%"),
            '$' => quoted.push_str("$$"),
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Specifiers mean something in every value.
fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

/// The lines of an EnvironmentFile: systemd.exec(5). Double quotes, in which a shell's four signs
/// are escaped, and lines may end.
pub fn environment_text(environment: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in environment {
        text += &format!("{name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text += "\"\n";
    }
    text
}

/// Reads them back: the names, each with its value as it stands there.
pub fn read_environment(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (mut value, mut end, mut escaped) = (String::new(), after.len(), false);
        for (at, c) in after.char_indices() {
            match c {
                c if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    end = at + 1;
                    break;
                }
                c => value.push(c),
            }
        }
        found.insert(name.trim_start().to_owned(), value);
        rest = &after[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::AnyResource;

    fn unit_text(attributes: serde_json::Value) -> String {
        let Some(Ok(AnyResource::Process(process))) = AnyResource::read("process", attributes) else {
            panic!("it is a process")
        };
        process.unit_text(&process.places()).unwrap()
    }

    #[test]
    fn the_unit_file_says_all_that_is_declared_and_no_value_of_the_environment() {
        let text = unit_text(serde_json::json!({
            "process": "50% door", "command": ["./bell", "--at", "100%"], "directory": "/srv/bell",
            "user": "bell", "environment": {"TOKEN": "secret"}, "restart": "on-failure", "delay": "1m30s"
        }));
        assert_eq!(whose(&text), Some("50% door"));
        for line in [
            "Description=50%% door (kept alive by converge)",
            "StartLimitIntervalSec=2940s",
            "StartLimitBurst=30",
            "ExecStart=\"/srv/bell/bell\" \"--at\" \"100%%\"",
            "WorkingDirectory=/srv/bell",
            "User=bell",
            "Restart=on-failure",
            "RestartForceExitStatus=SIGHUP SIGINT SIGPIPE SIGTERM",
            "RestartSec=1m30s",
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} in\n{text}");
        }
        assert!(text.contains("\nEnvironmentFile=/etc/converge/processes/50--door-"), "{text}");
        assert!(!text.contains("secret"));
        let plain = unit_text(serde_json::json!({"process": "bell", "command": "exec bell"}));
        assert!(
            !plain.contains("Directory") && !plain.contains("EnvironmentFile") && !plain.contains("Force")
        );
        assert!(plain.contains("\nUser=root\n"), "{plain}");
    }

    const WORDS: &[&str] = &[
        "plain",
        "two words",
        "100%",
        "$HOME",
        "${A}",
        "it's",
        "a \"b\"",
        "C:\\x",
        "a\nb\tc",
        "",
        "ü",
        "%%$$",
        "\" ",
        " \"",
        "\\",
    ];

    #[test]
    fn a_command_is_quoted_for_systemd_and_told_as_it_was_written() {
        for (word, quoted) in [
            ("a b", "\"a b\""),
            ("5%", "\"5%%\""),
            ("$A", "\"$$A\""),
            ("\\d", "\"\\\\d\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(exec_word(word), quoted);
        }
        let argv: Vec<String> = WORDS.iter().map(|word| (*word).to_owned()).collect();
        let exec: Vec<String> = argv.iter().map(|word| exec_word(word)).collect();
        assert_eq!(command_told(&exec.join(" ")), CommandLine::Argv(argv).to_string());
        assert_eq!(command_told(r#""/bin/sh" "-c" "echo $$HOME""#), "echo $HOME");
    }

    #[test]
    fn an_environment_is_written_for_systemd_and_read_back() {
        let environment: BTreeMap<String, String> =
            WORDS.iter().enumerate().map(|(i, word)| (format!("V{i}"), (*word).to_owned())).collect();
        let text = environment_text(&environment);
        assert_eq!(read_environment(&text), environment);
        assert!(text.contains("V6=\"a \\\"b\\\"\"\n"), "{text}");
        assert!(text.contains("V3=\"\\$HOME\"\n"), "{text}");
    }
}
