//! What kind of machine it is: its init, its package manager, and what it runs in. From files
//! that are there or not, as systemd-detect-virt(1) and sd_booted(3) look for them.

use super::{Machine, Os};

/// Enough for the flags of the first processor.
const CPUINFO: u64 = 8 * 1024;

pub(super) fn init(machine: &Machine<'_>) -> String {
    if machine.has("/run/systemd/system") {
        return "systemd".to_owned();
    }
    if machine.has("/run/openrc") {
        return "openrc".to_owned();
    }
    machine.line("/proc/1/comm")
}

/// The managers, the program of each, and the systems whose own it is.
const MANAGERS: &[(&str, &[&str], &[&str])] = &[
    ("apt", &["/usr/bin/apt-get"], &["debian", "ubuntu"]),
    ("dnf", &["/usr/bin/dnf"], &["fedora", "rhel", "centos"]),
    ("apk", &["/sbin/apk", "/usr/sbin/apk", "/usr/bin/apk"], &["alpine"]),
    ("pacman", &["/usr/bin/pacman"], &["arch"]),
    ("zypper", &["/usr/bin/zypper"], &["suse", "opensuse", "sles"]),
];

/// Debian has a dnf too, for those who make images: the system's own goes first.
pub(super) fn package_manager(machine: &Machine<'_>, os: &Os) -> String {
    let there = |programs: &[&str]| programs.iter().any(|program| machine.has(program));
    let is_own = |systems: &[&str]| {
        systems.iter().any(|system| os.id == *system || os.id_like.iter().any(|id| id == system))
    };
    let own = MANAGERS.iter().find(|(_, programs, systems)| is_own(systems) && there(programs));
    let found = own.or_else(|| MANAGERS.iter().find(|(_, programs, _)| there(programs)));
    found.map_or_else(String::new, |(name, ..)| (*name).to_owned())
}

/// The innermost: a container in a virtual machine is a container.
pub(super) fn virtualization(machine: &Machine<'_>) -> String {
    container(machine).or_else(|| hypervisor(machine)).unwrap_or_else(|| "none".to_owned())
}

fn container(machine: &Machine<'_>) -> Option<String> {
    if machine.has("/proc/vz") && !machine.has("/proc/bc") {
        return Some("openvz".to_owned());
    }
    if machine.line("/proc/sys/kernel/osrelease").to_lowercase().contains("microsoft") {
        return Some("wsl".to_owned());
    }
    // systemd as PID 1 writes down what it was told; else it is in PID 1's own environment, which
    // only root may read.
    let told = machine.line("/run/systemd/container");
    let environment = machine.read("/proc/1/environ");
    let told = match environment.split('\0').find_map(|variable| variable.strip_prefix("container=")) {
        Some(name) if told.is_empty() => name.to_owned(),
        _ => told,
    };
    if !told.is_empty() && told != "oci" {
        return Some(told);
    }
    if machine.has("/run/.containerenv") {
        return Some("podman".to_owned());
    }
    machine.has("/.dockerenv").then(|| "docker".to_owned())
}

/// What a hypervisor's firmware says of its maker.
const MAKERS: &[(&str, &str)] = &[
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Virtual Machine", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("KVM", "kvm"),
    ("Amazon EC2", "kvm"),
    ("Google", "kvm"),
    ("OpenStack", "kvm"),
    ("QEMU", "qemu"),
];

fn hypervisor(machine: &Machine<'_>) -> Option<String> {
    if machine.line("/sys/hypervisor/type") == "xen" {
        let is_dom0 = machine.line("/proc/xen/capabilities").contains("control_d");
        return Some(match machine.line("/sys/hypervisor/guest_type").as_str() {
            _ if is_dom0 => "xen-dom0".to_owned(),
            "" => "xen-pv".to_owned(),
            kind => format!("xen-{}", kind.to_lowercase()),
        });
    }
    let flags = machine.start_of("/proc/cpuinfo", CPUINFO);
    let is_guest = flags
        .lines()
        .any(|line| line.starts_with("flags") && line.split_whitespace().any(|word| word == "hypervisor"));
    let clocks = machine.line("/sys/devices/system/clocksource/clocksource0/available_clocksource");
    if clocks.contains("kvm-clock") {
        return Some("kvm".to_owned());
    }
    let device_tree = machine.read("/proc/device-tree/hypervisor/compatible");
    if device_tree.starts_with("linux,kvm") {
        return Some("kvm".to_owned());
    }
    let firmware = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"]
        .map(|name| machine.line(&format!("/sys/class/dmi/id/{name}")))
        .join("\n");
    let is_virtual = is_guest || !device_tree.is_empty();
    // The clouds rent out bare metal as well, under the same name.
    let is_cloud = |name: &str| matches!(name, "Amazon EC2" | "Google");
    let maker = MAKERS.iter().find(|(maker, _)| firmware.contains(maker) && (is_virtual || !is_cloud(maker)));
    maker.map(|(_, name)| (*name).to_owned()).or_else(|| is_virtual.then(|| "vm-other".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A machine of these files; what ends in `/` is a directory.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text {
                &"/" => std::fs::create_dir(&path).unwrap(),
                text => std::fs::write(&path, text).unwrap(),
            }
        }
        root
    }

    fn of<T>(root: &Path, ask: impl Fn(&Machine<'_>) -> T) -> T {
        ask(&Machine { root })
    }

    #[test]
    fn what_a_machine_runs_in_is_told() {
        const CPU: (&str, &str) = ("/proc/cpuinfo", "model name: x\nflags\t\t: fpu hypervisor lm\n");
        const METAL: (&str, &str) = ("/proc/cpuinfo", "model name: x\nflags\t\t: fpu lm\n");
        const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
        const VENDOR: &str = "/sys/class/dmi/id/sys_vendor";
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("none", &[METAL, (VENDOR, "Dell Inc.\n"), (CLOCK, "tsc hpet acpi_pm\n")]),
            ("none", &[METAL, (VENDOR, "Amazon EC2\n")]),
            ("kvm", &[CPU, (VENDOR, "Amazon EC2\n")]),
            ("kvm", &[CPU, (VENDOR, "QEMU\n"), (CLOCK, "kvm-clock tsc\n")]),
            ("qemu", &[CPU, (VENDOR, "QEMU\n"), (CLOCK, "tsc\n")]),
            ("kvm", &[("/proc/device-tree/hypervisor/compatible", "linux,kvm\0")]),
            ("vmware", &[CPU, (VENDOR, "VMware, Inc.\n")]),
            (
                "microsoft",
                &[
                    CPU,
                    (VENDOR, "Microsoft Corporation\n"),
                    ("/sys/class/dmi/id/product_name", "Virtual Machine\n"),
                ],
            ),
            ("oracle", &[CPU, (VENDOR, "innotek GmbH\n")]),
            ("vm-other", &[CPU, (VENDOR, "Nobody\n")]),
            (
                "xen-dom0",
                &[
                    ("/sys/hypervisor/type", "xen\n"),
                    ("/proc/xen/capabilities", "control_d\n"),
                    ("/sys/hypervisor/guest_type", "PV\n"),
                ],
            ),
            ("xen-pv", &[("/sys/hypervisor/type", "xen\n"), ("/sys/hypervisor/guest_type", "PV\n")]),
            (
                "xen-hvm",
                &[
                    CPU,
                    ("/sys/hypervisor/type", "xen\n"),
                    ("/sys/hypervisor/guest_type", "HVM\n"),
                    (CLOCK, "xen tsc\n"),
                ],
            ),
            ("lxc", &[("/proc/1/environ", "PATH=/bin\0container=lxc\0"), (CLOCK, "kvm-clock\n")]),
            ("lxc", &[("/run/systemd/container", "lxc\n")]),
            ("systemd-nspawn", &[("/run/systemd/container", "systemd-nspawn\n"), ("/.dockerenv", "")]),
            ("docker", &[CPU, ("/.dockerenv", "")]),
            ("podman", &[("/run/.containerenv", ""), ("/proc/1/environ", "container=oci\0")]),
            ("wsl", &[CPU, ("/proc/sys/kernel/osrelease", "5.15.90.1-microsoft-standard-WSL2\n")]),
        ];
        for (name, files) in cases {
            let root = machine(files);
            assert_eq!(of(root.path(), virtualization), *name, "{files:?}");
        }
    }

    #[test]
    fn the_systems_own_package_manager_goes_first() {
        let os = |id: &str, like: &[&str]| Os {
            id: id.to_owned(),
            id_like: like.iter().map(|id| (*id).to_owned()).collect(),
            ..Os::default()
        };
        for (os, programs, manager) in [
            (os("debian", &[]), &["/usr/bin/apt-get", "/usr/bin/dnf"][..], "apt"),
            (os("rocky", &["rhel", "centos", "fedora"]), &["/usr/bin/apt-get", "/usr/bin/dnf"], "dnf"),
            (os("fedora", &[]), &["/usr/bin/dnf"], "dnf"),
            (os("alpine", &[]), &["/sbin/apk"], "apk"),
            (os("arch", &[]), &["/usr/bin/pacman"], "pacman"),
            (os("opensuse-leap", &["suse", "opensuse"]), &["/usr/bin/zypper"], "zypper"),
            (os("homemade", &[]), &["/usr/bin/apk"], "apk"),
            (os("homemade", &[]), &["/usr/bin/make"], ""),
        ] {
            let files: Vec<_> = programs.iter().map(|program| (*program, "")).collect();
            let root = machine(&files);
            assert_eq!(of(root.path(), |machine| package_manager(machine, &os)), manager, "{os:?}");
        }
    }

    #[test]
    fn process_1_is_named() {
        for (files, name) in [
            (&[("/run/systemd/system", "/"), ("/proc/1/comm", "init\n")][..], "systemd"),
            (&[("/run/openrc", "/"), ("/proc/1/comm", "init\n")], "openrc"),
            (&[("/proc/1/comm", "runit\n")], "runit"),
            (&[], ""),
        ] {
            let root = machine(files);
            assert_eq!(of(root.path(), init), name);
        }
    }
}
