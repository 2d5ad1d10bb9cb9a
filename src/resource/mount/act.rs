//! mount(8) and umount(8), and what they say in an operator's words.

use super::device;
use super::fstab::Entry;
use super::options::{Drift, Options};
use crate::resource::Failure;
use crate::system::System;
use crate::system::commands::{Invocation, Output};

/// So many of those that keep it busy are named.
const NAMED: usize = 5;

/// What mount(8) said, in the details of a failure.
const STDERR: &str = "stderr";

pub fn mount(system: &System, line: &Entry, point: &str) -> Result<(), Failure> {
    let output = system.run(&invocation(line, "", point))?;
    match output.succeeded() {
        true => Ok(()),
        false => Err(refused(system, &output, line, &format!("mounting {} on {point}", line.device))),
    }
}

/// Gives it its options while it stays mounted. What is to be taken back is said: leaving it out
/// means that to some versions of mount(8), and to others nothing.
pub fn remount(system: &System, line: &Entry, drift: &[Drift], point: &str) -> Result<(), Failure> {
    let words = drift.iter().filter_map(|one| match one.wanted.as_str() {
        word @ ("rw" | "suid" | "dev" | "exec" | "async" | "nolazytime") => Some(word),
        "atime" => Some("relatime"),
        _ => None,
    });
    let options = [line.options.as_str()].into_iter().chain(words).collect::<Vec<_>>().join(",");
    let line = Entry { options, ..line.clone() };
    let output = system.run(&invocation(&line, "remount,", point))?;
    match output.succeeded() {
        true => Ok(()),
        false => Err(refused(system, &output, &line, &format!("changing the options of {point}"))),
    }
}

/// With device and mount point mount(8) does not look into /etc/fstab.
fn invocation(line: &Entry, first: &str, point: &str) -> Invocation {
    let mut argv = vec!["mount".to_owned()];
    if !matches!(line.fstype.as_str(), "auto" | "none") {
        argv.extend(["-t".to_owned(), line.fstype.clone()]);
    }
    argv.extend(["-o".to_owned(), format!("{first}{}", line.options)]);
    argv.extend([line.device.clone(), point.to_owned()]);
    Invocation::new(argv)
}

fn refused(system: &System, output: &Output, line: &Entry, tried: &str) -> Failure {
    let said = output.stderr.trim();
    // Its last line only points to dmesg.
    let first = said.lines().next().unwrap_or_default().trim();
    let first = if first.is_empty() { output.ending() } else { first.trim_end_matches('.').to_owned() };
    let failure = Failure::new(format!("{tried}: {first}")).detail(STDERR, said);
    let (device, fstype) = (&line.device, &line.fstype);
    let has = |text: &str| said.contains(text);
    let options = "correct `options`: `man 8 mount` knows those of each file system, and the end of `dmesg` may name the wrong one";
    if has("unknown filesystem type") || !is_known(system, fstype) {
        failure.help(format!(
            "the kernel knows no `{fstype}`: correct `fstype`, or load its module: `modprobe {fstype}`"
        ))
    } else if has("must be superuser") || has("permission denied") || has("only root can") {
        failure.help("only root mounts: give the host `become: sudo`, or run converge as root")
    } else if has("wrong fs type") && (device.starts_with('/') || device::tag(device).is_some()) {
        failure.help(format!(
            "`blkid {device}` shows which file system is on it (none: it needs a `mkfs`), and the end of `dmesg` why the kernel refused"
        ))
    } else if has("special device") && !device.contains('/') && device != "none" {
        failure.help(format!("name the device by its path: `device: /dev/{device}`"))
    } else if has("already mounted") {
        failure.help("`findmnt` shows where; a device can be in use by RAID, LVM or swap too: `lsblk`")
    } else if has("bad option") || has("bad usage") || has("wrong fs type") {
        failure.help(options)
    } else {
        failure
    }
}

/// Whether the kernel or a helper can mount the type now.
fn is_known(system: &System, fstype: &str) -> bool {
    let known = std::fs::read_to_string(system.root().join("proc/filesystems")).unwrap_or_default();
    let is_listed = known.lines().filter_map(|line| line.split_whitespace().last()).any(|one| one == fstype);
    is_listed
        || fstype == "auto"
        || fstype == "none"
        || fstype.starts_with("fuse")
        || device::has_helper(system, fstype)
}

/// Takes the topmost mount off. Never lazily: what is in use stays whole.
pub fn unmount(system: &System, point: &str) -> Result<(), Failure> {
    let output = system.tool(["umount", "--", point])?;
    if output.succeeded() {
        return Ok(());
    }
    let failure = output.failure(format!("unmounting {point}"));
    if output.stderr.contains("must be superuser") {
        return Err(failure.help("only root unmounts: give the host `become: sudo`, or run converge as root"));
    }
    if !output.stderr.contains("busy") {
        return Err(failure);
    }
    let mounts = system.anew().mounts()?;
    let below: Vec<String> = mounts.below(point).iter().map(|mounted| mounted.point.clone()).collect();
    if !below.is_empty() {
        return Err(Failure::new(format!(
            "{point} is busy: something is mounted below it, on {}",
            below.join(", ")
        ))
        .help("declare that to be unmounted too: it goes first then"));
    }
    let holders = system.holders(point);
    let mut told: Vec<String> =
        holders.iter().take(NAMED).map(|holder| format!("{} {}", holder.who, holder.how)).collect();
    if holders.len() > NAMED {
        told.push(format!("and {} more", holders.len() - NAMED));
    }
    if told.is_empty() {
        return Err(failure.help(
            "no process of this machine has anything of it open: it may be exported by NFS, or held in a container",
        ));
    }
    Err(Failure::new(format!("{point} is busy: {}", told.join("; ")))
        .help("stop them, or declare what they belong to as stopped, to come first"))
}

/// Whether these options cannot be taken on without mounting it again: the kernel has said so.
pub fn needs_a_new_mount(failure: &Failure, line: &Entry) -> bool {
    let said =
        failure.details.iter().any(|detail| detail.title == "stderr" && !detail.text.contains("superuser"));
    said && !device::is_in_memory(&line.fstype) && !Options::of(&line.options).is_bind()
}
