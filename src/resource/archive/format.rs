//! What kind of archive a file is, by what it begins with, and reading it entry by entry.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::member::{Raw, RawKind};
use super::zip::Zip;
use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::resource::tool::Tool;
use crate::system::System;
use crate::system::commands::Invocation;

/// What is called with each entry and what it holds.
pub type Visit<'v> = dyn FnMut(Raw, &mut dyn Read) -> Result<(), Failure> + 'v;

/// An archive that can be read, as often as one likes.
pub enum Archive {
    Tar(File),
    TarGz(File),
    Zip(Zip),
}

/// A compression that a program of the host undoes.
struct Packing {
    magic: &'static [u8],
    endings: &'static [&'static str],
    tool: Tool,
}

const PACKINGS: [Packing; 3] = [
    Packing { magic: b"\xfd7zXZ\0", endings: &[".tar.xz", ".txz"], tool: Tool("xz") },
    Packing { magic: b"BZh", endings: &[".tar.bz2", ".tbz2", ".tbz"], tool: Tool("bzip2") },
    Packing { magic: b"\x28\xb5\x2f\xfd", endings: &[".tar.zst", ".tzst"], tool: Tool("zstd") },
];

/// The program that an archive of this name will want.
pub fn tool_for(name: &str) -> Option<Tool> {
    let name = name.to_ascii_lowercase();
    let wants = |packing: &&Packing| packing.endings.iter().any(|ending| name.ends_with(ending));
    PACKINGS.iter().find(wants).map(|packing| packing.tool)
}

/// Opens the archive at `path`; what a program has to unpack first becomes `unpacked`.
pub fn open(system: &System, path: &AbsPath, unpacked: &AbsPath) -> Result<Archive, Failure> {
    let (file, head) = begin(system, path)?;
    let Some(packing) = PACKINGS.iter().find(|packing| head.starts_with(packing.magic)) else {
        return plain(file, &head);
    };
    if let Some(failure) = packing.tool.missing(system) {
        return Err(failure);
    }
    let program = packing.tool.0;
    let line = "umask 077; exec \"$1\" -dc <\"$2\" >\"$3\"";
    let [from, to] = [path, unpacked].map(|path| system.locate(path).display().to_string());
    let output = system.run(&Invocation::new(["/bin/sh", "-c", line, "sh", program, &from, &to]))?;
    if !output.succeeded() {
        return Err(output.failure(format!("unpacking the archive with {program}")));
    }
    let (file, head) = begin(system, unpacked)?;
    match is_tar(&head) {
        true => Ok(Archive::Tar(file)),
        false => Err(Failure::new(format!("what {program} unpacks is no tar archive"))
            .help("a single file is no archive: fetch it with `download`")),
    }
}

fn begin(system: &System, path: &AbsPath) -> Result<(File, Vec<u8>), Failure> {
    let mut file = system.open_file(path)?;
    let mut head = Vec::new();
    let read = (&mut file).take(512).read_to_end(&mut head);
    read.map_err(|error| Failure::io("reading the archive", &error))?;
    Ok((file, head))
}

fn is_tar(head: &[u8]) -> bool {
    // Archives from before 1988 have no magic word; a checksum they have.
    head.get(257..262) == Some(b"ustar") || has_tar_checksum(head) || head.iter().all(|byte| *byte == 0)
}

fn has_tar_checksum(head: &[u8]) -> bool {
    let Ok(block) = <&[u8; 512]>::try_from(head) else { return false };
    let told = tar::Header::from_byte_slice(block).cksum();
    let sum = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) };
    told.is_ok_and(|told| told == block.iter().enumerate().map(sum).sum::<u32>())
}

fn plain(file: File, head: &[u8]) -> Result<Archive, Failure> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Archive::Zip(Zip::read(file)?));
    }
    if head.starts_with(b"\x1f\x8b") {
        let mut inner = Vec::new();
        let mut file = file;
        let rewound =
            file.rewind().and_then(|()| MultiGzDecoder::new(&mut file).take(512).read_to_end(&mut inner));
        rewound.map_err(broken)?;
        return match is_tar(&inner) {
            true => Ok(Archive::TarGz(file)),
            false => Err(Failure::new("what is packed with gzip is no tar archive")
                .help("a single file is no archive: fetch it with `download`")),
        };
    }
    if !head.is_empty() && is_tar(head) {
        return Ok(Archive::Tar(file));
    }
    let shown = String::from_utf8_lossy(&head[..head.len().min(40)]).escape_debug().to_string();
    let what = if head.is_empty() { "it is empty".to_owned() } else { format!("it begins with \"{shown}\"") };
    Err(Failure::new(format!("this is neither a tar archive (plain, gz, xz, bz2, zst) nor a zip: {what}"))
        .help("look at what it is: a URL may give a page instead, where it wants a login"))
}

impl Archive {
    /// Every entry, in the archive's order.
    pub fn each(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let rewind = |file: &mut File| {
            let rewound = file.seek(SeekFrom::Start(0));
            rewound.map(drop).map_err(|error| Failure::io("reading the archive", &error))
        };
        match self {
            Archive::Tar(file) => rewind(file).and_then(|()| each_of_tar(file, visit)),
            Archive::TarGz(file) => {
                rewind(file)?;
                each_of_tar(&mut MultiGzDecoder::new(file), visit)
            }
            Archive::Zip(zip) => zip.each(visit),
        }
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::io("the archive is broken", &error).help("it may have been cut off on its way: give `checksum`")
}

fn each_of_tar(from: &mut dyn Read, visit: &mut Visit<'_>) -> Result<(), Failure> {
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let name = entry.path_bytes().into_owned();
        let kind = match entry.header().entry_type() {
            // Read as what it is not, it would come out as something else.
            EntryType::Regular if is_pax_sparse(&mut entry).map_err(broken)? => {
                RawKind::Other("a sparse file in pax format (`tar --format=gnu` makes one that is known)")
            }
            // Before there was a type for them, directories were known by their last letter.
            EntryType::Regular if name.ends_with(b"/") => RawKind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => RawKind::File,
            EntryType::Directory => RawKind::Directory,
            EntryType::Symlink => RawKind::Symlink(link),
            EntryType::Link => RawKind::HardLink(link),
            EntryType::Char | EntryType::Block => RawKind::Other("a device"),
            EntryType::Fifo => RawKind::Other("a pipe"),
            // What holds for all that follows: git writes the commit's id here.
            EntryType::XGlobalHeader => continue,
            _ => RawKind::Other("of a kind that is not known here"),
        };
        let raw = Raw {
            name,
            kind,
            mode: Some(entry.header().mode().map_err(broken)?),
            modified: entry.header().mtime().ok(),
        };
        visit(raw, &mut entry)?;
    }
    Ok(())
}

fn is_pax_sparse<R: Read>(entry: &mut tar::Entry<'_, R>) -> std::io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_that_an_archive_wants_is_known_by_its_name() {
        for (name, program) in [
            ("app-1.2.tar.xz", Some("xz")),
            ("APP.TXZ", Some("xz")),
            ("app.tar.bz2", Some("bzip2")),
            ("app.tar.zst", Some("zstd")),
            ("app.tar.gz", None),
            ("app.zip", None),
        ] {
            assert_eq!(tool_for(name).map(|tool| tool.0), program, "{name}");
        }
    }
}
