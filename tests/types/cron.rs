//! `cron` from every start.

use serde_json::json;

use crate::agent::{host, resource};
use crate::table::Table;

/// What somebody keeps in a crontab, line by line as bytes for printf.
const MINE: &str =
    "# m h  dom mon dow   command\\n\\nMAILTO=me\\n5 5 * * *\\t/home/me/mine  # caf\\0351\\n#@daily off\\n";

fn clear(user: &str) -> String {
    format!("crontab -u {user} -r; userdel -f {user}; groupdel {user}")
}

fn look(user: &str) -> String {
    format!("stat -c '%i %Y %Z' /var/spool/cron/crontabs/{user} 2>&1; crontab -u {user} -l 2>&1; true")
}

#[test]
fn a_job_in_a_crontab_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"cron": "cvg backup", "user": "cvg-c", "schedule": "30 4 * * mon-fri", "command": "/bin/backup --date \"$(date +%F)\""});
    let (clear, look) = (clear("cvg-c"), look("cvg-c"));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "cron", declared, clear: &clear, look: &look };
    let start = |lines: &str| format!("set -e; useradd -M cvg-c; printf '%b' '{lines}' | crontab -u cvg-c -");
    table.row("no crontab", "useradd -M cvg-c", &["state", "schedule", "command"]);
    let ours = host.must("crontab -u cvg-c -l");
    assert!(ours.starts_with("# converge: cvg backup ("), "{ours}");
    assert!(ours.ends_with(")\n30 4 * * mon-fri /bin/backup --date \"$(date +\\%F)\"\n"), "{ours}");
    let ours = ours.replace('\\', "\\\\").replace('\n', "\\n");
    let mark = ours.split("\\n").next().unwrap();
    table.row("an empty crontab", &start(""), &["state", "schedule", "command"]);
    table.row("right", &start(&ours), &[]);
    table.row("right, with a person's lines around it", &start(&format!("{MINE}{ours}{MINE}")), &[]);
    table.row("a person's lines alone", &start(MINE), &["state", "schedule", "command"]);
    let kept = host.must(&format!("printf '%b' '{MINE}' > /run/cvg-c; crontab -u cvg-c -l | head -c $(wc -c < /run/cvg-c) | cmp - /run/cvg-c && echo same"));
    assert_eq!(kept, "same\n");
    table.row(
        "another schedule",
        &start(&format!("{MINE}{}{MINE}", ours.replace("30 4", "31 4"))),
        &["schedule"],
    );
    table.row("another command", &start(&ours.replace("/bin/backup", "nice /bin/backup")), &["command"]);
    table.row("spaced in another way", &start(&ours.replace("30 4 *", "30\\t4   *")), &[]);
    table.row(
        "switched off by a person",
        &start(&format!("{}{MINE}", ours.replace("\\n30", "\\n#30"))),
        &["state", "schedule", "command"],
    );
    table.row(
        "only its mark is left",
        &start(&format!("{mark}\\n{MINE}")),
        &["state", "schedule", "command"],
    );
    table.row(
        "another job where it was",
        &start(&format!("{mark}\\n@daily mine\\n")),
        &["state", "schedule", "command"],
    );
    assert!(host.must("crontab -u cvg-c -l").ends_with("@daily mine\n"));
    table.row("there twice", &start(&format!("{ours}{MINE}{ours}")), &["marker"]);
    table.row("a mark without its sums", &start(&ours.replace(mark, "# converge: cvg backup")), &["marker"]);
    table.row(
        "another job of ours",
        &start(&ours.replace("cvg backup", "cvg other")),
        &["state", "schedule", "command"],
    );
    table.refused("no user", "true", "there is no user cvg-c");
    table.refused(
        "it may have no crontab",
        "useradd -M cvg-c; echo cvg-c >> /etc/cron.deny",
        "reading the crontab of cvg-c",
    );
    host.must("sed -i /^cvg-c$/d /etc/cron.deny; test -s /etc/cron.deny || rm -f /etc/cron.deny");
}

#[test]
fn a_job_in_cron_d_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"cron": "cvg clean", "file": "cvg-clean", "schedule": "@daily", "command": ["find", "/tmp/a b", "-name", "*%"],
        "environment": {"MAILTO": "ops@example.com", "LANG": "C.UTF-8"}});
    let look = "stat -c '%i %Y %Z %U %a' /etc/cron.d/cvg-clean 2>&1; cat /etc/cron.d/cvg-clean; true";
    let mut table = Table {
        host: &host,
        agent: host.agent(),
        word: "cron",
        declared,
        clear: "rm -rf /etc/cron.d/cvg-clean /etc/cron.d/.cvg-clean.converge",
        look,
    };
    let all = ["state", "schedule", "user", "command", "environment"];
    table.row("absent", "", &all);
    let ours = host.must("cat /etc/cron.d/cvg-clean");
    assert!(
        ours.ends_with(
            ")\nMAILTO=ops@example.com\n@daily root export LANG=C.UTF-8; find '/tmp/a b' -name '*\\%'\n"
        ),
        "{ours}"
    );
    assert_eq!(host.must("stat -c '%a %U %G' /etc/cron.d/cvg-clean"), "644 root root\n");
    let start = |text: &str, change: &str| {
        let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\'', "'\\''");
        format!("set -e; cd /etc/cron.d; printf '%b' '{text}' > cvg-clean; chmod 644 cvg-clean; {change}")
    };
    table.row("right", &start(&ours, ""), &[]);
    table.row("right, for its owner alone", &start(&ours, "chmod 600 cvg-clean"), &[]);
    table.row("others may write to it", &start(&ours, "chmod 666 cvg-clean"), &["mode"]);
    table.row("somebody else's file", &start(&ours, "chown nobody cvg-clean"), &["owner"]);
    table.row("without a last line end", &start(ours.trim_end(), ""), &["newline"]);
    table.row("another schedule", &start(&ours.replace("@daily", "@hourly"), ""), &["schedule"]);
    table.row("another user", &start(&ours.replace(" root ", " nobody "), ""), &["user"]);
    table.row("another command", &start(&ours.replace("find", "nice find"), ""), &["command"]);
    table.row("mailed to another", &start(&ours.replace("ops@", "root@"), ""), &["environment"]);
    table.row(
        "mailed to nobody in particular",
        &start(&ours.replace("MAILTO=ops@example.com\n", ""), ""),
        &["environment"],
    );
    table.row("jobs of a package's", &start("PATH=/bin\n# m h\n@daily root x", ""), &all);
    assert!(
        host.must("cat /etc/cron.d/cvg-clean")
            .starts_with("PATH=/bin\n# m h\n@daily root x\n# converge: cvg clean (")
    );
    table.row("what a killed run left", "echo half > /etc/cron.d/.cvg-clean.converge", &all);
    table.refused(
        "a link",
        "ln -s /etc/debian_version /etc/cron.d/cvg-clean",
        "/etc/cron.d/cvg-clean is a symlink",
    );
    table.refused("a directory", "mkdir /etc/cron.d/cvg-clean", "/etc/cron.d/cvg-clean is a directory");
    table.declared = json!({"cron": "cvg clean", "file": "cvg-clean", "user": "cvg-nobody-there", "schedule": "@daily", "command": "x"});
    table.refused("no such user", "true", "there is no user cvg-nobody-there");
}

#[test]
fn a_job_goes_from_every_start() {
    let Some(host) = host() else { return };
    let declared = json!({"cron": "cvg gone", "user": "cvg-d", "state": "absent"});
    let (clear, look) = (clear("cvg-d"), look("cvg-d"));
    let mut table =
        Table { host: &host, agent: host.agent(), word: "cron", declared, clear: &clear, look: &look };
    let start = |lines: &str| format!("set -e; useradd -M cvg-d; printf '%b' '{lines}' | crontab -u cvg-d -");
    let ours = "# converge: cvg gone\\n@daily x\\n";
    table.row("no user", "", &[]);
    table.row("no crontab", "useradd -M cvg-d", &[]);
    table.row("not there", &start(MINE), &[]);
    table.row("alone", &start(ours), &["state"]);
    assert_ne!(host.sh("crontab -u cvg-d -l").0, 0, "an empty crontab stayed");
    table.row("among a person's lines", &start(&format!("{MINE}{ours}{MINE}")), &["state"]);
    assert_eq!(
        host.must(&format!(
            "printf '%b' '{MINE}{MINE}' > /run/cvg-d; crontab -u cvg-d -l | cmp - /run/cvg-d && echo same"
        )),
        "same\n"
    );
    table.row("only its mark is left", &start("# converge: cvg gone\\n# mine\\n"), &["state"]);
    let declared = json!({"cron": "cvg gone", "file": "cvg-gone", "state": "absent"});
    let (clear, look) = ("rm -rf /etc/cron.d/cvg-gone", "stat -c '%i %Y' /etc/cron.d/cvg-gone 2>&1; true");
    let mut table = Table { host: &host, agent: host.agent(), word: "cron", declared, clear, look };
    table.row("no file", "", &[]);
    table.row(
        "alone in its file",
        "printf '# converge: cvg gone\\n@daily root x\\n' > /etc/cron.d/cvg-gone",
        &["state"],
    );
    assert_ne!(host.sh("test -e /etc/cron.d/cvg-gone").0, 0);
    table.row(
        "in a file of another's",
        "printf '# x\\n# converge: cvg gone\\n@daily root x' > /etc/cron.d/cvg-gone",
        &["state"],
    );
    assert_eq!(host.must("cat /etc/cron.d/cvg-gone"), "# x\n");
}

/// What cron itself makes of it, with all that cron, a shell and converge might take for something else.
#[test]
fn a_job_runs_as_it_is_declared() {
    let Some(host) = host() else { return };
    let clear = "crontab -u cvg-run -r; userdel -f cvg-run; groupdel cvg-run; rm -rf /run/cvg-run /etc/cron.d/cvg-run";
    host.sh(clear);
    host.must("useradd -M cvg-run; install -d -o cvg-run /run/cvg-run");
    let odd = "a%b 100%% 'q' \"d\" $HOME \\x";
    let job = |name: &str, more: serde_json::Value| {
        let command =
            ["sh", "-c", "printf '%s\\n' \"$1\" \"$LANG\" \"$(id -un)\" > /run/cvg-run/$0", name, odd];
        let mut declared = json!({"cron": format!("cvg {name}"), "user": "cvg-run", "schedule": "* * * * *",
            "command": command, "environment": {"LANG": "it's 5%"}});
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        if more.get("file").is_some() {
            declared["environment"]["MAILTO"] = json!("root");
        }
        declared
    };
    let mut agent = host.agent();
    for declared in [job("table", json!({})), job("file", json!({"file": "cvg-run"}))] {
        assert_eq!(agent.converge(&resource("cron", declared)).1, Ok(()));
    }
    let ran = host.must("for i in $(seq 150); do [ -s /run/cvg-run/table ] && [ -s /run/cvg-run/file ] && break; sleep 0.5; done; cat /run/cvg-run/table /run/cvg-run/file");
    assert_eq!(ran, format!("{odd}\nit's 5%\ncvg-run\n").repeat(2));
    host.sh(clear);
}
