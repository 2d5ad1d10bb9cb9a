//! /etc/fstab: the lines of one mount point. All others keep their bytes, their order and their
//! comments.

use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::system::System;
use crate::system::files::{Access, Kind, Meta, Seen};
use crate::system::mounts::unescape_octal;

/// Whoever edits it and tells systemd so holds this turn.
pub const TURN: &str = "fstab";

pub const PATH: &str = "/etc/fstab";

/// The six fields of a line, unescaped.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    pub device: String,
    pub point: String,
    pub fstype: String,
    pub options: String,
    pub dump: String,
    pub pass: String,
}

/// The file as it is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table {
    /// Each with its end.
    lines: Vec<Vec<u8>>,
}

/// What is to become of the lines of a mount point.
#[derive(Clone, PartialEq, Debug)]
pub struct Edit {
    /// One of these paths (one is the other without its links).
    pub points: Vec<String>,
    /// The one line that is to be there; None: none is.
    pub line: Option<Entry>,
}

impl Table {
    pub fn read(bytes: &[u8]) -> Table {
        Table { lines: bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// The lines of a mount point, in their order.
    pub fn entries(&self, points: &[String]) -> Vec<Entry> {
        self.places(points).into_iter().filter_map(|at| Entry::read(&self.lines[at])).collect()
    }

    fn places(&self, points: &[String]) -> Vec<usize> {
        let is_one = |line: &[u8]| Entry::read(line).is_some_and(|entry| points.contains(&entry.point));
        (0..self.lines.len()).filter(|at| is_one(&self.lines[*at])).collect()
    }

    /// The one of several lines that the declared one takes the place of: that of the same device,
    /// else the first.
    pub fn chosen<'a>(entries: &'a [Entry], device: &str) -> Option<&'a Entry> {
        entries.iter().find(|entry| entry.device == device).or(entries.first())
    }

    pub fn edit(&mut self, edit: &Edit) {
        let places = self.places(&edit.points);
        let Some(line) = &edit.line else {
            places.iter().rev().for_each(|at| drop(self.lines.remove(*at)));
            return;
        };
        let entries = self.entries(&edit.points);
        let chosen = Table::chosen(&entries, &line.device).and_then(|chosen| {
            places.iter().copied().find(|at| Entry::read(&self.lines[*at]).as_ref() == Some(chosen))
        });
        match chosen {
            Some(chosen) => {
                self.lines[chosen] = line.written_over(&self.lines[chosen]);
                places.iter().rev().filter(|at| **at != chosen).for_each(|at| drop(self.lines.remove(*at)));
            }
            None => self.insert(line),
        }
    }

    /// At the end, but before what lies below it: `mount -a` goes from top to bottom.
    fn insert(&mut self, line: &Entry) {
        let is_below = |text: &[u8]| {
            let point = Entry::read(text).and_then(|entry| entry.point.parse::<AbsPath>().ok());
            let own = line.point.parse::<AbsPath>().ok();
            point.zip(own).is_some_and(|(point, own)| point.is_below(&own))
        };
        let at = self.lines.iter().position(|text| is_below(text));
        let mut at = at.unwrap_or(self.lines.len());
        // The comment over a line is about that line; that at the top is about the file.
        let comment =
            self.lines[..at].iter().rev().take_while(|text| text.trim_ascii().starts_with(b"#")).count();
        if at < self.lines.len() && comment < at {
            at -= comment;
        }
        if let Some(before) = at.checked_sub(1).and_then(|before| self.lines.get_mut(before))
            && !before.ends_with(b"\n")
        {
            before.push(b'\n');
        }
        self.lines.insert(at, format!("{line}\n").into_bytes());
    }
}

impl Entry {
    /// None: a comment, an empty line, or what no program would take for an entry.
    fn read(line: &[u8]) -> Option<Entry> {
        let text = String::from_utf8_lossy(line);
        let mut fields = text.split_ascii_whitespace();
        let device = fields.next().filter(|first| !first.starts_with('#'))?;
        let (point, fstype) = (fields.next()?, fields.next()?);
        let point = unescape_octal(point);
        let mut field = |missing: &str| unescape_octal(fields.next().unwrap_or(missing));
        Some(Entry {
            device: without_quotes(&unescape_octal(device)),
            // `/srv/` is /srv.
            point: point.parse::<AbsPath>().map_or(point, |path| path.to_string()),
            fstype: unescape_octal(fstype),
            options: field("defaults"),
            dump: field("0"),
            pass: field("0"),
        })
    }

    fn fields(&self) -> [String; 6] {
        [&self.device, &self.point, &self.fstype, &self.options, &self.dump, &self.pass]
            .map(|field| escape(field))
    }

    /// The line with these fields, and what stands between and behind them as it was. What is right
    /// already keeps its spelling.
    fn written_over(&self, line: &[u8]) -> Vec<u8> {
        let old = Entry::read(line);
        let is_same = |at: usize| old.as_ref().is_some_and(|old| old.fields()[at] == self.fields()[at]);
        let (mut new, mut rest, mut count) = (Vec::new(), line, 0);
        while count < 6 {
            let start = rest.iter().position(|byte| !byte.is_ascii_whitespace());
            let Some(start) = start else { break };
            new.extend_from_slice(&rest[..start]);
            rest = &rest[start..];
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            match is_same(count) {
                true => new.extend_from_slice(&rest[..end]),
                false => new.extend_from_slice(self.fields()[count].as_bytes()),
            }
            rest = &rest[end..];
            count += 1;
        }
        // Fields that were left out, as far as they say more than leaving them out.
        let defaults = ["", "", "", "defaults", "0", "0"];
        let fields = self.fields();
        let last = (count..6).rev().find(|at| fields[*at] != defaults[*at]).map_or(count, |last| last + 1);
        for field in &fields[count..last] {
            new.push(b' ');
            new.extend_from_slice(field.as_bytes());
        }
        new.extend_from_slice(rest);
        new
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fields().join(" "))
    }
}

/// `LABEL="my disk"`: the quotes are mount(8)'s.
fn without_quotes(device: &str) -> String {
    let Some((tag, value)) = device.split_once('=') else { return device.to_owned() };
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    bare.map_or(device.to_owned(), |bare| format!("{tag}={bare}"))
}

/// fstab(5): what would end a field or begin a comment is written as its octal code.
fn escape(field: &str) -> String {
    let mut escaped = String::with_capacity(field.len());
    for (at, c) in field.char_indices() {
        match c {
            ' ' | '\t' | '\n' | '\r' | '\\' => escaped.push_str(&format!("\\{:03o}", u32::from(c))),
            '#' if at == 0 => escaped.push_str("\\043"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn path() -> AbsPath {
    PATH.parse().expect("it is an absolute path")
}

/// The table, read once for all mounts that are asked for together. There may be no such file.
pub fn read(system: &System) -> Result<Table, Failure> {
    let bytes = system.shared("fstab", || system.read_if_there(&path()))?;
    Ok(Table::read(&bytes.unwrap_or_default()))
}

/// Makes the edit in the file as it is by now; others may have theirs.
pub fn edit(system: &System, edit: &Edit) -> Result<(), Failure> {
    if let Seen::There(Meta { kind: Kind::Symlink, .. }) = system.see(&path())? {
        return Err(Failure::new(format!("{PATH} is a symlink, which something else keeps"))
            .help("declare the mount where that is made from"));
    }
    system.edit_file(&path(), Access::default(), |before| {
        let before = before.unwrap_or_default();
        let mut table = Table::read(before);
        table.edit(edit);
        let after = table.bytes();
        Ok((after != before).then_some(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "\
# /etc/fstab: static file system information.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
UUID=aaaa /               ext4    errors=remount-ro 0       1

# the data; ask Ada
LABEL=\"my\\040disk\"\t/srv/data/\text4\tdefaults,noatime\t0\t2   # two
/dev/sdb1  /srv/my\\040docs  xfs
/dev/sdc1 none swap sw 0 0
incomplete line
/dev/sdd1 /mnt auto noauto 0 0
/dev/sde1 /mnt vfat noauto,user 0 0";

    fn entry(text: &str) -> Entry {
        Entry::read(text.as_bytes()).unwrap()
    }

    fn edited(text: &str, point: &str, line: Option<&str>) -> String {
        let mut table = Table::read(text.as_bytes());
        table.edit(&Edit { points: vec![point.to_owned()], line: line.map(entry) });
        String::from_utf8(table.bytes()).unwrap()
    }

    #[test]
    fn lines_are_read_as_mount_reads_them() {
        let table = Table::read(FSTAB.as_bytes());
        let of = |point: &str| table.entries(&[point.to_owned()]);
        assert_eq!(of("/srv/data")[0].device, "LABEL=my disk");
        assert_eq!(of("/srv/my docs"), [entry("/dev/sdb1 /srv/my\\040docs xfs defaults 0 0")]);
        assert_eq!(of("/mnt").len(), 2);
        assert_eq!((of("none").len(), of("/nowhere").len(), of("line").len()), (1, 0, 0));
        assert_eq!(table.bytes(), FSTAB.as_bytes());
    }

    #[test]
    fn a_line_that_changes_keeps_its_place_its_spacing_and_all_other_lines() {
        let new = edited(FSTAB, "/srv/data", Some("LABEL=my\\040disk /srv/data ext4 noatime 0 2"));
        let wanted = FSTAB.replace("\tdefaults,noatime\t", "\tnoatime\t");
        assert_eq!(new, wanted, "the quotes are a matter of taste");
        let new = edited(FSTAB, "/srv/my docs", Some("/dev/sdb2 /srv/my\\040docs xfs defaults 0 0"));
        assert_eq!(new, FSTAB.replace("/dev/sdb1 ", "/dev/sdb2 "), "what is left out stays so");
        let new = edited(FSTAB, "/srv/my docs", Some("/dev/sdb1 /srv/my\\040docs xfs noatime 0 2"));
        assert_eq!(new, FSTAB.replace("docs  xfs\n", "docs  xfs noatime 0 2\n"));
        let new = edited(FSTAB, "/", Some("UUID=bbbb / ext4 errors=remount-ro 0 1"));
        assert_eq!(new, FSTAB.replace("UUID=aaaa", "UUID=bbbb"));
    }

    #[test]
    fn one_line_is_left_of_several_and_none_where_there_is_to_be_none() {
        let new = edited(FSTAB, "/mnt", Some("/dev/sde1 /mnt vfat noauto,user 0 0"));
        assert_eq!(new, FSTAB.replace("/dev/sdd1 /mnt auto noauto 0 0\n", ""));
        let new = edited(FSTAB, "/mnt", Some("/dev/sdf1 /mnt ext4 defaults 0 0"));
        let wanted = FSTAB.replace("/dev/sdd1 /mnt auto noauto 0 0", "/dev/sdf1 /mnt ext4 defaults 0 0");
        assert_eq!(new, wanted.replace("/dev/sde1 /mnt vfat noauto,user 0 0", ""));
        let gone = edited(FSTAB, "/mnt", None);
        assert_eq!(gone, FSTAB[..FSTAB.find("/dev/sdd1").unwrap()]);
        assert_eq!(edited(FSTAB, "/nowhere", None), FSTAB);
    }

    #[test]
    fn a_new_line_stands_at_the_end_but_before_what_lies_below_it() {
        let line = "tmpfs /var/cache/x tmpfs size=64m 0 0";
        assert_eq!(edited(FSTAB, "/var/cache/x", Some(line)), format!("{FSTAB}\n{line}\n"));
        assert_eq!(edited("", "/var/cache/x", Some(line)), format!("{line}\n"));
        let parent = "/dev/sdz1 /srv ext4 defaults 0 2";
        let new = edited(FSTAB, "/srv", Some(parent));
        let wanted = FSTAB.replace("# the data; ask Ada\n", &format!("{parent}\n# the data; ask Ada\n"));
        assert_eq!(new, wanted);
        let head = "# the head of the file\n/dev/a /srv/a ext4 defaults 0 0\n";
        let new = edited(head, "/srv", Some(parent));
        assert_eq!(new, head.replace("/dev/a", &format!("{parent}\n/dev/a")));
    }

    #[test]
    fn bytes_that_are_no_text_and_windows_ends_of_lines_stay() {
        let bytes = b"# caf\xe9\r\n/dev/a /a ext4 defaults 0 0\r\n";
        let mut table = Table::read(bytes);
        table.edit(&Edit { points: vec!["/a".into()], line: Some(entry("/dev/b /a ext4 defaults 0 0")) });
        assert_eq!(table.bytes(), b"# caf\xe9\r\n/dev/b /a ext4 defaults 0 0\r\n");
    }

    #[test]
    fn what_would_end_a_field_is_escaped_and_comes_back() {
        let odd = Entry {
            device: "#dev\\x".into(),
            point: "/a b\tc".into(),
            fstype: "x".into(),
            options: "o=#1".into(),
            dump: "0".into(),
            pass: "0".into(),
        };
        assert_eq!(odd.to_string(), "\\043dev\\134x /a\\040b\\011c x o=#1 0 0");
        assert_eq!(entry(&odd.to_string()), odd);
    }
}
