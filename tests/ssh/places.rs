//! Where the agent is put, as whom it runs, and how it is told that it cannot be.

use std::time::Instant;

use converge::inventory::{Host, Privilege};
use converge::node::{Node, Unreachable, reach};

use crate::sshd::{Sshd, possible};

const ALL_USERS: [&str; 6] = ["ubash", "udash", "uzsh", "ufish", "utcsh", "ubusybox"];

fn reached(outcome: Result<Box<dyn Node>, Unreachable>, what: &str) -> Box<dyn Node> {
    outcome.unwrap_or_else(|unreachable| panic!("{what}: {unreachable:?}"))
}

fn refused(outcome: Result<Box<dyn Node>, Unreachable>) -> Unreachable {
    outcome.err().expect("it was reached")
}

fn sudo(host: Host) -> Host {
    Host { privilege: Privilege::Sudo, ..host }
}

#[test]
fn the_agent_starts_under_every_login_shell_and_again_without_being_sent() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let there = sshd.inside("cut -d: -f1 /etc/passwd");
    for user in ALL_USERS.into_iter().filter(|user| there.lines().any(|line| line == *user)) {
        let mut node = reached(sshd.reach(user), user);
        assert_eq!(node.hello().user, user);
        node.close();
        let listing = sshd.inside(&format!("ls -lA /home/{user}/.cache/converge"));
        assert!(listing.contains("-rwx------") && !listing.contains(".new."), "{listing}");
        let before = sshd.inside(&format!("stat -c '%i %Z' /home/{user}/.cache/converge/converge-agent-*"));
        reached(sshd.reach(user), user).close();
        assert_eq!(
            sshd.inside(&format!("stat -c '%i %Z' /home/{user}/.cache/converge/converge-agent-*")),
            before
        );
    }
}

#[test]
fn root_and_who_becomes_root_share_the_agent_of_a_root_owned_directory() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    reached(sshd.reach("root"), "root").close();
    for privilege in [Privilege::Sudo, Privilege::Doas] {
        let host = Host { privilege, ..sshd.host("ubash") };
        let mut node = reached(reach(&host, &sshd.options()), "ubash");
        assert_eq!(node.hello().user, "root");
        node.close();
    }
    assert_eq!(sshd.inside("stat -c '%U %a' /var/lib/converge; ls /var/lib/converge | wc -l"), "root 700\n1");
    assert_eq!(sshd.inside("ls -A /home/ubash"), "");
}

#[test]
fn a_changed_or_foreign_agent_is_replaced_and_an_old_one_is_removed() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    reached(sshd.reach("root"), "root").close();
    let whole = sshd.inside("sha256sum /var/lib/converge/converge-agent-*");
    for spoil in [
        "echo x >>$f",
        "chmod 755 $f",
        "chown 5001 $f",
        "cp $f /run/other; rm $f; ln -s /run/other $f",
        "chmod 755 /var/lib/converge; touch /var/lib/converge/converge-agent-0123",
        "touch /var/lib/converge/.new.999999; rm $f",
    ] {
        sshd.inside(&format!("f=$(echo /var/lib/converge/converge-agent-*); {spoil}"));
        reached(sshd.reach("root"), spoil).close();
        let after = sshd.inside("sha256sum /var/lib/converge/converge-agent-*");
        assert_eq!((after.as_str(), spoil), (whole.as_str(), spoil));
        let rights = sshd
            .inside("stat -c '%u %a %F' /var/lib/converge/converge-agent-*; ls -A /var/lib/converge | wc -l");
        assert_eq!(rights, "0 700 regular file\n1", "{spoil}");
    }
}

#[test]
fn noexec_is_told_for_every_place_and_leaves_nothing_behind() {
    if !possible() {
        return;
    }
    let sshd = Sshd::with("for p in /home /var/tmp; do mount -o remount,noexec $p; done", "");
    let Unreachable { failure, retry } = refused(sshd.reach("udash"));
    let tried = &failure.details[0].text;
    assert_eq!(tried.matches("noexec").count(), 2, "{failure:?}");
    assert!(
        tried.contains("/home/udash/.cache/converge:") && tried.contains("/var/tmp/converge-5002:"),
        "{tried}"
    );
    assert!(failure.help.unwrap().contains("remount,exec") && !retry);
    assert_eq!(sshd.inside("find /home/udash/.cache /var/tmp -mindepth 1"), "");
}

#[test]
fn the_next_place_is_taken_where_the_first_is_noexec_or_full_or_not_ours() {
    if !possible() {
        return;
    }
    for world in [
        "mount -o remount,noexec /home",
        "mkdir -p /home/udash/.cache; mount -t tmpfs -o size=64k,mode=777 tmpfs /home/udash/.cache",
        "mkdir -p /home/udash/.cache/converge; chmod 777 /home/udash/.cache/converge",
        "mkdir -p /home/udash/.cache; ln -s /var/tmp /home/udash/.cache/converge",
        "rm -r /home/udash",
    ] {
        let sshd = Sshd::with(world, "");
        reached(sshd.reach("udash"), world).close();
        assert!(sshd.inside("ls /var/tmp/converge-5002").contains("agent-"), "{world}");
        assert_eq!(
            sshd.inside("find /home/udash/ -name 'agent*' -o -name '.new*' 2>/dev/null"),
            "",
            "{world}"
        );
        // And found there the next time.
        reached(sshd.reach("udash"), world).close();
    }
}

#[test]
fn a_full_disk_a_read_only_one_and_a_strangers_directory_are_told_by_path() {
    if !possible() {
        return;
    }
    let full = "mount -t tmpfs -o size=64k,mode=777 tmpfs /home; mount -t tmpfs -o size=64k,mode=1777 tmpfs /var/tmp";
    let failure = refused(Sshd::with(full, "").reach("udash")).failure;
    assert_eq!(failure.details[0].text.matches("No space left on device").count(), 2, "{failure:?}");
    assert!(failure.help.unwrap().contains("df -h"));

    let odd = "mount -o remount,ro /home; mkdir -m 777 /var/tmp/converge-5002";
    let failure = refused(Sshd::with(odd, "").reach("udash")).failure;
    let tried = &failure.details[0].text;
    assert!(tried.contains("/.cache/converge: Read-only file system"), "{tried}");
    assert!(tried.contains("/var/tmp/converge-5002: others may use it"), "{tried}");
}

#[test]
fn missing_rights_say_which_line_to_add() {
    if !possible() {
        return;
    }
    let world = "echo 'uzsh ALL=(root) ALL' >>/etc/sudoers; echo 'ufish ALL=(root) NOPASSWD: /bin/true' >>/etc/sudoers";
    let sshd = Sshd::with(world, "");
    for (user, what) in [("uzsh", "wants a password of uzsh"), ("udash", "udash"), ("ufish", "ufish")] {
        let Unreachable { failure, retry } = refused(reach(&sudo(sshd.host(user)), &sshd.options()));
        assert!(failure.reason.contains(what) && failure.reason.contains("sudo on"), "{failure:?}");
        assert!(failure.help.unwrap().contains(&format!("{user} ALL=(root) NOPASSWD: ALL")));
        assert!(!retry);
    }
    let host = Host { privilege: Privilege::Doas, ..sshd.host("udash") };
    let failure = refused(reach(&host, &sshd.options())).failure;
    assert!(failure.help.as_ref().unwrap().contains("permit nopass udash as root"), "{failure:?}");
    let host = Host { become_user: "nobody-here".into(), ..sudo(sshd.host("ubash")) };
    let failure = refused(reach(&host, &sshd.options())).failure;
    assert!(failure.reason.contains("no user nobody-here"), "{failure:?}");
}

#[test]
fn a_missing_sudo_is_named() {
    if !possible() {
        return;
    }
    let sshd = Sshd::with("mount --bind /dev/null /usr/bin/sudo", "");
    let failure = refused(reach(&sudo(sshd.host("ubash")), &sshd.options())).failure;
    assert!(failure.reason.contains("but sudo is not installed"), "{failure:?}");
}

#[test]
fn sudo_gets_its_password_and_a_wrong_one_is_told() {
    if !possible() {
        return;
    }
    let world = "echo 'uzsh ALL=(root) ALL' >>/etc/sudoers; echo uzsh:secret | chpasswd";
    let sshd = Sshd::with(world, "");
    let mut options = sshd.options();
    options.become_password = Some("secret".into());
    let host = sudo(sshd.host("uzsh"));
    let mut node = reached(reach(&host, &options), "uzsh");
    assert_eq!(node.hello().user, "root");
    node.close();
    // Where none is wanted, it is not sent.
    reached(reach(&sudo(sshd.host("ubash")), &options), "ubash").close();
    // A host's own goes before that of the command line.
    options.become_password = Some("wrong".into());
    let own = Host { become_password: Some("secret".into()), ..host.clone() };
    reached(reach(&own, &options), "uzsh").close();
    assert!(!format!("{own:?} {options:?}").contains("\"secret\""), "Debug tells no password");
    let failure = refused(reach(&host, &options)).failure;
    assert!(failure.reason.contains("does not take the password of uzsh"), "{failure:?}");
}

#[test]
fn what_a_login_shell_prints_is_skipped_up_to_a_cap_and_shown_where_nothing_else_comes() {
    if !possible() {
        return;
    }
    let noisy = "printf 'head -c 50000 /dev/zero | tr \\\\\\\\0 x; echo noise >&2' >/home/ubash/.bashrc";
    reached(Sshd::with(noisy, "").reach("ubash"), "noise").close();

    let begun = Instant::now();
    let failure = refused(Sshd::with("echo yes >/home/ubash/.bashrc", "").reach("ubash")).failure;
    assert!(failure.reason.contains("prints without end") && begun.elapsed().as_secs() < 60, "{failure:?}");

    let sshd = Sshd::with("echo 'echo not today; exit 3' >/home/ubash/.bashrc", "");
    let failure = refused(sshd.reach("ubash")).failure;
    assert!(failure.reason.ends_with("could not be started: exit 3"), "{failure:?}");
    assert!(failure.details.iter().any(|detail| detail.text == "not today"), "{failure:?}");
}

#[test]
fn a_machine_without_an_agent_for_it_is_told_with_what_there_is() {
    if !possible() {
        return;
    }
    let sshd = Sshd::with(
        "printf '#!/bin/sh\\necho Linux riscv64\\n' >uname; chmod 755 uname; mount --bind uname /usr/bin/uname",
        "",
    );
    let failure = refused(sshd.reach("root")).failure;
    assert!(
        failure.reason.ends_with("there is no agent for Linux-riscv64: there is Linux-x86_64"),
        "{failure:?}"
    );
    assert!(failure.help.unwrap().contains("converge-agent-riscv64"));
}

#[test]
fn a_machine_without_sha256sum_is_told_so() {
    if !possible() {
        return;
    }
    let sshd = Sshd::with("mount --bind /dev/null /usr/bin/sha256sum", "");
    let failure = refused(sshd.reach("root")).failure;
    assert!(failure.reason.contains("has no `sha256sum`"), "{failure:?}");
}
