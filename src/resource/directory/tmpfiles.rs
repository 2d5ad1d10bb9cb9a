//! `tmpfiles`: the directory declared to systemd-tmpfiles(8), in the format of tmpfiles.d(5).

use super::Directory;
use crate::attribute::{AbsPath, Mode};
use crate::resource::{Change, Failure, io_words};
use crate::system::System;
use crate::system::files::{Access, Seen};

pub const ATTRIBUTE: &str = "tmpfiles";

const CONFIGURATION: &str = "/etc/tmpfiles.d";

/// Under what a reboot clears: file-hierarchy(7), and the old names that link there.
pub fn is_volatile(path: &AbsPath) -> bool {
    const CLEARED: &[&str] = &["/run/", "/var/run/", "/var/lock/", "/tmp/", "/dev/"];
    CLEARED.iter().any(|above| path.as_str().starts_with(above))
}

/// One file a directory, so that each comes and goes by itself.
fn file(directory: &Directory) -> Result<AbsPath, Failure> {
    let name = directory.path.as_str().trim_start_matches('/').replace('-', "\\x2d").replace('/', "-");
    format!("{CONFIGURATION}/converge-{name}.conf").parse().map_err(Failure::new)
}

/// `d PATH MODE USER GROUP AGE`. /var/run is written as /run: systemd warns of the old name.
fn line(directory: &Directory) -> String {
    let path = directory.path.as_str();
    let path = match path.strip_prefix("/var/run/") {
        Some(rest) => format!("/run/{rest}"),
        None => path.to_owned(),
    };
    let escaped = path.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"");
    let path = if escaped.contains(char::is_whitespace) { format!("\"{escaped}\"") } else { escaped };
    let ownership = directory.ownership();
    let mode = ownership.mode.unwrap_or(Mode::from_bits(0o755));
    let (owner, group) = (ownership.owner.unwrap_or("root"), ownership.group.unwrap_or("root"));
    format!("# Kept by converge.\nd {path} {mode} {owner} {group} -\n")
}

fn declared_line(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("; ")
}

pub fn drift(system: &System, directory: &Directory) -> Result<Option<Change>, Failure> {
    let (path, wanted) = (file(directory)?, line(directory));
    let there = system.read_if_there(&path)?;
    if there.as_deref() == Some(wanted.as_bytes()) {
        return Ok(None);
    }
    let from = there.map(|bytes| declared_line(&String::from_utf8_lossy(&bytes)));
    Ok(Some(Change::new(ATTRIBUTE, from, Some(declared_line(&wanted)))))
}

pub fn declare(system: &System, directory: &Directory) -> Result<(), Failure> {
    let configuration: AbsPath = CONFIGURATION.parse().map_err(Failure::new)?;
    if !matches!(system.see(&configuration)?, Seen::There(_)) {
        return Err(Failure::new(format!(
            "{CONFIGURATION} does not exist: this host has no systemd-tmpfiles"
        ))
        .help("leave `tmpfiles` out here"));
    }
    let (path, text) = (file(directory)?, line(directory));
    let access = Access { mode: Some(Mode::from_bits(0o644)), ..Access::default() };
    system.put_file(&path, text.as_bytes(), access, |_| Ok(()))?;
    if system.is_whole_machine() {
        // A line that systemd cannot read would be found out at the next boot only.
        match std::fs::metadata("/usr/bin/systemd-tmpfiles") {
            Ok(_) => {
                let output = system.tool(["systemd-tmpfiles", "--create", path.as_str()])?;
                if !output.succeeded() {
                    return Err(output.failure(format!("`systemd-tmpfiles --create {path}`")));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(io_words(&error))),
        }
    }
    Ok(())
}

/// A directory that is declared absent must not come back at the next boot.
pub fn leftover(system: &System, directory: &Directory) -> Result<Option<Change>, Failure> {
    let there = system.read_if_there(&file(directory)?)?;
    Ok(there.map(|bytes| Change::new(ATTRIBUTE, Some(declared_line(&String::from_utf8_lossy(&bytes))), None)))
}

pub fn remove(system: &System, directory: &Directory) -> Result<(), Failure> {
    system.remove_file(&file(directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_tmpfiles_d_wants() {
        let directory = |json: serde_json::Value| serde_json::from_value::<Directory>(json).unwrap();
        let plain = directory(serde_json::json!({"directory": "/var/run/supervisor", "mode": "750"}));
        assert_eq!(declared_line(&line(&plain)), "d /run/supervisor 0750 root root -");
        assert_eq!(file(&plain).unwrap().as_str(), "/etc/tmpfiles.d/converge-var-run-supervisor.conf");
        let odd = directory(serde_json::json!({"directory": "/run/a b-50%", "owner": "www-data"}));
        assert_eq!(declared_line(&line(&odd)), "d \"/run/a b-50%%\" 0755 www-data root -");
    }
}
