//! Zip archives, by their central directory (PKWARE's APPNOTE.TXT, sections 4.3 to 4.5): what the
//! headers beside the data say of names and lengths is not believed, nor used.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::format::Visit;
use super::member::{Raw, RawKind};
use crate::resource::Failure;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// The longest comment, and the record before it.
const TAIL: u64 = 65_535 + 22;

/// A larger directory is of millions of entries, or a lie.
const MOST_DIRECTORY: u64 = 512 * 1024 * 1024;

/// A link's target is no longer than a path can be.
const MOST_TARGET: u64 = 4096;

pub struct Zip {
    file: File,
    entries: Vec<Entry>,
}

struct Entry {
    name: Vec<u8>,
    is_unix: bool,
    attributes: u32,
    modified: Option<u64>,
    method: u16,
    is_encrypted: bool,
    crc: u32,
    packed: u64,
    size: u64,
    /// Of its local header, from the file's beginning.
    offset: u64,
}

fn broken(what: &str) -> Failure {
    Failure::new(format!("the zip archive is broken: {what}"))
        .help("it may have been cut off on its way: give `checksum`, or try `unzip -t`")
}

fn told(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => broken("it ends too soon"),
        _ => Failure::io("reading the zip archive", &error),
    }
}

/// Fields of fixed length, one after the other.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], Failure> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(|| broken("a record is cut off"))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self, count: usize) -> Result<u64, Failure> {
        Ok(self.bytes(count)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn u16(&mut self) -> Result<u16, Failure> {
        self.number(2).map(|number| u16::try_from(number).unwrap_or(u16::MAX))
    }

    fn u32(&mut self) -> Result<u32, Failure> {
        self.number(4).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }
}

impl Zip {
    pub fn read(mut file: File) -> Result<Zip, Failure> {
        let length = file.seek(SeekFrom::End(0)).map_err(told)?;
        let tail_at = length.saturating_sub(TAIL);
        let tail = at(&mut file, tail_at, length - tail_at)?;
        let end = tail.windows(4).rposition(|window| window == END);
        let end = end.ok_or_else(|| broken("it has no end record"))?;
        let end_at = tail_at + end as u64;
        let mut fields = Fields(&tail[end..]);
        let _magic_and_disks = fields.bytes(8)?;
        let _on_this_disk = fields.u16()?;
        let mut count = u64::from(fields.u16()?);
        let mut size = u64::from(fields.u32()?);
        let mut offset = u64::from(fields.u32()?);
        let comment = usize::from(fields.u16()?);
        let _comment = fields.bytes(comment)?;
        let mut directory_end = end_at;
        let is_64 = count == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff;
        if is_64 && let Some(locator) = end_at.checked_sub(20) {
            let bytes = at(&mut file, locator, 20)?;
            if bytes.starts_with(LOCATOR_64) {
                let mut fields = Fields(&bytes[8..]);
                let end_64 = fields.number(8)?;
                let bytes = at(&mut file, end_64, 56)?;
                if !bytes.starts_with(END_64) {
                    return Err(broken("its zip64 record is not where it should be"));
                }
                let mut fields = Fields(&bytes[32..]);
                (count, size, offset) = (fields.number(8)?, fields.number(8)?, fields.number(8)?);
                directory_end = end_64;
            }
        }
        // What stands before the archive (of one that unpacks itself) shifts all offsets.
        let begin = directory_end.checked_sub(size).filter(|_| size <= MOST_DIRECTORY);
        let begin = begin.ok_or_else(|| broken("its directory is longer than it"))?;
        let shift =
            begin.checked_sub(offset).ok_or_else(|| broken("its directory is not where it should be"))?;
        let directory = at(&mut file, begin, size)?;
        let mut fields = Fields(&directory);
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(entry(&mut fields, shift)?);
        }
        Ok(Zip { file, entries })
    }

    pub fn each(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        for entry in &self.entries {
            let name = String::from_utf8_lossy(&entry.name);
            if entry.is_encrypted {
                return Err(Failure::new(format!("{name} in the zip archive is encrypted"))
                    .help("there is no place for its password: make the archive anew without one"));
            }
            let mut content = content(&mut self.file, entry)?;
            let unix = entry.is_unix.then_some(entry.attributes >> 16).filter(|bits| *bits != 0);
            let kind = match unix.map(|bits| bits & 0o170_000) {
                _ if entry.name.ends_with(b"/") => RawKind::Directory,
                Some(0o120_000) => {
                    let mut target = Vec::new();
                    let read = (&mut content).take(MOST_TARGET).read_to_end(&mut target);
                    read.map_err(|error| content.told(&error, &name))?;
                    RawKind::Symlink(target)
                }
                Some(0o040_000) => RawKind::Directory,
                Some(0o020_000 | 0o060_000) => RawKind::Other("a device"),
                Some(0o010_000 | 0o140_000) => RawKind::Other("a pipe or socket"),
                _ => RawKind::File,
            };
            let raw = Raw { name: entry.name.clone(), kind, mode: unix, modified: entry.modified };
            visit(raw, &mut content)?;
        }
        Ok(())
    }
}

fn at(file: &mut File, offset: u64, count: u64) -> Result<Vec<u8>, Failure> {
    file.seek(SeekFrom::Start(offset)).map_err(told)?;
    let mut bytes = Vec::new();
    file.take(count).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 == count { Ok(bytes) } else { Err(broken("it ends too soon")) }
}

fn entry(fields: &mut Fields<'_>, shift: u64) -> Result<Entry, Failure> {
    if fields.bytes(4)? != ENTRY {
        return Err(broken("an entry of its directory is not where it should be"));
    }
    let made_by = fields.u16()?;
    let _needed = fields.u16()?;
    let flags = fields.u16()?;
    let method = fields.u16()?;
    let (time, date) = (fields.u16()?, fields.u16()?);
    let crc = fields.u32()?;
    let mut packed = u64::from(fields.u32()?);
    let mut size = u64::from(fields.u32()?);
    let lengths = [fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
    let _disk_and_internal = fields.u32()?;
    let attributes = fields.u32()?;
    let mut offset = u64::from(fields.u32()?);
    let mut name = fields.bytes(lengths[0])?.to_vec();
    let mut extra = Fields(fields.bytes(lengths[1])?);
    let _comment = fields.bytes(lengths[2])?;
    let mut modified = dos_time(date, time);
    while extra.0.len() >= 4 {
        let (id, length) = (extra.u16()?, extra.u16()?);
        let mut field = Fields(extra.bytes(usize::from(length))?);
        match id {
            // Lengths that do not fit into 32 bits; only those that do not.
            0x0001 => {
                for number in [&mut size, &mut packed, &mut offset] {
                    if *number == 0xffff_ffff {
                        *number = field.number(8)?;
                    }
                }
            }
            // The time in UTC; the other one is local, of nobody knows where.
            0x5455 if length >= 5 && field.0[0] & 1 == 1 => {
                field.bytes(1)?;
                modified = Some(field.number(4)?);
            }
            _ => {}
        }
    }
    let is_unix = made_by >> 8 == 3 || made_by >> 8 == 19;
    // Some tools of Windows write their own separator.
    if made_by >> 8 == 0 && !name.contains(&b'/') {
        name.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    let offset = offset.checked_add(shift).ok_or_else(|| broken("an entry lies beyond its end"))?;
    let is_encrypted = flags & 1 == 1;
    Ok(Entry { name, is_unix, attributes, modified, method, is_encrypted, crc, packed, size, offset })
}

/// MS-DOS has two seconds to a tick, and begins in 1980.
fn dos_time(date: u16, time: u16) -> Option<u64> {
    let field = |number: u16| i8::try_from(number).ok();
    let year = i16::try_from(date >> 9).ok()? + 1980;
    let (month, day) = (field(date >> 5 & 15)?, field(date & 31)?);
    let (hour, minute, second) = (field(time >> 11)?, field(time >> 5 & 63)?, field((time & 31) * 2)?);
    let moment = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let utc = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(utc.timestamp().as_second()).ok()
}

/// An entry's content, which is compared with its length and its sum when it ends.
struct Content<'f> {
    from: Box<dyn Read + 'f>,
    crc: Crc,
    wanted: u32,
    left: u64,
}

fn content<'f>(file: &'f mut File, entry: &Entry) -> Result<Content<'f>, Failure> {
    let header = at(file, entry.offset, 30)?;
    if !header.starts_with(LOCAL) {
        return Err(broken("an entry is not where its directory says"));
    }
    let mut fields = Fields(&header[26..]);
    let skipped = i64::from(fields.u16()?) + i64::from(fields.u16()?);
    file.seek(SeekFrom::Current(skipped)).map_err(told)?;
    let packed = file.take(entry.packed);
    let from: Box<dyn Read + 'f> = match entry.method {
        0 => Box::new(packed),
        8 => Box::new(DeflateDecoder::new(packed)),
        other => {
            let name = String::from_utf8_lossy(&entry.name);
            return Err(Failure::new(format!(
                "{name} in the zip archive is packed by a method that is not known here ({other})"
            ))
            .help("make the archive anew with `zip`, which uses deflate, or with `tar`"));
        }
    };
    Ok(Content { from, crc: Crc::new(), wanted: entry.crc, left: entry.size })
}

impl Content<'_> {
    fn told(&self, error: &std::io::Error, name: &str) -> Failure {
        broken(&format!("{name}: {error}"))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(buffer)?;
        let wrong = |what: &str| Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned()));
        if count == 0 && !buffer.is_empty() {
            return match (self.left, self.crc.sum() == self.wanted) {
                (0, true) => Ok(0),
                (0, false) => wrong("its content does not fit its checksum"),
                _ => wrong("it is shorter than its directory says"),
            };
        }
        self.crc.update(&buffer[..count]);
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return wrong("it is longer than its directory says"),
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    struct File<'d> {
        name: &'d str,
        mode: u32,
        data: &'d [u8],
        method: u16,
        flags: u16,
    }

    fn file<'d>(name: &'d str, mode: u32, data: &'d [u8]) -> File<'d> {
        File { name, mode, data, method: 8, flags: 0 }
    }

    /// As `zip` writes it, on Unix.
    fn zip(files: &[File<'_>]) -> Vec<u8> {
        let (mut bytes, mut directory) = (b"#!/bin/sh before it\n".to_vec(), Vec::new());
        let shift = bytes.len();
        for file in files {
            let packed = match file.method {
                8 => {
                    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                    encoder.write_all(file.data).unwrap();
                    encoder.finish().unwrap()
                }
                _ => file.data.to_vec(),
            };
            let mut crc = Crc::new();
            crc.update(file.data);
            let mut common = Vec::new();
            common.extend([20, 0]);
            common.extend(file.flags.to_le_bytes());
            common.extend(file.method.to_le_bytes());
            // 2001-09-09, 01:46:40
            common.extend([0xd4, 0x0d, 0x29, 0x2b]);
            common.extend(crc.sum().to_le_bytes());
            common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
            common.extend(u32::try_from(file.data.len()).unwrap().to_le_bytes());
            common.extend(u16::try_from(file.name.len()).unwrap().to_le_bytes());
            common.extend([0, 0]);
            let offset = u32::try_from(bytes.len() - shift).unwrap();
            bytes.extend(LOCAL);
            bytes.extend(&common);
            bytes.extend(file.name.as_bytes());
            bytes.extend(packed);
            directory.extend(ENTRY);
            directory.extend([20, 3]);
            directory.extend(&common);
            directory.extend([0; 6]);
            directory.extend((file.mode << 16).to_le_bytes());
            directory.extend(offset.to_le_bytes());
            directory.extend(file.name.as_bytes());
        }
        let offset = u32::try_from(bytes.len() - shift).unwrap();
        bytes.extend(&directory);
        bytes.extend(END);
        bytes.extend([0; 4]);
        let count = u16::try_from(files.len()).unwrap();
        bytes.extend(count.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend([9, 0]);
        bytes.extend(b"a comment");
        bytes
    }

    /// Each entry in a line.
    fn read(bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut seen = Vec::new();
        Zip::read(file)?.each(&mut |raw, content| {
            let mut data = String::new();
            content.read_to_string(&mut data).map_err(|error| Failure::io("content", &error))?;
            let kind = match raw.kind {
                RawKind::File => "file".to_owned(),
                RawKind::Directory => "directory".to_owned(),
                RawKind::Symlink(target) => format!("link to {}", String::from_utf8_lossy(&target)),
                RawKind::Other(what) => what.to_owned(),
                RawKind::HardLink(_) => unreachable!(),
            };
            let name = String::from_utf8_lossy(&raw.name).into_owned();
            let (mode, time) = (raw.mode.unwrap_or(0) & 0o7777, raw.modified.unwrap_or(0));
            seen.push(format!("{name} {kind} {mode:o} {time} {data}"));
            Ok(())
        })?;
        Ok(seen)
    }

    fn sample() -> Vec<u8> {
        zip(&[
            file("d/", 0o040_755, b""),
            file("d/text", 0o100_640, b"text, text, text, text"),
            File { method: 0, ..file("d/stored", 0o100_755, b"as it is") },
            File { method: 0, ..file("l", 0o120_777, b"d/text") },
            File { method: 0, ..file("p", 0o010_644, b"") },
        ])
    }

    #[test]
    fn entries_are_read_by_the_central_directory() {
        let seen = read(&sample()).unwrap();
        let wanted = [
            "d/ directory 755 1000000000 ",
            "d/text file 640 1000000000 text, text, text, text",
            "d/stored file 755 1000000000 as it is",
            "l link to d/text 777 1000000000 ",
            "p a pipe or socket 644 1000000000 ",
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let encrypted = zip(&[File { flags: 1, ..file("a", 0o100_644, b"a") }]);
        assert!(read(&encrypted).unwrap_err().reason.contains("a in the zip archive is encrypted"));
        let lzma = zip(&[File { method: 14, ..file("a", 0o100_644, b"a") }]);
        assert!(read(&lzma).unwrap_err().reason.contains("not known here (14)"));
        let mut changed = zip(&[File { method: 0, ..file("a", 0o100_644, b"some text") }]);
        let at = changed.windows(4).position(|four| four == b"some").unwrap();
        changed[at] = b'S';
        let said = read(&changed).unwrap_err().reason;
        assert!(said.contains("its content does not fit its checksum"), "{said}");
    }

    #[test]
    fn no_change_of_a_byte_is_more_than_an_error() {
        let whole = sample();
        for cut in 0..whole.len() - "a comment".len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                // Some fields are not looked at: what counts is that nothing panics.
                drop(read(&changed));
            }
        }
    }
}
