//! What `supervisorctl` says: the lines of `status`, and why it could not ask.

/// A process of supervisord.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// `backend`, or `group:process`.
    pub name: String,
    /// RUNNING, FATAL, …
    pub state: String,
    /// The rest of the line: `pid 123, uptime 0:00:05`, `Exited too quickly …`.
    pub description: String,
}

/// The states of supervisord.org/subprocess.html, as far as converge tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// On its way up: STARTING, and BACKOFF, which supervisord tries again by itself.
    Starting,
    Stopping,
    /// STOPPED, EXITED, FATAL, UNKNOWN: nobody starts it any more.
    Down,
}

impl Process {
    pub fn phase(&self) -> Phase {
        match self.state.as_str() {
            "RUNNING" => Phase::Running,
            "STARTING" | "BACKOFF" => Phase::Starting,
            "STOPPING" => Phase::Stopping,
            _ => Phase::Down,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        let (_, rest) = self.description.split_once("pid ")?;
        rest.split(',').next()?.trim().parse().ok()
    }

    /// `FATAL (Exited too quickly)`.
    pub fn told(&self) -> String {
        let why = self.description.replace(" (process log may have details)", "");
        // Of a running one, pid and uptime; of a stopped one, since when.
        if matches!(self.state.as_str(), "FATAL" | "BACKOFF") && !why.is_empty() {
            format!("{} ({why})", self.state)
        } else {
            self.state.clone()
        }
    }

    /// Whether it is what `program: name` means: itself, or a process of its group.
    pub fn belongs_to(&self, name: &str) -> bool {
        let group = name.strip_suffix(":*").unwrap_or(name);
        self.name == name || self.name.split_once(':').is_some_and(|(own, _)| own == group)
    }
}

/// The processes of a `supervisorctl status`.
pub fn read(text: &str) -> Vec<Process> {
    let process = |line: &str| {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        let rest = rest.trim();
        let (state, description) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let known = ["STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN"];
        known.contains(&state).then(|| Process {
            name: name.to_owned(),
            state: state.to_owned(),
            description: description.trim().to_owned(),
        })
    };
    text.lines().filter_map(process).collect()
}

/// Why supervisord could not be asked.
#[derive(Debug, PartialEq)]
pub enum Unreachable {
    /// Its socket, or address, and what is wrong with it.
    NotRunning {
        socket: String,
        refused: bool,
    },
    NotAllowed,
    Other(String),
}

/// From the output of a `supervisorctl` that exited with `code`.
pub fn unreachable(code: Option<i32>, said: &str) -> Option<Unreachable> {
    let first = said.lines().next().unwrap_or_default().trim();
    for (words, refused) in [(" no such file", false), (" refused connection", true)] {
        if let Some(url) = first.strip_suffix(words) {
            let socket = url.strip_prefix("unix://").unwrap_or(url).to_owned();
            return Some(Unreachable::NotRunning { socket, refused });
        }
    }
    if said.contains("PermissionError") || said.contains("Permission denied") {
        return Some(Unreachable::NotAllowed);
    }
    // 3: some process is not running. 4 is also said of a name that it does not know.
    match code {
        Some(0 | 3) => None,
        _ if first.contains("ERROR (no such") => None,
        _ => Some(Unreachable::Other(first.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = include_str!("../../../tests/data/supervisor/status.txt");

    #[test]
    fn the_recorded_status_is_read() {
        let all = read(STATUS);
        let phases: Vec<_> = all.iter().map(|process| (process.name.as_str(), process.phase())).collect();
        assert_eq!(
            phases,
            [
                ("bad", Phase::Down),
                ("good", Phase::Running),
                ("grp:off", Phase::Down),
                ("many:many_00", Phase::Running),
                ("many:many_01", Phase::Running),
                ("nocmd", Phase::Starting),
                ("once", Phase::Down),
            ]
        );
        assert_eq!(all[1].pid(), Some(2543));
        assert_eq!(all[0].told(), "FATAL (Exited too quickly)");
        assert_eq!(all[5].told(), "BACKOFF (can't find command '/no/such')");
        assert_eq!(all[1].told(), "RUNNING");
    }

    #[test]
    fn a_name_means_a_process_or_a_group() {
        let all = read(STATUS);
        let of = |name: &str| all.iter().filter(|process| process.belongs_to(name)).count();
        assert_eq!((of("good"), of("many"), of("many:*"), of("many:many_01")), (1, 2, 2, 1));
        assert_eq!((of("off"), of("grp:off"), of("man"), of("bad:*")), (0, 1, 0, 0));
    }

    #[test]
    fn why_it_could_not_be_asked_is_told_apart() {
        let at = |code, said| unreachable(Some(code), said);
        let socket = "/var/run/supervisor/supervisor.sock".to_owned();
        assert_eq!(
            at(4, "unix:///var/run/supervisor/supervisor.sock no such file\n"),
            Some(Unreachable::NotRunning { socket: socket.clone(), refused: false })
        );
        assert_eq!(
            at(4, "unix:///var/run/supervisor/supervisor.sock refused connection\n"),
            Some(Unreachable::NotRunning { socket, refused: true })
        );
        assert_eq!(
            at(4, "http://localhost:9001 refused connection\n"),
            Some(Unreachable::NotRunning { socket: "http://localhost:9001".into(), refused: true })
        );
        assert_eq!(
            at(
                1,
                "error: <class 'PermissionError'>, [Errno 13] Permission denied: file: /usr/lib/x.py line: 557"
            ),
            Some(Unreachable::NotAllowed)
        );
        assert_eq!(
            at(2, "Error: could not find config file /nope\nFor help, use supervisorctl -h\n"),
            Some(Unreachable::Other("Error: could not find config file /nope".into()))
        );
        assert_eq!(at(3, STATUS), None);
        assert_eq!(at(4, "nix: ERROR (no such process)\n"), None);
        assert_eq!(at(0, ""), None);
    }
}
