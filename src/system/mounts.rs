//! What is mounted where, from proc(5)'s mountinfo, and who keeps a mount busy.

use std::path::Path;
use std::sync::Arc;

use super::System;
use crate::failure::Failure;

/// One line of mountinfo.
#[derive(Clone, PartialEq, Debug)]
pub struct Mounted {
    pub id: u32,
    pub parent: u32,
    /// Major and minor number of the file system.
    pub device: (u32, u32),
    /// Which directory of the file system it shows: `/`, but for bind mounts and subvolumes.
    pub root: String,
    pub point: String,
    /// Of this mount: `rw`, `noexec`, `relatime`.
    pub flags: Vec<String>,
    pub fstype: String,
    pub source: String,
    /// Of the file system: `rw`, `size=65536k`.
    pub options: Vec<String>,
}

/// All mounts that this process sees, in the kernel's order.
#[derive(Clone, PartialEq, Debug)]
pub struct Mounts(Vec<Mounted>);

/// What keeps a file system from being unmounted.
#[derive(Clone, PartialEq, Debug)]
pub struct Holder {
    /// As in `postgres (pid 812)`.
    pub who: String,
    /// As in `has /srv/data/base open`.
    pub how: String,
}

impl System {
    /// What is mounted, asked for together with the other mounts of this run.
    pub fn mounts(&self) -> Result<Arc<Mounts>, Failure> {
        self.shared("mounts", || {
            let path = self.root().join("proc/self/mountinfo");
            let text = std::fs::read(&path)
                .map_err(|error| Failure::io(format!("reading {}", path.display()), &error))?;
            Ok(Arc::new(Mounts::read(&String::from_utf8_lossy(&text))))
        })
    }
}

impl Mounts {
    pub fn read(text: &str) -> Mounts {
        Mounts(text.lines().filter_map(Mounted::read).collect())
    }

    pub fn all(&self) -> &[Mounted] {
        &self.0
    }

    /// The mounts that the way to a path leads over, from the root's to the one that it lies on.
    /// What is hidden under another mount is not on it.
    pub fn way_to(&self, path: &str) -> Vec<&Mounted> {
        let is_top =
            |mount: &&Mounted| !self.0.iter().any(|other| other.id == mount.parent && other.id != mount.id);
        let Some(mut here) = self.0.iter().find(is_top) else { return Vec::new() };
        let mut way = vec![here];
        loop {
            // Of those that are mounted on this one, the way comes over the nearest first.
            let on_the_way = self.0.iter().filter(|mount| {
                mount.parent == here.id && mount.id != here.id && is_at_or_below(path, &mount.point)
            });
            let Some(next) = on_the_way.min_by_key(|mount| mount.point.len()) else { return way };
            if way.len() > self.0.len() {
                return way;
            }
            here = next;
            way.push(here);
        }
    }

    /// What is mounted on exactly this path, and can be seen there: the last one is what is seen.
    pub fn stack_at(&self, path: &str) -> Vec<&Mounted> {
        self.way_to(path).into_iter().filter(|mount| mount.point == path).collect()
    }

    /// The file system that a path lies on, and the path's own name there.
    pub fn within(&self, path: &str) -> Option<((u32, u32), String)> {
        let mount = self.way_to(path).pop()?;
        let rest = path.strip_prefix(mount.point.trim_end_matches('/'))?;
        let inner = format!("{}{rest}", mount.root.trim_end_matches('/'));
        Some((mount.device, if inner.is_empty() { "/".to_owned() } else { inner }))
    }

    /// What is mounted somewhere below a path.
    pub fn below(&self, path: &str) -> Vec<&Mounted> {
        let is_below = |mount: &&Mounted| mount.point != path && is_at_or_below(&mount.point, path);
        self.0.iter().filter(is_below).collect()
    }
}

impl Mounted {
    fn read(line: &str) -> Option<Mounted> {
        let fields: Vec<&str> = line.split(' ').collect();
        // After the sixth field come optional ones, up to a dash.
        let dash = fields.iter().skip(6).position(|field| *field == "-")? + 6;
        let [fstype, source, options] = [1, 2, 3].map(|after| fields.get(dash + after).copied());
        let (major, minor) = fields[2].split_once(':')?;
        let list = |text: &str| text.split(',').map(unescape_octal).collect();
        Some(Mounted {
            id: fields[0].parse().ok()?,
            parent: fields[1].parse().ok()?,
            device: (major.parse().ok()?, minor.parse().ok()?),
            root: unescape_octal(fields[3]),
            point: unescape_octal(fields[4]),
            flags: list(fields[5]),
            fstype: fstype?.to_owned(),
            source: unescape_octal(source?),
            options: list(options?),
        })
    }
}

pub fn is_at_or_below(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `\040` for a blank, as mountinfo and fstab write what would end a field.
pub fn unescape_octal(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'\\').then(|| bytes.get(at + 1..at + 4)).flatten();
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 4;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl System {
    /// What keeps the file system that is mounted on `point` busy: processes that are in it or have
    /// something of it open, loop devices and swap that lie on it.
    pub fn holders(&self, point: &str) -> Vec<Holder> {
        let mut holders = Vec::new();
        for process in self.processes() {
            let name = std::fs::read_to_string(self.root().join(format!("proc/{}/comm", process.pid)));
            let name = name.unwrap_or_default().trim().to_owned();
            if let Some(how) = self.how_it_holds(process.pid, point) {
                holders.push(Holder { who: format!("{name} (pid {})", process.pid), how });
            }
        }
        for device in names_in(&self.root().join("sys/block")) {
            let backing = self.backing_file(&device).filter(|file| is_at_or_below(file, point));
            holders.extend(
                backing
                    .map(|file| Holder { who: format!("/dev/{device}"), how: format!("is made of {file}") }),
            );
        }
        let swaps = std::fs::read_to_string(self.root().join("proc/swaps")).unwrap_or_default();
        for file in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
            let file = unescape_octal(file);
            if is_at_or_below(&file, point) {
                holders.push(Holder { who: "swap".to_owned(), how: format!("is on {file}") });
            }
        }
        holders
    }

    fn how_it_holds(&self, pid: u32, point: &str) -> Option<String> {
        let process = self.root().join(format!("proc/{pid}"));
        let link = |name: &Path| {
            let target = std::fs::read_link(name).ok()?.to_string_lossy().into_owned();
            is_at_or_below(&target, point).then_some(target)
        };
        if let Some(target) = link(&process.join("cwd")) {
            return Some(format!("is in {target}"));
        }
        for file in names_in(&process.join("fd")) {
            if let Some(target) = link(&process.join("fd").join(file)) {
                return Some(format!("has {target} open"));
            }
        }
        if let Some(target) = link(&process.join("exe")).or_else(|| link(&process.join("root"))) {
            return Some(format!("runs from {target}"));
        }
        let maps = std::fs::read_to_string(process.join("maps")).unwrap_or_default();
        let mapped = maps.lines().filter_map(|line| Some(&line[line.find('/')?..]));
        mapped.into_iter().find(|file| is_at_or_below(file, point)).map(|file| format!("has {file} mapped"))
    }

    /// The file that a loop device (`loop0`) is made of.
    pub fn backing_file(&self, device: &str) -> Option<String> {
        let file = self.root().join(format!("sys/block/{device}/loop/backing_file"));
        Some(std::fs::read_to_string(file).ok()?.trim_end().to_owned())
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
850 799 0:127 / / rw,relatime shared:1 - overlay lab-disk rw,lowerdir=/a,upperdir=/b
860 850 8:1 / /srv rw,noexec,relatime shared:2 master:3 - ext4 /dev/sda1 rw,commit=30
861 860 8:1 /data /srv/my\\040data ro,relatime - ext4 /dev/sda1 rw,commit=30
862 850 0:50 / /hidden rw - tmpfs first rw
863 862 0:51 / /hidden/below rw - tmpfs second rw
864 862 0:52 / /hidden rw - tmpfs third rw,size=64k
865 850 8:2 / /srvx rw - xfs /dev/sdb1 rw
866 850 0:53 /caf\\303\\251 /caf\\303\\251 rw - btrfs /dev/sdc1 rw
not a line
1 2 3
";

    fn sources(mounts: &[&Mounted]) -> Vec<String> {
        mounts.iter().map(|mount| mount.source.clone()).collect()
    }

    #[test]
    fn a_line_is_read_with_its_escapes_and_whatever_optional_fields_it_has() {
        let mounts = Mounts::read(TABLE);
        assert_eq!(mounts.all().len(), 8);
        let data = mounts.stack_at("/srv/my data");
        assert_eq!((data.len(), data[0].root.as_str(), data[0].device), (1, "/data", (8, 1)));
        assert_eq!(
            (data[0].flags.join(","), data[0].options.join(",")),
            ("ro,relatime".into(), "rw,commit=30".into())
        );
        assert_eq!(mounts.stack_at("/café")[0].root, "/café");
        assert_eq!(unescape_octal(r"a\040b\134\x\04"), r"a b\\x\04");
    }

    #[test]
    fn what_is_hidden_under_another_mount_is_not_seen() {
        let mounts = Mounts::read(TABLE);
        assert_eq!(sources(&mounts.stack_at("/hidden")), ["first", "third"]);
        assert_eq!(sources(&mounts.stack_at("/hidden/below")), Vec::<String>::new());
        assert_eq!(sources(&mounts.way_to("/srv/x")), ["lab-disk", "/dev/sda1"]);
        assert_eq!(sources(&mounts.way_to("/srvx/y")), ["lab-disk", "/dev/sdb1"]);
        assert_eq!(sources(&mounts.stack_at("/")), ["lab-disk"]);
        assert_eq!(sources(&mounts.below("/srv")), ["/dev/sda1"]);
    }

    #[test]
    fn a_path_has_its_own_name_on_its_file_system() {
        let mounts = Mounts::read(TABLE);
        let table = [
            ("/srv", ((8, 1), "/")),
            ("/srv/a/b", ((8, 1), "/a/b")),
            ("/srv/my data/c", ((8, 1), "/data/c")),
            ("/srv/my data", ((8, 1), "/data")),
            ("/etc", ((0, 127), "/etc")),
            ("/", ((0, 127), "/")),
        ];
        for (path, (device, inner)) in table {
            assert_eq!(mounts.within(path), Some((device, inner.to_owned())), "{path}");
        }
        assert_eq!(Mounts::read("").within("/etc"), None);
    }

    #[test]
    fn who_is_in_a_directory_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let mut child = std::process::Command::new("sleep").arg("30").current_dir(&path).spawn().unwrap();
        // A program that is just being started has no command line yet.
        let looked = (0..500).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            System::machine().holders(path.to_str().unwrap())
        });
        let holders = looked.into_iter().find(|holders| !holders.is_empty()).unwrap_or_default();
        child.kill().unwrap();
        child.wait().unwrap();
        let wanted =
            Holder { who: format!("sleep (pid {})", child.id()), how: format!("is in {}", path.display()) };
        assert_eq!(holders, [wanted]);
    }
}
