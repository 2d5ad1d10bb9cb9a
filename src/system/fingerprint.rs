//! What a path holds, as one short text that is equal exactly where the content is: what
//! `on_change_of` and `restart_on` compare.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::System;
use crate::attribute::{AbsPath, Algorithm, Checksum, hex};
use crate::failure::Failure;

/// What is not there has this fingerprint: to appear is a change like any other.
pub const ABSENT: &str = "absent";

impl System {
    /// A plain file's is the sha256 of its bytes, as `sha256sum` prints it; a directory's is made
    /// of the names and contents of all that lies below it. Owner, mode and times are no content.
    /// A link stands for the file it leads to; a link to a directory that lies in a directory is
    /// not entered, and counts by its target. What git keeps in a `.git` is left out.
    pub fn fingerprint(&self, path: &AbsPath) -> Result<String, Failure> {
        self.fingerprint_at(&self.locate(path), true)
    }

    /// The checksum of the plain file at `path`; a link in its place is not followed.
    pub fn checksum(&self, path: &AbsPath, algorithm: Algorithm) -> Result<Checksum, Failure> {
        let mut file = self.open_file(path)?;
        let (mut hasher, mut block) = (algorithm.hasher(), vec![0; 64 * 1024]);
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&block[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io(format!("reading {path}"), &error)),
            }
            self.still_in_time(path.as_path())?;
        }
    }

    fn fingerprint_at(&self, path: &Path, enters_linked: bool) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::io(format!("reading {}", path.display()), &error);
        self.before("stat").map_err(|errno| failed(errno.into()))?;
        let Some(itself) = found(fs::symlink_metadata(path)).map_err(failed)? else {
            return Ok(ABSENT.to_owned());
        };
        if !itself.is_symlink() {
            return self.content(path, &itself);
        }
        match found(fs::metadata(path)).map_err(failed)? {
            Some(there) if there.is_file() || enters_linked => self.content(path, &there),
            _ => {
                let target = fs::read_link(path).map_err(failed)?;
                Ok(format!("link:{}", hex(&Sha256::digest(target.as_os_str().as_bytes()))))
            }
        }
    }

    fn content(&self, path: &Path, metadata: &Metadata) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::io(format!("reading {}", path.display()), &error);
        if metadata.is_dir() {
            return self.directory_content(path);
        }
        if !metadata.is_file() {
            // Reading a pipe or a device takes something from it, or never ends.
            return Ok("special".to_owned());
        }
        self.before("read").map_err(|errno| failed(errno.into()))?;
        let mut file = File::open(path).map_err(failed)?;
        let (mut digest, mut block) = (Sha256::new(), vec![0; 64 * 1024]);
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(hex(&digest.finalize())),
                Ok(count) => digest.update(&block[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
            self.still_in_time(path)?;
        }
    }

    fn directory_content(&self, path: &Path) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::io(format!("reading {}", path.display()), &error);
        self.before("list").map_err(|errno| failed(errno.into()))?;
        let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(failed)?.collect();
        let mut names: Vec<_> = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name()).collect();
        names.retain(|name| !is_of_the_checkout(name));
        names.sort();
        let mut digest = Sha256::new();
        for name in names {
            self.still_in_time(path)?;
            let below = self.fingerprint_at(&path.join(&name), false)?;
            // No name holds a NUL, and no fingerprint a newline: two trees never read alike.
            digest.update(name.as_bytes());
            digest.update([0]);
            digest.update(below.as_bytes());
            digest.update(b"\n");
        }
        Ok(format!("directory:{}", hex(&digest.finalize())))
    }

    fn still_in_time(&self, path: &Path) -> Result<(), Failure> {
        if self.time_left().is_zero() {
            return Err(Failure::new(format!("reading {} did not end within the timeout", path.display()))
                .help("name a smaller file or directory, or give the resource a longer `timeout`"));
        }
        Ok(())
    }
}

/// None for what is not there.
fn found(metadata: std::io::Result<Metadata>) -> std::io::Result<Option<Metadata>> {
    match metadata {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if leads_to_nothing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// There is nothing: no such file, one in the place of a parent directory, or links that lead in a
/// circle.
pub(crate) fn leads_to_nothing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// A checkout's content is its files: what git keeps beside them changes with every fetch.
pub(crate) fn is_of_the_checkout(name: &std::ffi::OsStr) -> bool {
    name == ".git"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    fn fingerprint(root: &Path, path: &str) -> String {
        System::under(root).fingerprint(&path.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_files_fingerprint_is_its_sha256_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), "hello\n").unwrap();
        let of_hello = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        assert_eq!(fingerprint(root.path(), "/f"), of_hello);
        fs::set_permissions(root.path().join("f"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fingerprint(root.path(), "/f"), of_hello);
        symlink("f", root.path().join("link")).unwrap();
        assert_eq!(fingerprint(root.path(), "/link"), of_hello);
        assert_eq!(fingerprint(root.path(), "/none"), ABSENT);
        assert_eq!(fingerprint(root.path(), "/f/below"), ABSENT);
        symlink("ring", root.path().join("ring")).unwrap();
        assert!(fingerprint(root.path(), "/ring").starts_with("link:"));
        assert_eq!(fingerprint(root.path(), "/ring/below"), ABSENT);
    }

    #[test]
    fn every_change_below_a_directory_changes_its_fingerprint() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("d/sub")).unwrap();
        fs::write(at("d/a"), "1").unwrap();
        let changes: [&dyn Fn(); 8] = [
            &|| fs::write(at("d/a"), "2").unwrap(),
            &|| fs::write(at("d/sub/b"), "").unwrap(),
            &|| fs::rename(at("d/sub/b"), at("d/sub/c")).unwrap(),
            &|| fs::create_dir(at("d/empty")).unwrap(),
            &|| symlink("nowhere", at("d/link")).unwrap(),
            &|| fs::write(at("d/nowhere"), "now it leads somewhere").unwrap(),
            &|| fs::write(at("d/nowhere"), "else").unwrap(),
            &|| fs::remove_file(at("d/a")).unwrap(),
        ];
        let mut seen = vec![fingerprint(root.path(), "/d")];
        for change in changes {
            change();
            let now = fingerprint(root.path(), "/d");
            assert!(!seen.contains(&now), "a change was not seen: {now}");
            seen.push(now);
        }
    }

    #[test]
    fn a_ring_of_links_and_a_pipe_do_not_hold_it_up() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        symlink("../d", root.path().join("d/up")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(root.path().join("d/pipe")).status().unwrap();
        assert!(made.success());
        assert!(fingerprint(root.path(), "/d").starts_with("directory:"));
        assert_eq!(fingerprint(root.path(), "/d/pipe"), "special");
        assert!(fingerprint(root.path(), "/d/up").starts_with("directory:"));
    }

    #[test]
    fn it_ends_with_the_operations_time() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("f"), "x").unwrap();
        let system = System::under(root.path()).within(Duration::ZERO);
        let failure = system.fingerprint(&"/f".parse().unwrap()).unwrap_err();
        assert!(failure.reason.contains("did not end within the timeout"), "{}", failure.reason);
    }
}
