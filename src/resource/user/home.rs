//! The home of a user: where it is by default, and how it is made: beside its place, whole, and
//! then given its name.

use std::sync::Arc;

use crate::attribute::{AbsPath, Mode};
use crate::resource::Failure;
use crate::system::System;
use crate::system::accounts::LocalUser;
use crate::system::files::{Access, Kind, Seen};

/// What /etc/default/useradd and /etc/login.defs say, with useradd's own defaults.
#[derive(Debug)]
pub struct Defaults {
    /// Where homes are.
    base: String,
    skeleton: AbsPath,
    /// Of a new home.
    mode: Mode,
    /// The uids of people, and of what is no part of the system.
    ordinary: (u32, u32),
    pub mail: String,
}

impl Defaults {
    pub fn read(system: &System) -> Result<Arc<Defaults>, Failure> {
        system.shared("useradd's defaults", || {
            let text = |places: &[&str]| {
                places.iter().find_map(|place| std::fs::read_to_string(system.root().join(place)).ok())
            };
            // openSUSE has what nobody has changed below /usr.
            let useradd = text(&["etc/default/useradd", "usr/etc/default/useradd"]).unwrap_or_default();
            let login = text(&["etc/login.defs", "usr/etc/login.defs"]).unwrap_or_default();
            Defaults::parse(&useradd, &login).map(Arc::new)
        })
    }

    fn parse(useradd: &str, login: &str) -> Result<Defaults, Failure> {
        // Of several the last counts.
        let assigned = |name: &str| {
            useradd.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let set = |name: &str| {
            login.lines().rev().find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some(name)).then(|| words.next()).flatten()
            })
        };
        let octal = |name: &str| set(name).and_then(|text| u32::from_str_radix(text, 8).ok());
        let number = |name: &str, default| set(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let skeleton = assigned("SKEL").filter(|path| !path.is_empty()).unwrap_or("/etc/skel");
        Ok(Defaults {
            base: assigned("HOME").filter(|path| !path.is_empty()).unwrap_or("/home").to_owned(),
            skeleton: skeleton
                .parse()
                .map_err(|why| Failure::new(format!("SKEL of /etc/default/useradd: {why}")))?,
            mode: Mode::from_bits(octal("HOME_MODE").unwrap_or(0o777 & !octal("UMASK").unwrap_or(0o022))),
            ordinary: (number("UID_MIN", 1000), number("UID_MAX", 60000)),
            mail: set("MAIL_DIR").unwrap_or("/var/mail").to_owned(),
        })
    }

    /// Of a new account.
    pub fn home_of(&self, name: &str) -> Result<AbsPath, Failure> {
        let told = |why: String| {
            Failure::new(format!("HOME of /etc/default/useradd: {why}")).help("declare a `home`")
        };
        format!("{}/{name}", self.base).parse().map_err(told)
    }

    /// Whether an account of this uid is none of the system's.
    pub fn is_ordinary(&self, uid: u32) -> bool {
        (self.ordinary.0..=self.ordinary.1).contains(&uid)
    }
}

pub enum Home {
    There,
    Absent,
    NoParent(AbsPath),
}

/// What lies where a home is to be.
pub fn look(system: &System, home: &AbsPath) -> Result<Home, Failure> {
    match system.see(home)? {
        Seen::Absent => Ok(Home::Absent),
        Seen::NoParent(missing) => Ok(Home::NoParent(missing)),
        Seen::There(there) => match there.kind {
            Kind::Directory => Ok(Home::There),
            // A link to a directory is a home as good as any.
            Kind::Symlink if std::fs::metadata(system.locate(home)).is_ok_and(|meta| meta.is_dir()) => {
                Ok(Home::There)
            }
            kind => Err(Failure::new(format!("{home} is {kind}, and its home is to be there"))
                .help("move it away, or leave the home out with `create_home: false`")),
        },
    }
}

/// Makes it, with a copy of the skeleton, and gives it to the user.
pub fn make(system: &System, user: &LocalUser, home: &AbsPath) -> Result<(), Failure> {
    let defaults = Defaults::read(system)?;
    let Some(parent) = home.parent() else { return Ok(()) };
    let beside = parent.join(&format!(".{}.converge-home", home.file_name()));
    // What a run that was killed has left.
    match system.see(&beside)? {
        Seen::There(there) if there.kind == Kind::Directory => system.remove_tree(&beside)?,
        Seen::There(_) => system.remove_file(&beside)?,
        Seen::Absent | Seen::NoParent(_) => {}
    }
    let private = Access { mode: Some(Mode::from_bits(0o700)), ..Access::default() };
    system.make_directory(&beside, private)?;
    let owner = Access { uid: Some(user.uid), gid: Some(user.gid), mode: None };
    let made = copy(system, &defaults.skeleton, &beside, owner)
        .and_then(|()| system.set_access(&beside, Access { mode: Some(defaults.mode), ..owner }))
        .and_then(|()| system.name_anew(&beside, home));
    match made {
        Ok(true) => label(system, home),
        // Somebody else has made it meanwhile: that one is taken as it is.
        Ok(false) => system.remove_tree(&beside),
        Err(failure) => {
            // What failed is told; the rest is removed by the next run where it cannot be now.
            let _ = system.remove_tree(&beside);
            Err(failure)
        }
    }
}

/// Of /etc/skel: files, directories and links. Where there is no skeleton, there is nothing to copy.
fn copy(system: &System, from: &AbsPath, to: &AbsPath, owner: Access) -> Result<(), Failure> {
    if !matches!(system.see(from)?, Seen::There(there) if there.kind == Kind::Directory) {
        return Ok(());
    }
    for name in system.list(from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        let Seen::There(there) = system.see(&source)? else { continue };
        let access = Access { mode: Some(there.mode), ..owner };
        match there.kind {
            Kind::Directory => {
                system.make_directory(&target, access)?;
                copy(system, &source, &target, owner)?;
            }
            Kind::File => system.put_file(&target, &system.read_file(&source)?, access, |_| Ok(()))?,
            Kind::Symlink => {
                system.put_link(&target, &system.link_target(&source)?)?;
                system.set_access(&target, owner)?;
            }
            Kind::Special => {}
        }
    }
    Ok(())
}

/// Under SELinux what was made gets the label of its place, which is not that of what made it.
pub fn label(system: &System, path: &AbsPath) -> Result<(), Failure> {
    let is_on = system.is_whole_machine() && std::fs::exists("/sys/fs/selinux/enforce").unwrap_or(false);
    if !is_on || system.find_tool("restorecon").is_none() {
        return Ok(());
    }
    let output = system.tool(["restorecon", "-R", path.as_str()])?;
    if output.succeeded() { Ok(()) } else { Err(output.failure(format!("`restorecon -R {path}`"))) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn the_defaults_are_those_of_useradd() {
        let debian =
            Defaults::parse("# HOME=/x\nSHELL=/bin/sh\n", "#HOME_MODE 0700\nUMASK\t022\nUID_MIN 1000\n")
                .unwrap();
        assert_eq!(debian.mode.bits(), 0o755);
        assert_eq!(debian.home_of("app").unwrap().as_str(), "/home/app");
        assert!(debian.is_ordinary(1000) && !debian.is_ordinary(33) && !debian.is_ordinary(65534));
        let fedora =
            Defaults::parse("HOME=/data\nSKEL=/etc/skel.d\n", "UMASK 022\nHOME_MODE 0700\nUID_MIN 500\n")
                .unwrap();
        assert_eq!((fedora.mode.bits(), fedora.is_ordinary(500)), (0o700, true));
        assert_eq!(fedora.home_of("app").unwrap().as_str(), "/data/app");
        assert_eq!(Defaults::parse("", "").unwrap().skeleton.as_str(), "/etc/skel");
    }

    #[test]
    fn a_home_is_a_copy_of_the_skeleton_and_no_leftover_is_in_its_way() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("etc/skel/.config")).unwrap();
        std::fs::write(at("etc/skel/.profile"), "x").unwrap();
        std::fs::write(at("etc/skel/.config/a"), "y").unwrap();
        symlink(".profile", at("etc/skel/link")).unwrap();
        std::fs::create_dir_all(at("home/.app.converge-home/half")).unwrap();
        std::fs::write(at("etc/login.defs"), "HOME_MODE 0750\n").unwrap();
        let system = System::under(root.path());
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let user = LocalUser {
            name: "app".into(),
            password: "x".into(),
            uid: me.0,
            gid: me.1,
            comment: String::new(),
            home: "/home/app".into(),
            shell: String::new(),
        };
        make(&system, &user, &"/home/app".parse().unwrap()).unwrap();
        assert_eq!(system.list(&"/home".parse().unwrap()).unwrap(), ["app"]);
        assert_eq!(std::fs::metadata(at("home/app")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(std::fs::read(at("home/app/.config/a")).unwrap(), b"y");
        assert_eq!(std::fs::read_link(at("home/app/link")).unwrap().to_str(), Some(".profile"));
        // One that is there is left as it is.
        std::fs::write(at("home/app/own"), "z").unwrap();
        make(&system, &user, &"/home/app".parse().unwrap()).unwrap();
        assert_eq!(std::fs::read(at("home/app/own")).unwrap(), b"z");
        assert_eq!(system.list(&"/home".parse().unwrap()).unwrap(), ["app"]);
    }
}
