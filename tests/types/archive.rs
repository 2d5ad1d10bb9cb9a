//! `archive` from every start, with archives that real tools made.

use converge::attribute::{Content, sha256_hex};
use converge::resource::Check;
use serde_json::{Value, json};

use crate::agent::{Host, host, resource};
use crate::table::Table;
use crate::web::Web;

/// Makes `app-1.2/` in the directory, as the archives have it.
const MAKE: &str = "mkdir -p app-1.2/bin app-1.2/share/doc app-1.2/empty && cd app-1.2 && echo binary > bin/app && \
     chmod 4755 bin/app && ln -s app bin/a && ln bin/app bin/same && echo manual > share/doc/manual && cd ..";

/// A directory with an archive in it, made by a shell line; the archive's bytes.
fn made(host: &Host, directory: &str, line: &str) -> String {
    host.must(&format!("rm -rf {directory}; mkdir -p {directory}; cd {directory}; set -e; {MAKE}; {line}"));
    directory.to_owned()
}

fn sum(host: &Host, path: &str) -> String {
    format!("sha256:{}", &host.must(&format!("sha256sum {path}"))[..64])
}

#[test]
fn an_archive_from_every_start() {
    let Some(host) = host() else { return };
    let directory = made(
        &host,
        "/var/tmp/cvg-ar-starts",
        "tar czf app.tar.gz app-1.2; tar czf old.tar.gz -C app-1.2 bin",
    );
    let tar = format!("{directory}/app.tar.gz");
    let declared = json!({
        "archive": "/srv/cvg-ar/app", "url": format!("file://{tar}"), "checksum": sum(&host, &tar), "strip": 1,
        "owner": "www-data", "group": "www-data",
    });
    let record = converge::attribute::sha256_hex(b"/srv/cvg-ar/app");
    let clear: &'static str =
        Box::leak(format!("rm -rf /srv/cvg-ar /var/lib/converge/archives/{record}.json").into_boxed_str());
    let look = "find /srv/cvg-ar -printf '%p %y %i %T@ %C@ %U:%G %m %l\\n' | sort; find /srv/cvg-ar -type f | sort | xargs -r cat";
    let agent = host.agent();
    let mut table = Table { host: &host, agent, word: "archive", declared: declared.clone(), clear, look };
    // What is there as it was unpacked by an earlier run.
    let mut other = declared.clone();
    other["url"] = json!(format!("file://{directory}/old.tar.gz"));
    other["checksum"] = json!(sum(&host, &format!("{directory}/old.tar.gz")));
    other["strip"] = json!(0);
    let all = ["state", "archive", "owner", "group"];
    let there = ["archive", "owner", "group"];
    let mkdir = "mkdir -p /srv/cvg-ar/app";
    table.row("absent", "mkdir -p /srv/cvg-ar", &all);
    table.row("an empty directory", mkdir, &there);
    table.row("unpacked by hand", &format!("{mkdir}; tar xzf {tar} --strip 1 -C /srv/cvg-ar/app"), &there);
    table.row("half unpacked by hand", &format!("{mkdir}/bin; echo bi > /srv/cvg-ar/app/bin/app"), &there);
    table.row(
        "somebody's files beside",
        &format!("{mkdir}/bin; echo mine > /srv/cvg-ar/app/bin/mine"),
        &there,
    );
    table.row(
        "what a killed run left",
        "mkdir -p /srv/cvg-ar/.app.converge/tree; touch /srv/cvg-ar/.app.converge/archive",
        &all,
    );
    table.row("what a killed run left inside", &format!("{mkdir}/.archive.converge/tree/x"), &there);
    table.row(
        "a broken record",
        &format!("{mkdir} /var/lib/converge/archives; echo '{{' > /var/lib/converge/archives/{record}.json"),
        &there,
    );
    let mut unpacked = |start: &str, line: &str, off: &[&str]| {
        table.row_from(start, &["mkdir -p /srv/cvg-ar", line], Some(&declared), off);
    };
    unpacked("right", "true", &[]);
    unpacked("touched", "touch /srv/cvg-ar/app/bin/app", &[]);
    unpacked("a file changed", "echo evil > /srv/cvg-ar/app/share/doc/manual", &["entries"]);
    unpacked("a file cut off", ": > /srv/cvg-ar/app/bin/app", &["entries"]);
    unpacked("a file gone", "rm /srv/cvg-ar/app/bin/app", &["entries"]);
    unpacked("a directory gone", "rmdir /srv/cvg-ar/app/empty", &["entries"]);
    unpacked(
        "a link to elsewhere",
        "ln -sfn /etc/debian_version /srv/cvg-ar/app/bin/a; chown -h www-data: /srv/cvg-ar/app/bin/a",
        &["entries"],
    );
    unpacked("another owner", "chown root /srv/cvg-ar/app/bin/app", &["owner"]);
    unpacked("another group", "chgrp -h root /srv/cvg-ar/app/bin/a", &["group"]);
    unpacked("all of it gone", "rm -r /srv/cvg-ar/app", &all);
    table.row_from("another archive", &["mkdir -p /srv/cvg-ar", "true"], Some(&other), &["archive", "strip"]);
    table.refused(
        "a file",
        "mkdir -p /srv/cvg-ar; touch /srv/cvg-ar/app",
        "is a file, and a directory is declared",
    );
    table.refused("a link", "mkdir -p /srv/cvg-ar/x; ln -s x /srv/cvg-ar/app", "is a symlink");
    // Being unpacked beside leaves no trace but the time of the directory.
    table.look = "find /srv/cvg-ar -printf '%p %y %i %U:%G %m %l\\n' | sort";
    table.refused(
        "a directory for a file",
        &format!("{mkdir}/bin/app/x"),
        "/srv/cvg-ar/app/bin/app is a directory, and something else in the archive",
    );
    drop(table);
    host.must(&format!("rm -rf {directory}"));
}

#[test]
fn whatever_tar_and_zip_make_is_unpacked_as_they_would() {
    let Some(host) = host() else { return };
    let directory = made(
        &host,
        "/var/tmp/cvg-ar-kinds",
        "\
        tar cf a.tar app-1.2; tar czf a.tar.gz app-1.2; tar cjf a.tar.bz2 app-1.2; tar cJf a.tar.xz app-1.2; tar --zstd -cf a.tar.zst app-1.2; \
        tar --format=v7 -cf v7.tar app-1.2; tar --format=ustar -cf ustar.tar app-1.2; tar --format=pax -cf pax.tar app-1.2; \
        mkdir -p app-1.2/$(printf 'long%.0s' $(seq 40))/$(printf 'name%.0s' $(seq 40)); touch $(echo app-1.2/long*/name*)/f; \
        truncate -s 1M app-1.2/sparse; echo end >> app-1.2/sparse; tar -Scf gnu.tar app-1.2; tar -S --format=pax -cf spax.tar app-1.2; \
        python3 -c 'import shutil; shutil.make_archive(\"a\", \"zip\", \".\", \"app-1.2\")'; git init -q g; cp -r app-1.2/bin g/; cd g; git add .; \
        git -c user.name=t -c user.email=t@t commit -qm t; git archive --format=tar --prefix=app-1.2/ -o ../git.tar HEAD",
    );
    let mut agent = host.agent();
    for name in [
        "a.tar",
        "a.tar.gz",
        "a.tar.bz2",
        "a.tar.xz",
        "a.tar.zst",
        "v7.tar",
        "ustar.tar",
        "pax.tar",
        "gnu.tar",
        "git.tar",
        "a.zip",
    ] {
        let clear =
            "rm -rf /srv/cvg-ar-kinds; mkdir -p /srv/cvg-ar-kinds/theirs; cd /srv/cvg-ar-kinds; umask 022;";
        let theirs = match name {
            "a.zip" => format!(
                "unzip -q {directory}/{name} -d theirs; mv theirs/app-1.2/* theirs; rmdir theirs/app-1.2"
            ),
            _ => format!("tar xf {directory}/{name} -C theirs --strip 1 --no-same-owner"),
        };
        // What is never taken over, and what `made_by` of a zip does not say.
        host.must(&format!("{clear} {theirs}; chmod -R u-s,g-s theirs"));
        // By another name, so that it is what it begins with that counts.
        let renamed = format!("{directory}/renamed");
        host.must(&format!("cp {directory}/{name} {renamed}"));
        let ours = resource(
            "archive",
            json!({"archive": "/srv/cvg-ar-kinds/ours", "url": format!("file://{renamed}"), "checksum": sum(&host, &renamed), "strip": 1}),
        );
        assert_eq!(agent.converge(&ours).1, Ok(()), "{name}");
        assert_eq!(agent.converge(&ours), (None, Ok(())), "{name}");
        let look = |side: &str| {
            host.must(&format!("cd /srv/cvg-ar-kinds/{side}; find . -mindepth 1 -printf '%p %y %m %l %n %s\\n' | sort; find . -type f | sort | xargs sha256sum; find . -type f -printf '%p %Ts\\n' | sort"))
        };
        assert_eq!(look("ours"), look("theirs"), "{name}");
    }
    // What the reader of pax archives would get wrong is refused.
    let sparse =
        json!({"archive": "/srv/cvg-ar-kinds/sparse", "url": format!("file://{directory}/spax.tar")});
    let said = agent.converge(&resource("archive", sparse)).1.unwrap_err();
    assert!(said.contains("a sparse file in pax format"), "{said}");
    host.must(&format!("rm -rf {directory} /srv/cvg-ar-kinds"));
}

#[test]
fn an_archive_with_dotdot_in_it_is_refused_and_nothing_is_written() {
    let Some(host) = host() else { return };
    let directory = made(
        &host,
        "/var/tmp/cvg-ar-evil",
        "\
        tar -P --transform 's,^app-1.2/bin/app$,../evil,' -cf up.tar app-1.2; tar -P -cf absolute.tar $PWD/app-1.2/bin/app; \
        ln -s /etc app-1.2/etc; tar -cf link.tar app-1.2; rm app-1.2/etc; mkfifo app-1.2/pipe; tar -cf pipe.tar app-1.2; \
        python3 -c 'import zipfile; z = zipfile.ZipFile(\"up.zip\", \"w\"); z.writestr(\"ok\", \"ok\"); z.writestr(\"../evil\", \"evil\")'",
    );
    let mut agent = host.agent();
    for (name, says) in [
        ("up.tar", "../evil: leads out of the directory with `..`"),
        ("up.zip", "../evil: leads out of the directory with `..`"),
        ("absolute.tar", "has an absolute name"),
        ("link.tar", "a link to /etc, which is outside"),
        ("pipe.tar", "it is a pipe, which is never unpacked"),
    ] {
        for before in ["", "/app"] {
            host.must(&format!("rm -rf /srv/cvg-ar-evil; mkdir -p /srv/cvg-ar-evil{before}"));
            let look =
                || host.must("find /srv/cvg-ar-evil -printf '%p %y %i %T@\\n'; ls -A /srv | grep evil");
            let was = look();
            let evil = resource(
                "archive",
                json!({"archive": "/srv/cvg-ar-evil/app", "url": format!("file://{directory}/{name}")}),
            );
            let said = agent.converge(&evil).1.unwrap_err();
            assert!(said.contains(says), "{name}: {said}");
            // Times of the directory tell of what was beside for a moment; names and inodes do not change.
            let names = |text: &str| {
                text.lines()
                    .map(|line| line.rsplit_once(' ').map_or(line, |(head, _)| head).to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(names(&look()), names(&was), "{name}");
        }
    }
    host.must(&format!("rm -rf {directory} /srv/cvg-ar-evil"));
}

#[test]
fn a_source_beside_the_spec_travels_with_its_archive() {
    let Some(host) = host() else { return };
    let directory = made(&host, "/var/tmp/cvg-ar-source", "tar czf app.tar.gz app-1.2");
    let bytes = host.must(&format!("base64 -w0 {directory}/app.tar.gz"));
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, bytes.trim()).unwrap();
    let content = serde_json::to_value(Content::new(bytes.clone())).unwrap();
    let app = |checksum: Value| {
        resource(
            "archive",
            json!({"archive": "/srv/cvg-ar-source", "source": "app.tar.gz", "_content": content, "checksum": checksum}),
        )
    };
    let mut agent = host.agent();
    let wrong = agent.check(&app(json!(format!("sha256:{}", sha256_hex(b"other"))))).unwrap_err();
    assert!(
        wrong.reason.contains(&sha256_hex(&bytes)) && wrong.reason.contains(&sha256_hex(b"other")),
        "{}",
        wrong.reason
    );
    let good = app(json!(format!("sha256:{}", sha256_hex(&bytes))));
    assert_eq!(agent.converge(&good).1, Ok(()));
    assert_eq!(agent.converge(&good), (None, Ok(())));
    assert_eq!(host.must("cat /srv/cvg-ar-source/app-1.2/bin/app"), "binary\n");
    host.must(&format!("rm -rf {directory} /srv/cvg-ar-source"));
}

#[test]
fn a_full_disk_leaves_what_was_unpacked_whole() {
    let Some(host) = host() else { return };
    let directory = made(
        &host,
        "/var/tmp/cvg-ar-full",
        "tar czf small.tar.gz app-1.2; head -c 3000000 /dev/zero > app-1.2/large; tar czf large.tar.gz app-1.2",
    );
    host.must("umount -q /srv/cvg-ar-full; mkdir -p /srv/cvg-ar-full; mount -t tmpfs -o size=2m none /srv/cvg-ar-full");
    let mut agent = host.agent();
    let of = |name: &str| {
        let url = format!("file://{directory}/{name}");
        resource("archive", json!({"archive": "/srv/cvg-ar-full/app", "url": url, "strip": 1}))
    };
    assert_eq!(agent.converge(&of("small.tar.gz")).1, Ok(()));
    let look = || {
        host.must("cd /srv/cvg-ar-full; find . -mindepth 1 -printf '%p %y %i %T@\\n' | grep -v '^./app d'; find . -type f | sort | xargs cat")
    };
    let was = look();
    let said = agent.converge(&of("large.tar.gz")).1.unwrap_err();
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(look(), was);
    assert_eq!(agent.converge(&of("small.tar.gz")), (None, Ok(())));
    host.must(&format!("umount /srv/cvg-ar-full; rm -rf {directory} /srv/cvg-ar-full"));
}

#[test]
fn a_missing_unpacker_is_named_with_the_package_that_has_it() {
    let Some(host) = host() else { return };
    let directory = made(&host, "/var/tmp/cvg-ar-tool", "tar cJf app.tar.xz app-1.2; cp app.tar.xz app");
    // A host without xz: it is covered in the agent's own view of the files.
    let mut agent =
        host.agent_with("exec unshare -m sh -c 'mount --bind /dev/null /usr/bin/xz; exec \"$0\"'");
    let named = resource(
        "archive",
        json!({"archive": "/srv/cvg-ar-tool", "url": format!("file://{directory}/app.tar.xz")}),
    );
    let Ok(Check::Needs(needed)) = agent.check(&named) else { panic!() };
    assert_eq!(needed.lacks[0].what, "`xz` is not installed here");
    assert!(needed.lacks[0].help.contains("`- package: xz-utils`"), "{}", needed.lacks[0].help);
    let unnamed =
        resource("archive", json!({"archive": "/srv/cvg-ar-tool", "url": format!("file://{directory}/app")}));
    let said = agent.converge(&unnamed).1.unwrap_err();
    assert_eq!(said, "`xz` is not installed here");
    assert_eq!(host.sh("ls -d /srv/cvg-ar-tool /srv/.cvg*").0, 2);
    host.must(&format!("rm -rf {directory}"));
}

#[test]
fn an_archive_is_fetched_once_and_again_when_its_url_changes() {
    let Some(host) = host() else { return };
    let web = Web::start(&host, 7720);
    made(
        &host,
        &format!("{}/work", web.directory),
        "tar czf ../one.tgz app-1.2; rm -r app-1.2/share; tar czf ../two.tgz app-1.2",
    );
    let mut agent = host.agent();
    let of = |name: &str| {
        resource(
            "archive",
            json!({"archive": "/srv/cvg-ar-web", "url": web.url(&format!("plain/{name}")), "strip": 1}),
        )
    };
    host.must("rm -rf /srv/cvg-ar-web");
    assert_eq!(agent.converge(&of("one.tgz")).1, Ok(()));
    assert_eq!(agent.converge(&of("one.tgz")), (None, Ok(())));
    assert_eq!(web.requests(), 1);
    assert_eq!(agent.converge(&of("two.tgz")).1, Ok(()));
    assert_eq!(host.sh("ls /srv/cvg-ar-web/share").0, 2, "only the first had it");
    let said = agent.converge(&of("none.tgz")).1.unwrap_err();
    assert!(said.contains("status 404"), "{said}");
    assert_eq!(host.must("cat /srv/cvg-ar-web/bin/app"), "binary\n");
    host.must("rm -rf /srv/cvg-ar-web");
}
