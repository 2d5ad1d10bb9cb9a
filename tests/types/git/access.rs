//! Who a checkout belongs to, and how it gets at its repository: keys, passwords, networks.

use converge::resource::Check;
use serde_json::json;

use super::{Origin, Place, fails, holds};
use crate::agent::{Host, host};
use crate::web::Web;

/// A user of the test's own.
struct User<'a>(&'a Host, &'static str);

impl<'a> User<'a> {
    fn new(host: &'a Host, name: &'static str) -> User<'a> {
        host.must(&format!(
            "userdel -rf {name} 2>/dev/null; useradd -m {name}; install -d -m700 -o {name} /home/{name}/.ssh"
        ));
        User(host, name)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.sh(&format!("userdel -rf {}", self.1));
    }
}

#[test]
fn over_ssh_it_has_the_keys_of_its_user_and_asks_nobody() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "ssh"), Place::new(&host, "ssh"), host.agent());
    let (server, client) = (User::new(&host, "cvg-git-server"), User::new(&host, "cvg-git-client"));
    host.must(&format!("chown -R {} {}", server.1, origin.repository()));
    let app = place.app(json!({"repository": format!("ssh://{}@127.0.0.1{}", server.1, origin.repository()), "user": client.1}));
    fails(&mut agent, &app, "Host key verification failed");
    assert_eq!(
        host.must("ls -A /srv/cvg-git-ssh"),
        "",
        "it must not have waited for an answer, nor left anything"
    );
    host.must(&format!("ssh-keyscan 127.0.0.1 2>/dev/null > /home/{}/.ssh/known_hosts", client.1));
    let refused = agent.check(&app).unwrap_err();
    assert!(refused.reason.contains("Permission denied (publickey"), "{}", refused.reason);
    assert!(
        refused
            .help
            .unwrap()
            .contains("takes no key of cvg-git-client: put one into /home/cvg-git-client/.ssh")
    );
    host.must(&format!(
        "cd /home/{0}/.ssh; ssh-keygen -qt ed25519 -N '' -f id_ed25519; chown {0}: *; install -m600 -o {1} id_ed25519.pub /home/{1}/.ssh/authorized_keys",
        client.1, server.1
    ));
    holds(&mut agent, &app);
    assert_eq!(place.at("stat -c '%U %G' . .git file | sort -u"), "cvg-git-client cvg-git-client");
    host.must(&format!("chown -R root {}", origin.repository()));
    let newer = origin.push("echo two > file", "two");
    host.must(&format!("chown -R {} {}", server.1, origin.repository()));
    holds(&mut agent, &app);
    assert_eq!(place.head(), newer);
    // The short form, with another command for ssh that the user has configured.
    host.must(&format!("su {} -c 'git config --global core.sshCommand \"ssh -v\"'", client.1));
    holds(&mut agent, &place.app(json!({"repository": format!("{}@127.0.0.1:{}", server.1, origin.repository()), "user": client.1})));
}

#[test]
fn git_runs_as_the_user_that_the_checkout_belongs_to() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "user"), Place::new(&host, "user"), host.agent());
    let user = User::new(&host, "cvg-git-owner");
    host.must(&format!("git config --system --replace-all safe.directory {} {0}", origin.repository()));
    let mine = place.app(json!({"repository": origin.repository(), "user": user.1}));
    let whose = |line: &str| place.at(&format!("{line} | xargs stat -c %U | sort -u"));
    holds(&mut agent, &mine);
    assert_eq!(whose("find ."), "cvg-git-owner");
    // Without a word on the user, and by root: git does not complain of dubious ownership.
    origin.push("echo two > file", "two");
    holds(&mut agent, &place.app(json!({"repository": origin.repository()})));
    assert_eq!(whose("find ."), "cvg-git-owner");
    place.at("chown -R root: .");
    let applied = agent.converge(&mine);
    assert_eq!(applied.1, Ok(()));
    assert_eq!(applied.0.unwrap().changes[0].attribute, "user");
    assert_eq!(whose("find ."), "cvg-git-owner");
    // A part of it, as after a `git pull` by root.
    place.at("chown root .git");
    fails(&mut agent, &place.app(json!({"repository": origin.repository()})), "belong to different users");
    holds(&mut agent, &mine);
    // A directory that was made for the user.
    host.must(&format!("rm -r {0}/app; install -d -m750 -o {1} {0}/app", place.base, user.1));
    holds(&mut agent, &place.app(json!({"repository": origin.repository()})));
    assert_eq!(place.at("stat -c '%U %a' . file"), "cvg-git-owner 750\ncvg-git-owner 644");
    let Ok(Check::Needs(needed)) =
        agent.check(&place.app(json!({"repository": origin.repository(), "user": "nobody-here"})))
    else {
        panic!()
    };
    assert_eq!(needed.lacks[0].what, "there is no user nobody-here");
    host.must(&format!("git config --system --unset-all safe.directory {}", origin.repository()));
}

#[test]
fn a_password_in_the_url_is_on_no_command_line_and_in_no_file() {
    let Some(host) = host() else { return };
    let (origin, place) = (Origin::new(&host, "password"), Place::new(&host, "password"));
    let web = Web::start(&host, 7730);
    let publish = format!(
        "cd {}; rm -rf app.git; git clone -q --bare {} app.git; git -C app.git update-server-info",
        web.directory,
        origin.repository()
    );
    host.must(&publish);
    // git itself writes down what it runs, and its helpers.
    let trace = format!("{}/trace", web.directory);
    let mut agent = host.agent_with(&format!("GIT_TRACE={trace}"));
    let url = web.url("members/app.git");
    let app = place.app(json!({"repository": url.replace("http://", "http://me:pa%40ss@")}));
    holds(&mut agent, &app);
    assert_eq!(place.at("git config remote.origin.url"), url);
    let second = origin.push("echo two > file", "two");
    host.must(&publish);
    holds(&mut agent, &app);
    assert_eq!(place.head(), second);
    assert!(host.must(&format!("cat {trace}")).contains("git-remote-http"), "it was looked at");
    assert_eq!(host.sh(&format!("grep -rlE 'pa(%40|@)ss' {trace} {} /var/lib/converge", place.base)).1, "");
    for login in ["", "me:wrong@"] {
        let wrong = place.app(
            json!({"repository": url.replace("http://", &format!("http://{login}")), "version": "main"}),
        );
        let failure = agent.check(&wrong).unwrap_err();
        assert!(failure.help.clone().unwrap().contains("it wants a login"), "{failure:?}");
        assert!(!format!("{failure:?}").contains("wrong@"), "{failure:?}");
    }
    // A checkout by hand with the password in its configuration is the same one.
    place.at(&format!("git config remote.origin.url {}", url.replace("http://", "http://me:pa%40ss@")));
    assert_eq!(agent.converge(&app), (None, Ok(())));
    drop(origin);
}

#[test]
fn without_a_network_it_says_so_and_without_git_it_names_the_package() {
    let Some(host) = host() else { return };
    let (origin, place, mut agent) = (Origin::new(&host, "net"), Place::new(&host, "net"), host.agent());
    holds(&mut agent, &place.app(json!({"repository": origin.repository()})));
    let was = place.look();
    for url in [
        "http://127.0.0.1:7797/app.git",
        "git://127.0.0.1:7797/app",
        "ssh://git@127.0.0.1:7797/app",
        "https://no-such-host.invalid/app",
    ] {
        let failure = agent.check(&place.app(json!({"repository": url, "version": "main"}))).unwrap_err();
        assert!(
            failure.reason.starts_with(&format!("asking {url} for its branches and tags: exit 128")),
            "{failure:?}"
        );
        assert!(
            failure.help.unwrap().contains("without a network, a commit as `version`"),
            "{}",
            failure.reason
        );
    }
    assert_eq!(place.look(), was);
    let mut bare =
        host.agent_with("exec unshare -m sh -c 'mount --bind /dev/null /usr/bin/git; exec \"$0\"'");
    host.must("rm -r /srv/cvg-git-net/app");
    let Ok(Check::Needs(needed)) = bare.check(&place.app(json!({"repository": origin.repository()}))) else {
        panic!()
    };
    assert_eq!(needed.lacks[0].what, "`git` is not installed here");
    assert!(needed.lacks[0].help.contains("`- package: git`"));
}
