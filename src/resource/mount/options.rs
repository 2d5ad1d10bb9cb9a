//! Mount options: as they are declared, and what of them can be seen on a mount. What the kernel
//! adds is no drift; what it does not show is judged by /etc/fstab alone.

use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attribute::described;
use crate::system::mounts::Mounted;

/// A list, or a text with commas in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Options(Vec<String>);

/// One option that is not as declared.
#[derive(Clone, PartialEq, Debug)]
pub struct Drift {
    pub seen: String,
    pub wanted: String,
    /// It says which part of the file system is shown: that is another mount.
    pub is_elsewhere: bool,
}

impl Options {
    pub fn of(text: &str) -> Options {
        Options(text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one == name)
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find_map(|one| one.strip_prefix(key)?.strip_prefix('='))
    }

    pub fn is_bind(&self) -> bool {
        self.has("bind") || self.has("rbind")
    }

    /// The same options, in whatever order.
    pub fn same_as(&self, text: &str) -> bool {
        let sorted = |options: &Options| {
            let mut all = options.0.clone();
            all.sort();
            all.dedup();
            all
        };
        sorted(self) == sorted(&Options::of(text))
    }

    /// What does not go into a line or on a command line.
    pub fn broken(&self) -> Option<&str> {
        let is_broken = |one: &&String| one.contains(['\n', '\r', '\0']) || one.starts_with('-');
        if self.0.is_empty() { Some("") } else { self.0.iter().find(is_broken).map(String::as_str) }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Options;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("options, as in noatime,nofail, or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Options, E> {
                Ok(Options::of(text))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Options, A::Error> {
                let all: Vec<String> = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(Options::of(&all.join(",")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

described!(Options, "mount-options", {
    "title": "options, or a list of them",
    "type": ["string", "array"],
    "minLength": 1,
    "minItems": 1,
    "items": { "type": "string", "minLength": 1 }
});

/// Options that come in pairs: what is shown, what takes it back, and whether it is the file
/// system that shows it. Without either, it is not wanted.
const PAIRS: [(&str, &str, bool); 8] = [
    ("ro", "rw", false),
    ("nosuid", "suid", false),
    ("nodev", "dev", false),
    ("noexec", "exec", false),
    ("noatime", "atime", false),
    ("sync", "async", true),
    ("dirsync", "nodirsync", true),
    ("lazytime", "nolazytime", true),
];

/// Those that mean several.
const MEANING: [(&str, &[&str]); 5] = [
    ("user", &["noexec", "nosuid", "nodev"]),
    ("users", &["noexec", "nosuid", "nodev"]),
    ("owner", &["nosuid", "nodev"]),
    ("group", &["nosuid", "nodev"]),
    ("relatime", &["atime"]),
];

/// What can be seen of file systems' own options, and means there what it means in a spec.
const OWN: [(&str, &[&str]); 5] = [
    ("ext", &["commit", "errors", "data"]),
    ("btrfs", &["subvol"]),
    ("overlay", &["lowerdir", "upperdir", "workdir"]),
    ("vfat", &["uid", "gid", "fmask", "dmask"]),
    ("xfs", &["logbufs"]),
];

/// Those that name what is shown.
const ELSEWHERE: [&str; 4] = ["subvol", "lowerdir", "upperdir", "workdir"];

/// File systems that are never written to: nobody asks for `ro`, and it is there.
const READ_ONLY: [&str; 6] = ["iso9660", "squashfs", "erofs", "cramfs", "romfs", "udf"];

/// How a mount is to be seen.
pub struct Seeing<'a> {
    pub mounted: &'a Mounted,
    /// It shares its file system, and has flags of its own.
    pub is_bind: bool,
    /// The device cannot be written to, whatever is asked.
    pub is_write_protected: bool,
    /// Of a tmpfs.
    pub limits: Option<Limits>,
}

/// What a tmpfs may hold; 0: as much as there is.
#[derive(Clone, Copy)]
pub struct Limits {
    pub bytes: u64,
    pub inodes: u64,
    /// The size is a multiple of this.
    pub block: u64,
}

/// What of the declared options is not so.
pub fn drift(declared: &Options, seeing: &Seeing<'_>) -> Vec<Drift> {
    let mut drift = Vec::new();
    let wanted: Vec<&str> = declared.0.iter().flat_map(|one| meaning(one)).collect();
    for (shown, opposite, is_of_system) in PAIRS {
        let said = wanted.iter().rev().find(|one| **one == shown || **one == opposite);
        if seeing.cannot_judge(shown, is_of_system, said.is_some()) {
            continue;
        }
        let is_wanted = said == Some(&shown);
        if seeing.has(shown, is_of_system) != is_wanted {
            let (seen, wanted) = if is_wanted { (opposite, shown) } else { (shown, opposite) };
            drift.push(Drift { seen: seen.to_owned(), wanted: wanted.to_owned(), is_elsewhere: false });
        }
    }
    if !seeing.is_bind {
        drift.extend(seeing.own_drift(declared));
    }
    drift
}

fn meaning(option: &str) -> Vec<&str> {
    let several = MEANING.iter().find(|(name, _)| *name == option);
    several.map_or(vec![option], |(_, meaning)| meaning.to_vec())
}

impl Seeing<'_> {
    fn has(&self, option: &str, is_of_system: bool) -> bool {
        let has = |list: &[String]| list.iter().any(|one| one == option);
        match option {
            // A mount is read-only where either is.
            "ro" if !self.is_bind => has(&self.mounted.flags) || has(&self.mounted.options),
            _ if is_of_system => has(&self.mounted.options),
            _ => has(&self.mounted.flags),
        }
    }

    fn cannot_judge(&self, option: &str, is_of_system: bool, is_said: bool) -> bool {
        let fstype = self.mounted.fstype.as_str();
        // Helpers of FUSE add flags of their own.
        let is_helped = fstype.starts_with("fuse") && !is_said;
        let is_natural = option == "ro" && (READ_ONLY.contains(&fstype) || self.is_write_protected);
        is_helped || is_natural || is_of_system && self.is_bind
    }

    fn own_drift(&self, declared: &Options) -> Vec<Drift> {
        let fstype = self.mounted.fstype.as_str();
        let keys =
            OWN.iter().find(|(name, _)| fstype == *name || *name == "ext" && fstype.starts_with("ext"));
        let mut drift = Vec::new();
        for key in keys.map(|(_, keys)| *keys).into_iter().flatten() {
            let Some(wanted) = declared.value(key) else { continue };
            let shown = self.mounted.options.iter().find_map(|one| one.strip_prefix(key)?.strip_prefix('='));
            // What is as it always is, the kernel does not show.
            let Some(seen) = shown.or(if *key == "commit" { Some("5") } else { None }) else { continue };
            if !is_same(key, wanted, seen) {
                let (seen, wanted) = (format!("{key}={seen}"), format!("{key}={wanted}"));
                drift.push(Drift { seen, wanted, is_elsewhere: ELSEWHERE.contains(key) });
            }
        }
        if let Some(Limits { bytes, inodes, block }) = self.limits {
            for (key, seen, unit) in [("size", bytes, block.max(1)), ("nr_inodes", inodes, 1)] {
                // A share of the memory is as large as it comes out.
                let Some(text) = declared.value(key).filter(|text| !text.ends_with('%')) else { continue };
                let wanted = number(text).map(|wanted| wanted.div_ceil(unit) * unit);
                if wanted.is_some_and(|wanted| wanted != seen) {
                    let seen = format!("{key}={}", short(seen));
                    drift.push(Drift { seen, wanted: format!("{key}={text}"), is_elsewhere: false });
                }
            }
        }
        drift
    }
}

fn is_same(key: &str, wanted: &str, seen: &str) -> bool {
    match key {
        "subvol" => wanted.trim_start_matches('/') == seen.trim_start_matches('/'),
        "fmask" | "dmask" => u32::from_str_radix(wanted, 8) == u32::from_str_radix(seen, 8),
        _ => wanted == seen,
    }
}

/// `64m`: as the kernel reads sizes.
fn number(text: &str) -> Option<u64> {
    let (digits, factor) = match text.char_indices().last()? {
        (end, 'k' | 'K') => (&text[..end], 1 << 10),
        (end, 'm' | 'M') => (&text[..end], 1 << 20),
        (end, 'g' | 'G') => (&text[..end], 1 << 30),
        (end, 't' | 'T') => (&text[..end], 1 << 40),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn short(number: u64) -> String {
    let units = [(1_u64 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")];
    let fitting = units.iter().find(|(unit, _)| number > 0 && number.is_multiple_of(*unit));
    fitting.map_or(number.to_string(), |(unit, letter)| format!("{}{letter}", number / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(fstype: &str, flags: &str, options: &str) -> Mounted {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        Mounted {
            id: 1,
            parent: 0,
            device: (0, 1),
            root: "/".into(),
            point: "/x".into(),
            flags: list(flags),
            fstype: fstype.into(),
            source: "x".into(),
            options: list(options),
        }
    }

    fn told(declared: &str, seeing: &Seeing<'_>) -> String {
        let drift = drift(&Options::of(declared), seeing);
        let one = |drift: &Drift| {
            format!("{}→{}{}", drift.seen, drift.wanted, if drift.is_elsewhere { "!" } else { "" })
        };
        drift.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_the_kernel_adds_is_no_drift_and_what_is_declared_is_judged() {
        // File system, flags and options as mountinfo has them; declared; what is off.
        let table = [
            ("ext4", "rw,relatime", "rw,seclabel,stripe=4", "defaults", ""),
            ("ext4", "rw,relatime", "rw", "defaults,nofail,x-systemd.device-timeout=5,_netdev,discard", ""),
            ("ext4", "rw,noatime", "rw", "noatime", ""),
            ("ext4", "rw,relatime", "rw", "noatime", "atime→noatime"),
            ("ext4", "rw,noatime", "rw", "defaults", "noatime→atime"),
            ("ext4", "rw,noatime", "rw", "relatime", "noatime→atime"),
            ("ext4", "rw,nosuid,nodev,noexec", "rw", "user", ""),
            ("ext4", "rw,nosuid,nodev,noexec", "rw", "user,exec", "noexec→exec"),
            ("ext4", "rw,relatime", "rw", "nosuid,nodev", "suid→nosuid dev→nodev"),
            ("ext4", "rw", "ro", "defaults", "ro→rw"),
            ("ext4", "ro", "ro", "ro", ""),
            ("ext4", "rw", "rw", "rw,ro", "rw→ro"),
            ("iso9660", "ro", "ro", "defaults", ""),
            ("ext4", "rw", "rw,sync", "defaults", "sync→async"),
            ("ext4", "rw", "rw,lazytime", "lazytime", ""),
            ("ext4", "rw", "rw", "commit=30", "commit=5→commit=30"),
            ("ext4", "rw", "rw,commit=30", "commit=30", ""),
            ("ext4", "rw", "rw,commit=30", "defaults", ""),
            ("ext4", "rw", "rw,errors=continue", "errors=remount-ro", "errors=continue→errors=remount-ro"),
            ("ext4", "rw", "rw", "errors=remount-ro", ""),
            ("btrfs", "rw", "rw,subvolid=256,subvol=/@home", "subvol=@home", ""),
            ("btrfs", "rw", "rw,subvolid=256,subvol=/@home", "subvol=@", "subvol=/@home→subvol=@!"),
            ("nfs4", "rw", "rw,vers=4.2,rsize=262144", "vers=4,rsize=1048576", ""),
            ("fuse.sshfs", "rw,nosuid,nodev", "rw,user_id=0", "defaults", ""),
            ("fuse.sshfs", "rw,nosuid,nodev", "rw,user_id=0", "ro", "rw→ro"),
        ];
        for (fstype, flags, options, declared, wanted) in table {
            let mounted = mounted(fstype, flags, options);
            let seeing =
                Seeing { mounted: &mounted, is_bind: false, is_write_protected: false, limits: None };
            assert_eq!(told(declared, &seeing), wanted, "{fstype} {flags} {options}: {declared}");
        }
    }

    #[test]
    fn a_bind_mount_has_flags_of_its_own_and_a_protected_device_is_read_only_by_nature() {
        let shared = mounted("ext4", "rw,relatime", "ro,sync");
        let bind = Seeing { mounted: &shared, is_bind: true, is_write_protected: false, limits: None };
        assert_eq!(told("bind", &bind), "");
        assert_eq!(told("bind,ro", &bind), "rw→ro");
        let protected = Seeing { mounted: &shared, is_bind: false, is_write_protected: true, limits: None };
        assert_eq!(told("defaults,sync", &protected), "");
    }

    #[test]
    fn sizes_are_compared_as_the_kernel_reads_them() {
        let tmpfs = mounted("tmpfs", "rw", "rw,size=65536k");
        let of = |bytes, inodes| Seeing {
            mounted: &tmpfs,
            is_bind: false,
            is_write_protected: false,
            limits: Some(Limits { bytes, inodes, block: 4096 }),
        };
        assert_eq!(told("size=64m,mode=700", &of(64 << 20, 10)), "");
        assert_eq!(told("size=65536K,nr_inodes=10", &of(64 << 20, 10)), "");
        assert_eq!(told("size=64m", &of(32 << 20, 10)), "size=32m→size=64m");
        assert_eq!(told("size=5000", &of(8192, 10)), "", "in whole pages");
        assert_eq!(told("nr_inodes=1k", &of(0, 10)), "nr_inodes=10→nr_inodes=1k");
        assert_eq!(told("size=50%", &of(1 << 30, 10)), "");
        assert_eq!(short(0), "0");
    }

    #[test]
    fn the_order_of_options_means_nothing() {
        assert!(Options::of("noatime, nofail,").same_as("nofail,noatime"));
        assert!(!Options::of("noatime").same_as("defaults,noatime"));
        let list: Options = serde_json::from_str("[\"noatime\", \"size=1m\"]").unwrap();
        assert_eq!(serde_json::to_string(&list).unwrap(), "\"noatime,size=1m\"");
    }
}
