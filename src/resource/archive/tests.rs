use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::system::faults::Faults;

fn archive(attributes: Value) -> Archive {
    let mut item = attributes;
    item["archive"] = json!("/opt/app");
    if item.get("url").is_none() {
        item["url"] = json!("file:///srv/app.tar");
    }
    let archive: Archive = serde_json::from_value(item).unwrap();
    assert_eq!(archive, serde_json::from_str(&serde_json::to_string(&archive).unwrap()).unwrap());
    assert_eq!(archive.validate(), []);
    archive
}

/// Root's machine, below a directory of its own.
fn machine() -> Option<(tempfile::TempDir, System)> {
    let root = tempfile::tempdir().unwrap();
    for directory in ["opt", "srv", "etc", "var/lib"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1234:1234::/:/bin/sh\n")
        .unwrap();
    std::fs::write(root.path().join("etc/group"), "root:x:0:\napp:x:1234:\n").unwrap();
    let system = System::under(root.path());
    rustix::process::geteuid().is_root().then_some((root, system))
}

/// Adds an entry, whatever its name: the builder of the crate would refuse some.
fn add(
    builder: &mut tar::Builder<Vec<u8>>,
    name: &str,
    kind: tar::EntryType,
    link: &str,
    mode: u32,
    data: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    header.set_uid(4321);
    header.set_gid(4321);
    header.set_mtime(1_000_000_000);
    header.set_cksum();
    builder.append(&header, data).unwrap();
}

fn files(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in entries {
        add(&mut builder, name, tar::EntryType::Regular, "", 0o644, data.as_bytes());
    }
    builder.into_inner().unwrap()
}

fn put(root: &Path, bytes: &[u8]) -> String {
    std::fs::write(root.join("srv/app.tar"), bytes).unwrap();
    format!("sha256:{}", crate::attribute::sha256_hex(bytes))
}

fn needed(check: Check) -> Needed {
    match check {
        Check::Needs(needed) => needed,
        other => panic!("nothing is needed: {other:?}"),
    }
}

fn converge(archive: &Archive, system: &System) -> Result<Check, Failure> {
    match archive.check(system)? {
        Check::Needs(needed) => {
            archive.apply(system, &needed)?;
            archive.check(system)
        }
        other => Ok(other),
    }
}

/// Everything below a directory: path, mode, owner, content.
fn look(root: &Path) -> Vec<String> {
    fn below(path: &Path, top: &Path, found: &mut Vec<String>) {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            let meta = std::fs::symlink_metadata(&entry).unwrap();
            let what = if meta.is_symlink() {
                std::fs::read_link(&entry).unwrap().display().to_string()
            } else if meta.is_file() {
                String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).chars().take(20).collect()
            } else {
                String::new()
            };
            let name = entry.strip_prefix(top).unwrap().display();
            found.push(format!("{name} {:o} {}:{} {what}", meta.mode(), meta.uid(), meta.gid()));
            if meta.is_dir() {
                below(&entry, top, found);
            }
        }
    }
    let mut found = Vec::new();
    below(&root.join("opt"), root, &mut found);
    found
}

#[test]
fn everything_an_archive_may_hold_is_unpacked() {
    let Some((root, system)) = machine() else { return };
    let mut builder = tar::Builder::new(Vec::new());
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    add(&mut builder, "app-1/", Directory, "", 0o2750, b"");
    add(&mut builder, "app-1/bin/app", Regular, "", 0o4755, b"binary");
    add(&mut builder, "app-1/bin/same", Link, "app-1/bin/app", 0o755, b"");
    add(&mut builder, "app-1/bin/a", Symlink, "app", 0o777, b"");
    add(&mut builder, "app-1/locked/", Directory, "", 0o555, b"");
    add(&mut builder, "app-1/locked/f", Regular, "", 0o400, b"x");
    put(root.path(), &builder.into_inner().unwrap());
    let app = archive(json!({"strip": 1, "owner": "app", "group": "app"}));
    let changes = needed(app.check(&system).unwrap()).changes;
    let names: Vec<_> = changes.iter().map(|change| change.attribute.as_str()).collect();
    assert_eq!(names, ["state", "archive", "owner", "group"]);
    assert!(!root.path().join("opt/app").exists(), "a check changes nothing");
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    let meta = |name: &str| std::fs::symlink_metadata(root.path().join("opt/app").join(name)).unwrap();
    assert_eq!(meta("bin/app").mode() & 0o7777, 0o755, "no setuid bit out of an archive");
    assert_eq!((meta("bin/app").mtime(), meta("bin/app").uid()), (1_000_000_000, 1234));
    assert_eq!(meta("bin/app").ino(), meta("bin/same").ino());
    assert_eq!((meta("locked").mode() & 0o777, meta("locked/f").mode() & 0o777), (0o555, 0o400));
    assert_eq!((meta("bin").mode() & 0o777, meta("bin/a").uid()), (0o755, 1234));
    assert_eq!(look(root.path()).len(), 7);
    assert_eq!(app.check(&system), Ok(Check::Holds));
}

#[test]
fn an_archive_with_dotdot_in_it_is_refused_before_anything_is_written() {
    let Some((root, system)) = machine() else { return };
    use tar::EntryType::{Block, Link, Regular, Symlink};
    for (name, kind, link) in [
        ("../evil", Regular, ""),
        ("a/../../evil", Regular, ""),
        ("/etc/passwd", Regular, ""),
        ("l", Symlink, "../../etc"),
        ("l", Symlink, "/etc/passwd"),
        ("h", Link, "../../etc/passwd"),
        ("d", Block, ""),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, "good", Regular, "", 0o644, b"good");
        add(&mut builder, name, kind, link, 0o644, b"");
        put(root.path(), &builder.into_inner().unwrap());
        for before in [false, true] {
            if before {
                std::fs::create_dir_all(root.path().join("opt/app")).unwrap();
            }
            let was = look(root.path());
            let said = converge(&archive(json!({})), &system).unwrap_err();
            assert!(
                said.reason.starts_with("the archive is refused, and nothing of it was written"),
                "{said:?}"
            );
            assert_eq!(look(root.path()), was, "{name}");
        }
        std::fs::remove_dir_all(root.path().join("opt/app")).unwrap();
    }
}

#[test]
fn what_is_there_already_stays_and_what_differs_is_replaced() {
    let Some((root, system)) = machine() else { return };
    put(root.path(), &files(&[("same", "same"), ("other", "new"), ("d/f", "f"), ("l/f", "f")]));
    let opt = root.path().join("opt/app");
    std::fs::create_dir_all(opt.join("d")).unwrap();
    std::fs::create_dir_all(opt.join("real")).unwrap();
    symlink("real", opt.join("l")).unwrap();
    std::fs::write(opt.join("same"), "same").unwrap();
    std::fs::write(opt.join("other"), "old").unwrap();
    std::fs::write(opt.join("foreign"), "mine").unwrap();
    let inode = std::fs::metadata(opt.join("same")).unwrap().ino();
    let app = archive(json!({"owner": "app"}));
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    assert_eq!(
        std::fs::metadata(opt.join("same")).unwrap().ino(),
        inode,
        "it was right, and is the same file"
    );
    assert_eq!(std::fs::metadata(opt.join("same")).unwrap().uid(), 1234);
    assert_eq!(std::fs::metadata(opt.join("d")).unwrap().uid(), 0, "that directory was there before");
    assert_eq!(std::fs::read(opt.join("other")).unwrap(), b"new");
    assert_eq!(std::fs::read(opt.join("real/f")).unwrap(), b"f", "through a link that root made");
    assert_eq!(std::fs::read(opt.join("foreign")).unwrap(), b"mine");
    assert!(std::fs::symlink_metadata(opt.join("l")).unwrap().is_symlink());
}

#[test]
fn what_is_of_another_kind_in_the_way_is_named_before_anything_is_moved() {
    let Some((root, system)) = machine() else { return };
    put(root.path(), &files(&[("a", "a"), ("d/f", "f"), ("e", "e")]));
    let opt = root.path().join("opt/app");
    std::fs::create_dir_all(opt.join("e/full")).unwrap();
    std::fs::write(opt.join("d"), "a file").unwrap();
    let was = look(root.path());
    let said = converge(&archive(json!({})), &system).unwrap_err();
    assert!(
        said.reason.starts_with("/opt/app/d is a file, and something else in the archive (and 1 more"),
        "{said:?}"
    );
    assert_eq!(look(root.path()), was);
    std::fs::remove_dir_all(&opt).unwrap();
    symlink("/srv", &opt).unwrap();
    let said = archive(json!({})).check(&system).unwrap_err();
    assert_eq!(said.reason, "/opt/app is a symlink, and a directory is declared");
}

#[test]
fn missing_and_changed_entries_are_named_and_mended() {
    let Some((root, system)) = machine() else { return };
    put(root.path(), &files(&[("a", "aaaa"), ("d/b", "bbbb"), ("d/c", "cccc"), ("e", "eeee")]));
    let app = archive(json!({}));
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    let opt = root.path().join("opt/app");
    let kept = std::fs::metadata(opt.join("a")).unwrap().ino();
    std::fs::remove_file(opt.join("d/b")).unwrap();
    std::fs::write(opt.join("d/c"), "CCCC").unwrap();
    // Written again with what it held: no change.
    std::fs::write(opt.join("e"), "eeee").unwrap();
    let changes = needed(app.check(&system).unwrap()).changes;
    assert_eq!(changes[0].from.as_deref(), Some("2 off: d/b (missing), d/c (changed)"));
    assert_eq!((changes[0].attribute.as_str(), changes.len()), ("entries", 1));
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    assert_eq!(std::fs::read(opt.join("d/c")).unwrap(), b"cccc");
    assert_eq!(std::fs::metadata(opt.join("a")).unwrap().ino(), kept);
    std::fs::remove_dir_all(opt.join("d")).unwrap();
    std::fs::write(opt.join("d"), "in the way").unwrap();
    assert!(converge(&app, &system).is_err());
    std::fs::remove_file(opt.join("d")).unwrap();
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
}

#[test]
fn with_creates_only_these_are_looked_at() {
    let Some((root, system)) = machine() else { return };
    let first = put(root.path(), &files(&[("bin/app", "1"), ("data", "empty")]));
    let app = |sum: &str| archive(json!({"creates": "/opt/app/bin/app", "checksum": sum}));
    let opt = root.path().join("opt/app");
    std::fs::create_dir_all(opt.join("bin")).unwrap();
    std::fs::write(opt.join("bin/app"), "by hand").unwrap();
    assert_eq!(app(&first).check(&system), Ok(Check::Holds), "somebody else has unpacked it");
    std::fs::remove_file(opt.join("bin/app")).unwrap();
    let changes = needed(app(&first).check(&system).unwrap()).changes;
    assert_eq!(changes[1], Change::new("creates", None, Some("/opt/app/bin/app".into())));
    assert_eq!(converge(&app(&first), &system), Ok(Check::Holds));
    std::fs::write(opt.join("data"), "of the application").unwrap();
    assert_eq!(converge(&app(&first), &system), Ok(Check::Holds));
    assert_eq!(std::fs::read(opt.join("data")).unwrap(), b"of the application");
    let second = put(root.path(), &files(&[("bin/app", "2")]));
    assert_eq!(converge(&app(&second), &system), Ok(Check::Holds));
    assert_eq!(std::fs::read(opt.join("bin/app")).unwrap(), b"2");
    assert_eq!(std::fs::read(opt.join("data")).unwrap(), b"of the application", "it was changed, and stays");
    let never = archive(json!({"creates": "/opt/app/never", "checksum": second}));
    let left = needed(converge(&never, &system).unwrap()).changes;
    assert_eq!(left[0], Change::new("creates", None, Some("/opt/app/never".into())));
}

#[test]
fn another_archive_takes_what_only_the_old_one_had() {
    let Some((root, system)) = machine() else { return };
    let first = files(&[
        ("a", "1"),
        ("old/x", "x"),
        ("old/kept", "k"),
        ("gone/y", "y"),
        ("turn", "t"),
        ("back/z", "z"),
    ]);
    let first = put(root.path(), &first);
    assert_eq!(converge(&archive(json!({"checksum": first})), &system), Ok(Check::Holds));
    let opt = root.path().join("opt/app");
    std::fs::write(opt.join("old/kept"), "changed by hand").unwrap();
    std::fs::write(opt.join("old/mine"), "mine").unwrap();
    let second = put(root.path(), &files(&[("a", "2"), ("turn/into", "a directory"), ("back", "a file")]));
    let app = archive(json!({"checksum": second}));
    let changes = needed(app.check(&system).unwrap()).changes;
    assert_eq!((changes[0].attribute.as_str(), changes[0].from.as_deref()), ("archive", Some("another one")));
    assert_eq!(
        changes[1].from.as_deref(),
        Some("1 off: old/kept (changed)"),
        "the plan says what would be lost"
    );
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    let left: Vec<String> =
        look(root.path()).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let wanted = [
        "opt/app",
        "opt/app/a",
        "opt/app/back",
        "opt/app/old",
        "opt/app/old/kept",
        "opt/app/old/mine",
        "opt/app/turn",
        "opt/app/turn/into",
    ];
    assert_eq!(left, wanted);
    assert_eq!(std::fs::read(opt.join("a")).unwrap(), b"2");
}

#[test]
fn what_other_resources_declare_below_it_is_theirs() {
    let Some((root, system)) = machine() else { return };
    put(root.path(), &files(&[("app.conf", "default"), ("bin/app", "1")]));
    let mut app = archive(json!({"owner": "app"}));
    app.declared = vec!["/opt/app/app.conf".parse().unwrap()];
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    let conf = root.path().join("opt/app/app.conf");
    std::fs::write(&conf, "declared").unwrap();
    std::os::unix::fs::chown(&conf, Some(0), Some(0)).unwrap();
    assert_eq!(app.check(&system), Ok(Check::Holds));
    std::fs::remove_file(root.path().join("opt/app/bin/app")).unwrap();
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
    assert_eq!(std::fs::read(&conf).unwrap(), b"declared");
}

#[test]
fn an_archive_that_is_cut_off_or_none_is_refused_and_leaves_nothing() {
    let Some((root, system)) = machine() else { return };
    let whole = files(&[("a", &"x".repeat(5000)), ("b", "b")]);
    let mut packed = Vec::new();
    let mut gz = flate2::GzBuilder::new().read(&whole[..], flate2::Compression::fast());
    std::io::Read::read_to_end(&mut gz, &mut packed).unwrap();
    let sum = archive(json!({"checksum": format!("sha256:{}", "0".repeat(64))}));
    for (bytes, app, says) in [
        (&whole[..2000], archive(json!({})), "the archive is broken"),
        (&packed[..packed.len() / 2], archive(json!({})), "the archive is broken"),
        (&packed[..10], archive(json!({})), "the archive is broken"),
        (&b"<!doctype html>"[..], archive(json!({})), "it begins with \"<!doctype html>\""),
        (&b""[..], archive(json!({})), "it is empty"),
        (&b"PK\x05\x06cut"[..], archive(json!({})), "the zip archive is broken"),
        (&[0; 1024][..], archive(json!({})), "the archive is empty"),
        (&whole[..], archive(json!({"strip": 7})), "`strip: 7` leaves nothing"),
        (
            &whole[..],
            sum,
            "and sha256:0000000000000000000000000000000000000000000000000000000000000000 is declared",
        ),
    ] {
        put(root.path(), bytes);
        let said = converge(&app, &system).unwrap_err();
        assert!(said.reason.contains(says), "{said:?}");
        assert_eq!(look(root.path()), [""; 0], "{says}");
    }
    put(root.path(), &packed);
    assert_eq!(converge(&archive(json!({})), &system), Ok(Check::Holds));
}

#[test]
fn the_owner_alone_is_changed_without_the_archive() {
    let Some((root, system)) = machine() else { return };
    put(root.path(), &files(&[("a", "a"), ("d/b", "b")]));
    assert_eq!(converge(&archive(json!({})), &system), Ok(Check::Holds));
    std::fs::remove_file(root.path().join("srv/app.tar")).unwrap();
    let app = archive(json!({"owner": "app", "group": "1234"}));
    let changes = needed(app.check(&system).unwrap()).changes;
    assert_eq!(changes[0], Change::from_to("owner", "another of 3 off: a, d, d/b", "app"));
    assert_eq!(converge(&app, &system), Ok(Check::Holds));
}

/// Fails, or ends the process, at one operation.
struct At {
    left: AtomicUsize,
    dies: bool,
}

impl Faults for At {
    fn before(&self, _: &'static str) -> Result<(), rustix::io::Errno> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            // Dead is dead: nothing is tidied up after it either.
            Err(_) if self.dies => std::panic::resume_unwind(Box::new("killed")),
            Err(_) => Err(rustix::io::Errno::NOSPC),
        }
    }
}

#[test]
fn a_run_that_is_cut_at_any_operation_is_finished_by_the_next() {
    for (dies, is_upgrade) in [(true, false), (false, true), (true, true)] {
        let mut end = None;
        for cut in 0.. {
            let Some((root, system)) = machine() else { return };
            if is_upgrade {
                let old = put(root.path(), &files(&[("a", "old"), ("gone/x", "x"), ("turn", "t")]));
                assert_eq!(converge(&archive(json!({"checksum": old})), &system), Ok(Check::Holds));
            }
            let sum = put(root.path(), &files(&[("a", "a"), ("d/b", "b"), ("turn/c", "c")]));
            let app = archive(json!({"checksum": sum}));
            let faulty = system.clone().with_faults(Arc::new(At { left: AtomicUsize::new(cut), dies }));
            let cut_run = catch_unwind(AssertUnwindSafe(|| converge(&app, &faulty)));
            assert_eq!(converge(&app, &system), Ok(Check::Holds), "cut at {cut}");
            let found = look(root.path());
            assert_eq!(*end.get_or_insert_with(|| found.clone()), found, "cut at {cut}");
            if matches!(cut_run, Ok(Ok(Check::Holds))) {
                assert!(cut > 50, "only {cut} operations were tried");
                break;
            }
        }
    }
}
