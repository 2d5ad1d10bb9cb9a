//! The agents this controller has to give: one a system, read once and shared by all hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::failure::{Failure, io_words};

/// A file `converge-agent-MACHINE`, for Linux on that machine (`uname -m`).
#[derive(Clone, Debug)]
pub struct Agent {
    /// `Linux-x86_64`: as `uname -sm` says it, joined.
    pub system: String,
    pub path: PathBuf,
    pub bytes: Arc<[u8]>,
    pub sha256: String,
}

/// All the agents there are, and where they were looked for.
#[derive(Clone, Debug)]
pub struct Agents {
    found: Vec<Agent>,
    places: Vec<PathBuf>,
}

impl Agents {
    /// `$CONVERGE_AGENTS`, then beside the running program, then `../lib/converge` from there.
    pub fn find() -> Result<Agents, Failure> {
        let mut places: Vec<PathBuf> = std::env::var_os("CONVERGE_AGENTS")
            .filter(|place| !place.is_empty())
            .map(PathBuf::from)
            .into_iter()
            .collect();
        let program = std::env::current_exe().ok();
        if let Some(directory) = program.as_deref().and_then(Path::parent) {
            places.push(directory.to_owned());
            places.push(directory.parent().unwrap_or(directory).join("lib/converge"));
        }
        Agents::in_places(places)
    }

    pub fn in_places(places: Vec<PathBuf>) -> Result<Agents, Failure> {
        let mut found: Vec<Agent> = Vec::new();
        for place in &places {
            let Ok(directory) = std::fs::read_dir(place) else { continue };
            for entry in directory.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some(machine) = name.strip_prefix("converge-agent-").filter(|name| is_machine(name))
                else {
                    continue;
                };
                let system = format!("Linux-{machine}");
                if found.iter().any(|agent| agent.system == system) {
                    continue;
                }
                let path = entry.path();
                let bytes = std::fs::read(&path).map_err(|error| {
                    Failure::new(format!("the agent {} cannot be read: {}", path.display(), io_words(&error)))
                })?;
                let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                found.push(Agent { system, path, bytes: bytes.into(), sha256 });
            }
        }
        Ok(Agents { found, places })
    }

    /// The agent for what `uname` says of a host: `Linux`, `x86_64`.
    pub fn agent_for(&self, os: &str, machine: &str) -> Result<&Agent, Failure> {
        self.for_system(&format!("{os}-{machine}"))
    }

    pub(super) fn for_system(&self, system: &str) -> Result<&Agent, Failure> {
        self.found.iter().find(|agent| agent.system == system).ok_or_else(|| {
            let have: Vec<&str> = self.found.iter().map(|agent| agent.system.as_str()).collect();
            let have = if have.is_empty() { "none at all".to_owned() } else { have.join(", ") };
            let machine = system.split_once('-').map_or(system, |(_, machine)| machine);
            let help = if system.starts_with("Linux-") {
                format!(
                    "build it (CONTRIBUTING.md, `make agent`) and put it there as converge-agent-{machine}"
                )
            } else {
                "converge manages Linux hosts only".to_owned()
            };
            Failure::new(format!("there is no agent for {system}: there is {have}"))
                .help(help)
                .detail("looked in", self.looked_in())
        })
    }

    /// Fails where there is none at all: before any host is spoken to.
    pub(super) fn any(&self) -> Result<(), Failure> {
        if self.found.is_empty() {
            return Err(Failure::new("converge's agent was not found on this machine")
                .help("install converge-agent-x86_64 beside the converge program, or name its directory in CONVERGE_AGENTS")
                .detail("looked in", self.looked_in()));
        }
        Ok(())
    }

    /// `Linux-x86_64:SHA256:BYTES ...`, for the bootstrap.
    pub(super) fn list(&self) -> String {
        let line = |agent: &Agent| format!("{}:{}:{}", agent.system, agent.sha256, agent.bytes.len());
        self.found.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    fn looked_in(&self) -> String {
        self.places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join("\n")
    }
}

fn is_machine(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_agent_is_told_with_what_there_is_and_where_it_was_looked_for() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("converge-agent-x86_64"), "elf").unwrap();
        std::fs::write(place.path().join("converge-agent-x86_64.d"), "not one").unwrap();
        let agents = Agents::in_places(vec!["/nonexistent".into(), place.path().into()]).unwrap();
        assert_eq!(agents.list().split(' ').count(), 1);
        assert_eq!(&*agents.agent_for("Linux", "x86_64").unwrap().bytes, b"elf");
        let failure = agents.agent_for("Linux", "riscv64").unwrap_err();
        assert_eq!(failure.reason, "there is no agent for Linux-riscv64: there is Linux-x86_64");
        assert!(failure.details[0].text.starts_with("/nonexistent\n"));
        assert!(Agents::in_places(vec!["/nonexistent".into()]).unwrap().any().is_err());
    }
}
