//! The system's own programs: whether they are there, and which package has those that are not.

use std::path::PathBuf;

use super::System;
use super::commands::search_path;
use super::facts::Os;

/// Tools, and the packages that have them: on Debian, Fedora, Alpine, Arch and openSUSE, each with
/// what derives from it.
const PACKAGES: &[(&[&str], [&str; 5])] = &[
    (
        &[
            "useradd", "usermod", "userdel", "groupadd", "groupmod", "groupdel", "gpasswd", "chpasswd",
            "passwd",
        ],
        ["passwd", "shadow-utils", "shadow", "shadow", "shadow"],
    ),
    (&["crontab"], ["cron", "cronie", "cronie", "cronie", "cronie"]),
    (&["git"], ["git"; 5]),
    (&["psql"], ["postgresql-client", "postgresql", "postgresql-client", "postgresql", "postgresql"]),
    (
        &["mysql", "mariadb"],
        ["mariadb-client", "mariadb", "mariadb-client", "mariadb-clients", "mariadb-client"],
    ),
    (&["sqlite3"], ["sqlite3", "sqlite", "sqlite", "sqlite", "sqlite3"]),
    (&["xz"], ["xz-utils", "xz", "xz", "xz", "xz"]),
    (&["bzip2"], ["bzip2"; 5]),
    (&["zstd"], ["zstd"; 5]),
];

impl System {
    /// Where a tool lies; None where there is no such program.
    pub fn find_tool(&self, name: &str) -> Option<PathBuf> {
        let places = search_path();
        places.split(':').map(|place| self.root().join(place.trim_start_matches('/')).join(name)).find(
            |path| {
                use std::os::unix::fs::PermissionsExt;
                std::fs::metadata(path)
                    .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            },
        )
    }

    /// Whether a tool is busybox's, which understands other options.
    pub fn is_busybox(&self, name: &str) -> bool {
        let real = self.find_tool(name).and_then(|path| path.canonicalize().ok());
        real.is_some_and(|path| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("busybox"))
        })
    }

    /// The package that has a tool on this distribution; None where that is not known.
    pub fn package_of(&self, tool: &str) -> Option<&'static str> {
        packages_of(tool)?.get(family(&Os::read(self))?).copied()
    }

    /// The way to a tool that is not here.
    pub fn way_to(&self, tool: &str) -> String {
        match self.package_of(tool) {
            Some(package) => format!("install it: the package {package} has it"),
            None => format!("install it, or put it into PATH ({})", search_path()),
        }
    }
}

/// The package that mostly has a tool, where no machine is known yet: Debian's.
pub fn usual_package_of(tool: &str) -> Option<&'static str> {
    packages_of(tool).map(|[debian, ..]| *debian)
}

fn packages_of(tool: &str) -> Option<&'static [&'static str; 5]> {
    PACKAGES.iter().find(|(tools, _)| tools.contains(&tool)).map(|(_, packages)| packages)
}

/// The index into the lists of packages.
fn family(os: &Os) -> Option<usize> {
    let known = |id: &str| match id {
        "debian" | "ubuntu" => Some(0),
        "fedora" | "rhel" | "centos" => Some(1),
        "alpine" => Some(2),
        "arch" => Some(3),
        "suse" | "opensuse" => Some(4),
        _ => None,
    };
    std::iter::once(&os.id).chain(&os.id_like).find_map(|id| known(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(os_release: &str) -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/os-release"), os_release).unwrap();
        let system = System::under(root.path());
        (root, system)
    }

    #[test]
    fn the_package_of_a_missing_tool_is_named_as_the_distribution_calls_it() {
        for (os_release, useradd, crontab) in [
            ("ID=debian", "passwd", "cron"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"", "passwd", "cron"),
            ("ID=rocky\nID_LIKE=\"rhel centos fedora\"", "shadow-utils", "cronie"),
            ("ID=alpine", "shadow", "cronie"),
            ("ID=arch", "shadow", "cronie"),
            ("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"", "shadow", "cronie"),
        ] {
            let (_root, system) = machine(os_release);
            assert_eq!(system.package_of("useradd"), Some(useradd), "{os_release}");
            assert_eq!(system.package_of("crontab"), Some(crontab), "{os_release}");
            assert_eq!(system.package_of("frobnicate"), None);
        }
        let (_root, system) = machine("ID=plan9");
        assert!(system.way_to("useradd").starts_with("install it, or put it into PATH"));
    }

    #[test]
    fn the_tools_of_types_are_known() {
        for (os_release, packages) in [
            ("ID=debian", ["postgresql-client", "mariadb-client", "sqlite3", "git", "xz-utils"]),
            ("ID=fedora", ["postgresql", "mariadb", "sqlite", "git", "xz"]),
            ("ID=arch", ["postgresql", "mariadb-clients", "sqlite", "git", "xz"]),
        ] {
            let (_root, system) = machine(os_release);
            let found =
                ["psql", "mysql", "sqlite3", "git", "xz"].map(|tool| system.package_of(tool).unwrap());
            assert_eq!(found, packages, "{os_release}");
        }
        assert_eq!(usual_package_of("xz"), Some("xz-utils"));
    }

    #[test]
    fn busybox_is_known_by_where_its_links_lead() {
        let (root, system) = machine("ID=alpine");
        let bin = root.path().join("usr/sbin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy("/bin/true", bin.join("busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", bin.join("adduser")).unwrap();
        std::fs::copy("/bin/true", bin.join("useradd")).unwrap();
        std::fs::write(bin.join("userdel"), "no program").unwrap();
        assert!(system.is_busybox("adduser") && !system.is_busybox("useradd"));
        assert_eq!(system.find_tool("useradd"), Some(bin.join("useradd")));
        assert_eq!(system.find_tool("userdel"), None);
    }
}
