//! `command` from every start: what its guards are about, and what they answer.

use serde_json::json;

use crate::agent::host;
use crate::table::Table;

#[test]
fn a_command_from_every_start_of_what_it_creates_and_removes() {
    let Some(host) = host() else { return };
    // Each run is noted: the table sees in it whether a second one was made.
    let declared = json!({"command": "build", "run": "echo ran >> log; echo made > made; rm -rf old",
        "directory": "/srv/cvg-cmd", "creates": "/srv/cvg-cmd/made", "removes": "/srv/cvg-cmd/old"});
    let clear = "rm -rf /srv/cvg-cmd";
    let look = "find /srv/cvg-cmd -printf '%p %y %i %T@ %l\\n' 2>&1 | sort; cat /srv/cvg-cmd/log 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "command", declared, clear, look };
    let at = |line: &str| format!("mkdir -p /srv/cvg-cmd; cd /srv/cvg-cmd; {line}");
    table.row("neither made nor removed", &at("touch old"), &["run", "creates", "removes"]);
    assert_eq!(host.must("cat /srv/cvg-cmd/log"), "ran\n", "it ran once");
    table.row("made and removed", &at("touch made"), &[]);
    table.row("not made", &at(":"), &["run", "creates"]);
    table.row("not removed", &at("touch made old"), &["run", "removes"]);
    table.row("a directory is made", &at("mkdir made"), &[]);
    table.row("an empty file is made", &at(": > made"), &[]);
    table.row("a link to something is made", &at("ln -s /etc/hostname made"), &[]);
    table.row("a dangling link is made", &at("ln -s /srv/cvg-cmd/end made"), &["run", "creates"]);
    table.row("a dangling link is not removed", &at("touch made; ln -s nowhere old"), &["run", "removes"]);
    table.row("a directory is not removed", &at("touch made; mkdir -p old/full"), &["run", "removes"]);
    table.refused("no directory to run in", "", "/srv/cvg-cmd");
    table.declared["run"] = json!("exit 3");
    table.declared.as_object_mut().unwrap().remove("removes");
    table.refused("it fails", &at(":"), "`exit 3`: exit 3");
    table.declared["run"] = json!("true");
    table.refused("it makes nothing", &at(":"), "still");
    table.declared["user"] = json!("cvg-nobody-there");
    table.refused("no user to run as", &at(":"), "there is no user cvg-nobody-there");
}

#[test]
fn a_command_from_every_answer_of_its_guards() {
    let Some(host) = host() else { return };
    let run = "echo ran >> /srv/cvg-guard/log; echo yes > /srv/cvg-guard/is";
    let declared = json!({"command": run, "unless": "grep -q yes /srv/cvg-guard/is"});
    let clear = "rm -rf /srv/cvg-guard /var/lib/converge/commands/*cvg-guard*";
    let look =
        "find /srv/cvg-guard -printf '%p %y %i %T@ %l\\n' 2>&1 | sort; cat /srv/cvg-guard/log 2>&1; true";
    let mut table = Table { host: &host, agent: host.agent(), word: "command", declared, clear, look };
    let at = |line: &str| format!("mkdir -p /srv/cvg-guard; cd /srv/cvg-guard; {line}");
    table.row("unless has nothing to look at", &at(":"), &["run", "unless"]);
    table.row("unless says no", &at("echo no > is"), &["run", "unless"]);
    table.row("unless says yes", &at("echo yes > is"), &[]);
    table.declared = json!({"command": run, "unless": "grep -q yes /srv/cvg-guard/is", "only_if": "test -e /srv/cvg-guard/go"});
    table.row("only_if says no", &at("echo no > is"), &[]);
    table.row("only_if says yes, and unless yes", &at("touch go; echo yes > is"), &[]);
    table.row("only_if says yes, and unless no", &at("touch go; echo no > is"), &["run", "unless"]);
    let run = "echo ran >> /srv/cvg-guard/log; rm /srv/cvg-guard/go";
    table.declared = json!({"command": run, "only_if": "test -e /srv/cvg-guard/go"});
    table.row("only_if alone says yes", &at("touch go"), &["run"]);
    table.row("only_if alone says no", &at(":"), &[]);
    let run = "echo ran >> /srv/cvg-guard/log; cp /srv/cvg-guard/in /srv/cvg-guard/out";
    let declared = json!({"command": run, "on_change_of": "/srv/cvg-guard/in"});
    table.declared = declared.clone();
    let earlier = "echo for declared >> /srv/cvg-guard/log";
    table.row("never run for this content", &at("date +%N > in"), &["run", "on_change_of"]);
    let mut from = |start: &str, line: &str, off: &[&str]| {
        table.row_from(start, &[&at("date +%N > in"), &at(line)], Some(&declared), off);
    };
    from("run for this content", earlier, &[]);
    from("run for this content, which was written again", "cp in new; mv new in", &[]);
    from("run for another content", "date +%N > in", &["run", "on_change_of"]);
    assert_eq!(host.must("cat /srv/cvg-guard/log"), "ran\nran\n");
}
