//! Host keys and user keys: nothing is accepted silently, and every refusal says the way out.

use std::fs;
use std::process::Command;
use std::time::Duration;

use converge::inventory::Host;
use converge::node::{Unreachable, reach};

use crate::sshd::{Sshd, fingerprint, keygen, possible};

fn refused(outcome: Result<Box<dyn converge::node::Node>, Unreachable>) -> Unreachable {
    match outcome {
        Ok(_) => panic!("it was let in"),
        Err(unreachable) => unreachable,
    }
}

#[test]
fn an_unknown_host_key_is_an_error_with_its_fingerprint_and_how_to_accept_it() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    sshd.known_hosts("");
    let Unreachable { failure, retry } = refused(sshd.reach("root"));
    assert!(failure.reason.contains(&fingerprint(&sshd.path("host_ed25519.pub"))), "{failure:?}");
    assert!(failure.reason.contains("is not known"), "{failure:?}");
    let help = failure.help.unwrap();
    assert!(help.contains(&format!("ssh-keyscan -H -p {} 127.0.0.1 >> ", sshd.port)), "{help}");
    assert!(!retry);
    assert_eq!(fs::read_to_string(sshd.path("known_hosts")).unwrap(), "");
}

#[test]
fn a_changed_key_of_each_type_is_an_error_that_names_the_old_line_and_both_fingerprints() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let old = sshd.path(&format!("old_{kind}"));
        keygen(kind, &old);
        let key = fs::read_to_string(old.with_extension("pub")).unwrap();
        sshd.known_hosts(&format!("# first line\n[127.0.0.1]:{} {key}", sshd.port));
        let Unreachable { failure, retry } = refused(sshd.reach("root"));
        let reason = &failure.reason;
        assert!(reason.contains("HAS CHANGED"), "{reason}");
        assert!(reason.contains(&format!("{}:2", sshd.path("known_hosts").display())), "{reason}");
        assert!(reason.contains(&fingerprint(&old)), "{reason}");
        assert!(reason.contains(&fingerprint(&sshd.path(&format!("host_{kind}.pub")))), "{reason}");
        assert!(failure.help.unwrap().contains(&format!("ssh-keygen -R '[127.0.0.1]:{}'", sshd.port)));
        assert!(!retry);
    }
}

#[test]
fn a_host_known_by_any_one_of_its_keys_is_reached_by_it() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        sshd.know(kind);
        sshd.reach("root").map_err(|unreachable| panic!("{kind}: {unreachable:?}")).unwrap().close();
    }
    // Hashed, as Debian's ssh writes them.
    let hashed = Command::new("ssh-keygen").arg("-Hf").arg(sshd.path("known_hosts")).output().unwrap();
    assert!(hashed.status.success());
    let text = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    assert!(text.starts_with("|1|"), "{text}");
    sshd.reach("root").unwrap().close();
    // By its name alone, and by a pattern.
    for name in ["127.0.0.1", "[127.0.*]:*"] {
        let key = fs::read_to_string(sshd.path("host_rsa.pub")).unwrap();
        sshd.known_hosts(&format!("{name} {key}"));
        sshd.reach("root").map_err(|unreachable| panic!("{name}: {unreachable:?}")).unwrap().close();
    }
}

#[test]
fn a_hashed_name_with_another_key_is_a_changed_key() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    keygen("ed25519", &sshd.path("old"));
    let key = fs::read_to_string(sshd.path("old.pub")).unwrap();
    sshd.known_hosts(&format!("[127.0.0.1]:{} {key}", sshd.port));
    assert!(
        Command::new("ssh-keygen")
            .arg("-Hf")
            .arg(sshd.path("known_hosts"))
            .output()
            .unwrap()
            .status
            .success()
    );
    let reason = refused(sshd.reach("root")).failure.reason;
    assert!(reason.contains("HAS CHANGED") && reason.contains("known_hosts:1"), "{reason}");
}

#[test]
fn a_revoked_key_is_refused_and_a_certificate_authority_alone_is_told_as_unsupported() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let key = fs::read_to_string(sshd.path("host_ed25519.pub")).unwrap();
    let line = format!("[127.0.0.1]:{} {key}", sshd.port);
    sshd.known_hosts(&format!("{line}@revoked * {key}"));
    let reason = refused(sshd.reach("root")).failure.reason;
    assert!(reason.contains("@revoked") && reason.contains("known_hosts:2"), "{reason}");
    sshd.known_hosts(&format!("@cert-authority {line}"));
    let reason = refused(sshd.reach("root")).failure.reason;
    assert!(reason.contains("does not read host certificates"), "{reason}");
}

#[test]
fn a_refused_user_key_names_every_key_that_was_tried() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    keygen("ed25519", &sshd.path("other"));
    fs::copy(sshd.path("other.pub"), sshd.path("authorized_keys")).unwrap();
    let Unreachable { failure, retry } = refused(sshd.reach("root"));
    assert!(failure.reason.contains("does not let root in"), "{failure:?}");
    assert!(failure.help.as_ref().unwrap().contains("ssh-copy-id root@127.0.0.1"), "{failure:?}");
    let tried = &failure.details[0].text;
    assert!(
        tried.contains(&fingerprint(&sshd.path("id.pub"))) && tried.contains("IdentityAgent is none"),
        "{tried}"
    );
    assert!(!retry);
}

#[test]
fn an_encrypted_key_without_an_agent_says_ssh_add_and_with_one_it_works() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let options = sshd.options();
    let id = sshd.path("id");
    let rekeyed =
        Command::new("ssh-keygen").args(["-q", "-p", "-N", "secret", "-f"]).arg(&id).output().unwrap();
    assert!(rekeyed.status.success());
    let failure = refused(reach(&sshd.host("root"), &options)).failure;
    assert!(failure.help.unwrap().contains(&format!("ssh-add {}", id.display())));

    let socket = sshd.path("agent.sock");
    let output = std::process::Stdio::null();
    let agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(output).spawn();
    let mut agent = agent.unwrap();
    while !socket.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ask = sshd.path("ask");
    fs::write(&ask, "#!/bin/sh\necho secret\n").unwrap();
    fs::set_permissions(&ask, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let added = Command::new("ssh-add")
        .arg(&id)
        .env("SSH_AUTH_SOCK", &socket)
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .output()
        .unwrap();
    let options = sshd.options_with(&format!("IdentityAgent {}", socket.display()));
    let reached = reach(&sshd.host("root"), &options);
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(added.status.success(), "{added:?}");
    reached.unwrap().close();
}

#[test]
fn rsa_and_ecdsa_user_keys_are_taken_too() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    for kind in ["rsa", "ecdsa"] {
        let path = sshd.path(&format!("own_{kind}"));
        keygen(kind, &path);
        fs::copy(path.with_extension("pub"), sshd.path("authorized_keys")).unwrap();
        let host = Host { identity_file: Some(path.display().to_string()), ..sshd.host("root") };
        reach(&host, &sshd.options()).map_err(|unreachable| panic!("{unreachable:?}")).unwrap().close();
    }
}

#[test]
fn what_listens_but_never_answers_ends_at_the_connect_timeout_and_is_worth_a_retry() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host { port: Some(silent.local_addr().unwrap().port()), ..sshd.host("root") };
    let mut options = sshd.options();
    options.connect_timeout = Duration::from_secs(1);
    let unreachable = refused(reach(&host, &options));
    assert!(
        unreachable.retry && unreachable.failure.reason.contains("did not answer within 1s"),
        "{unreachable:?}"
    );
    drop(silent);
    let unreachable = refused(reach(&host, &options));
    assert!(
        unreachable.retry && unreachable.failure.reason.contains("connection refused"),
        "{unreachable:?}"
    );
}

#[test]
fn a_host_behind_another_is_reached_through_it_and_a_broken_jump_says_why() {
    if !possible() {
        return;
    }
    let sshd = Sshd::start();
    let host = Host { proxy_jump: Some(format!("root@127.0.0.1:{}", sshd.port)), ..sshd.host("ubash") };
    reach(&host, &sshd.options()).map_err(|unreachable| panic!("{unreachable:?}")).unwrap().close();
    let host = Host { proxy_jump: Some("root@127.0.0.1:1".into()), ..host };
    let unreachable = refused(reach(&host, &sshd.options()));
    assert!(unreachable.retry, "{unreachable:?}");
    assert!(unreachable.failure.details[0].text.contains("Connection refused"), "{unreachable:?}");
}
