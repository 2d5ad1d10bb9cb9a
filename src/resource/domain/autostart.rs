//! `autostart`: the links in /etc/xen/auto, and what `xendomains` makes of them when the machine boots.

use super::{Domain, config};
use crate::attribute::AbsPath;
use crate::resource::common::{in_the_way, no_directory};
use crate::resource::{Change, Failure, Lack};
use crate::system::System;
use crate::system::files::{Kind, Meta, Seen};

/// The links that Xen's `xendomains` starts at boot.
pub(super) const AUTO: &str = "/etc/xen/auto";

/// The service that starts them.
const STARTER: &str = "xendomains.service";

impl Domain {
    fn auto_link(&self) -> Result<AbsPath, Failure> {
        format!("{AUTO}/{}.cfg", self.name).parse().map_err(Failure::new)
    }

    pub(super) fn autostart_change(
        &self,
        system: &System,
        config: &AbsPath,
        changes: &mut Vec<Change>,
        lacks: &mut Vec<Lack>,
    ) -> Result<(), Failure> {
        let Some(wanted) = self.autostart else { return Ok(()) };
        let links = self.auto_links(system, config)?;
        let link = self.auto_link()?;
        match (wanted, links.is_empty()) {
            (true, true) => {
                match system.see(&link)? {
                    Seen::NoParent(parent) => lacks.push(no_directory(&parent)),
                    Seen::There(Meta { kind, .. }) if kind != Kind::Symlink => {
                        return Err(in_the_way(&link, kind, "a link to its configuration")
                            .help(format!("move {link} away")));
                    }
                    _ => {}
                }
                changes.push(Change::from_to("autostart", "no", "yes"));
            }
            (false, false) => changes.push(Change::from_to("autostart", "yes", "no")),
            _ => {}
        }
        Ok(())
    }

    /// The links in /etc/xen/auto that lead to its configuration, whatever their names.
    fn auto_links(&self, system: &System, config: &AbsPath) -> Result<Vec<AbsPath>, Failure> {
        let directory: AbsPath = AUTO.parse().map_err(Failure::new)?;
        if !system.locate(&directory).is_dir() {
            return Ok(Vec::new());
        }
        let mut links = Vec::new();
        for name in system.list(&directory)? {
            let link = directory.join(&name);
            if let Seen::There(Meta { kind: Kind::Symlink, .. }) = system.see(&link)? {
                let target = system.link_target(&link)?;
                if config::leads_to(&directory, &target) == Some(config.clone()) {
                    links.push(link);
                }
            }
        }
        Ok(links)
    }

    pub(super) fn set_autostart(&self, system: &System, config: &AbsPath) -> Result<(), Failure> {
        if self.autostart == Some(true) {
            return system.put_link(&self.auto_link()?, config.as_str());
        }
        for link in self.auto_links(system, config)? {
            system.remove_file(&link)?;
        }
        Ok(())
    }

    /// Whether the machine is on its way to start it by itself: the domain is linked, and the boot has `xendomains`
    /// still before it or in its middle. To create it then would be a race with that.
    pub(super) fn is_about_to_be_started(&self, system: &System, config: &AbsPath) -> Result<bool, Failure> {
        if self.auto_links(system, config)?.is_empty() {
            return Ok(false);
        }
        let show = system.tool(["systemctl", "show", "--property=ActiveState,Job", STARTER]);
        Ok(show.is_ok_and(|output| output.succeeded() && is_starting(&output.stdout)))
    }
}

/// Of what `systemctl show` says of a unit: it starts, or has a start queued. (It names no job where
/// there is none; that of a unit that runs would be its stop.)
fn is_starting(shown: &str) -> bool {
    let value = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let has_job = !matches!(value("Job="), "" | "0");
    match value("ActiveState=") {
        "activating" => true,
        "inactive" | "failed" => has_job,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_starting;

    #[test]
    fn a_unit_that_starts_or_is_to_start_is_told_from_one_that_does_not() {
        for (shown, expected) in [
            ("Job=143\nActiveState=inactive\n", true),
            ("Job=143\nActiveState=activating\n", true),
            ("ActiveState=activating\n", true),
            ("ActiveState=inactive\n", false),
            ("Job=0\nActiveState=inactive\n", false),
            ("ActiveState=active\n", false),
            ("Job=900\nActiveState=active\n", false),
            ("Job=900\nActiveState=deactivating\n", false),
            ("Job=143\nActiveState=failed\n", true),
            ("", false),
        ] {
            assert_eq!(is_starting(shown), expected, "{shown}");
        }
    }
}
