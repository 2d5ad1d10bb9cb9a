//! Real Xen: a dom0 and its guests, emulated (tests/lab/real-xen). `make test-xen` runs this, for it
//! takes minutes and a whole core, and writes docs/xen.md from what was seen.

#[path = "xen/machine.rs"]
mod machine;
#[path = "xen/record.rs"]
mod record;
mod support;

use std::path::PathBuf;
use std::time::Instant;

use machine::{Machine, machine};
use record::{Record, seconds};
use serde_json::Value;
use support::{login, prod, prod_with, run};

const DOMAIN: &str = "app-server/domain:vps0";

/// A spec for dom0, reached as its admin.
fn on_dom0(machine: &Machine, rights: &str, resources: &str) -> PathBuf {
    let text = format!(
        "hosts:\n  dom0:\n    address: {}\n    user: admin\n    become: {rights}\n\nresources:\n  dom0:\n{resources}",
        machine.lab.ip("dom0")
    );
    machine.spec("dom0.yaml", &text)
}

/// The domains of arrange.sh: what they are, how a plan names that, and in which of the four
/// states they are already. Without a name they pass by themselves, and are waited for.
const SITUATIONS: [(&str, &str, Option<&str>, &[&str]); 10] = [
    ("absent", "absent", Some("absent"), &["shutdown", "absent"]),
    ("running", "running", Some("running"), &["running"]),
    ("paused", "paused", Some("paused"), &["paused"]),
    ("twice", "paused twice", Some("paused"), &["paused"]),
    ("kept", "shut down, preserved", Some("shut down (preserved)"), &["shutdown"]),
    ("crashed", "crashed, preserved", Some("crashed (preserved)"), &["shutdown"]),
    ("half", "half built by a killed `xl create`", None, &[]),
    ("building", "being built", None, &[]),
    ("leaving", "shutting down", None, &[]),
    ("destroyed", "being destroyed", None, &[]),
];

const STATES: [&str; 4] = ["running", "paused", "shutdown", "absent"];

fn told(change: &Value) -> String {
    format!("{} → {}", change["from"].as_str().unwrap_or("?"), change["to"].as_str().unwrap_or("?"))
}

#[test]
fn a_every_state_is_reached_from_every_situation_as_the_plan_says_and_then_left_alone() {
    let Some(machine) = machine() else { return };
    let mut record = Record::new("1-states.md", "From every situation to every state");
    let script = include_str!("xen/arrange.sh");
    let arranged = format!("arranged-{}", &converge::attribute::sha256_hex(script.as_bytes())[..8]);
    record.say(
        "Ten guests of 96 MB, each in a situation of its own. Three of these last only seconds: they are held by \
         stopping the `xl` that works on the guest, which goes on 8 s after the plan. The half built one is what a \
         killed `xl create` left. Each of the four states was then wanted of all ten, from the same start \
         (a snapshot of the whole machine). For each guest:",
    );
    record.resources("    - domain: t-running\n      state: shutdown            # or: running, paused, absent\n      timeout: 10m\n      shutdown_timeout: 5m");
    if machine.has(&arranged) {
        machine.load(&arranged);
    } else {
        machine.put("/root/arrange.sh", script);
        let begun = Instant::now();
        machine.must("bash /root/arrange.sh");
        record.say(&format!("They were made in {}, and a snapshot of that.", seconds(begun.elapsed())));
        machine.save(&arranged);
    }
    record.say("The start:");
    record.xl_list(&machine);

    let mut cells = vec![Vec::new(); SITUATIONS.len()];
    let mut times = String::new();
    for wanted in STATES {
        machine.load(&arranged);
        let domains: String = SITUATIONS
            .iter()
            .map(|(name, ..)| {
                format!("    - domain: t-{name}\n      state: {wanted}\n      timeout: 10m\n      shutdown_timeout: 5m\n")
            })
            .collect();
        let spec = on_dom0(&machine, "sudo", &domains);
        let before = Instant::now();
        let planned = machine.converge("plan", &spec).expect(2);
        let planning = before.elapsed();
        for ((name, _, from, holding), cell) in SITUATIONS.iter().zip(&mut cells) {
            let event = planned.resource(&format!("dom0/domain:t-{name}"));
            let status = event["status"].as_str().unwrap_or_default();
            let expected = match from {
                None => "unknown",
                Some(_) if holding.contains(&wanted) => "ok",
                Some(_) => "changed",
            };
            assert_eq!(status, expected, "{wanted} from {name}: {event}");
            cell.push(match (status, from) {
                ("ok", _) => "holds".to_owned(),
                ("changed", Some(from)) => {
                    let change = told(&event["changes"][0]);
                    assert_eq!(change, format!("{from} → {wanted}"));
                    change
                }
                _ => format!("waits: {}", event["reason"].as_str().unwrap_or_default()),
            });
        }

        // They were to be slow to be caught; what is created now need not be.
        machine.must(
            "sed -i -e s,/boot/vmlinuz,/boot/vmlinux, -e '/^vif/d' /etc/xen/t-half.cfg /etc/xen/t-leaving.cfg \
             /etc/xen/t-destroyed.cfg; nohup sh -c 'sleep 8; pkill -CONT -x xl' >/dev/null 2>&1 &",
        );
        let before = Instant::now();
        let applied = machine.converge("apply", &spec).expect(0);
        let applying = before.elapsed();
        let list = machine.must("xl list");
        for (name, _, from, _) in SITUATIONS {
            let id = format!("dom0/domain:t-{name}");
            if from.is_some() {
                let (plan, apply) = (planned.resource(&id), applied.resource(&id));
                assert_eq!(
                    plan["status"], apply["status"],
                    "{wanted} from {name}: apply does what plan said"
                );
                assert_eq!(plan["changes"], apply["changes"], "{wanted} from {name}");
            }
            let flags = machine.flags(&list, &format!("t-{name}"));
            let is_so = match wanted {
                "running" => flags.len() == 6 && !flags.contains(['p', 's']),
                "paused" => flags == "--p---",
                "shutdown" => flags.is_empty() || flags.starts_with("---s"),
                _ => flags.is_empty(),
            };
            assert!(is_so, "{wanted} from {name}: `{flags}`\n{list}");
        }
        let before = Instant::now();
        let again = machine.converge("apply", &spec).expect(0);
        assert_eq!((&again.summary()["changed"], &again.summary()["ok"]), (&0.into(), &10.into()));
        let row = [planning, applying, before.elapsed()].map(seconds).join(" | ");
        times.push_str(&format!("| `{wanted}` | {row} |\n"));
    }

    record.say(
        "What `plan` said of each guest, for each state that was wanted. `holds`: nothing is to be done. `waits`: it is on \
         its way somewhere, so the plan cannot know, and apply waits for where that leads before it does anything. \
         `apply` then did just what was planned, waited for it, and `xl list` showed the state that was wanted:",
    );
    record.line(
        "| the guest is | `running` | `paused` | `shutdown` | `absent` |\n| --- | --- | --- | --- | --- |",
    );
    for ((_, what, ..), cell) in SITUATIONS.iter().zip(&cells) {
        record.line(&format!("| {what} | {} |", cell.join(" | ")));
    }
    record.say(
        "\nHow long that took, for all ten together (`xl create` takes seconds here, and guests are created one \
         after the other). The second `apply` changed nothing:",
    );
    record.line("| wanted | plan | apply | second apply |\n| --- | --- | --- | --- |");
    record.say(&times);
}

#[test]
fn b_a_guest_that_does_not_hear_is_told_and_never_destroyed() {
    let Some(machine) = machine() else { return };
    let mut record = Record::new("2-deaf.md", "A guest that does not hear that it is to shut down");
    machine.put(
        "/etc/xen/t-deaf.cfg",
        "name = \"t-deaf\"\ntype = \"pv\"\nkernel = \"/boot/vmlinux\"\nramdisk = \"/boot/tiny\"\n\
         extra = \"console=hvc0 quiet deaf\"\nmemory = 96\n",
    );
    machine.must("xl create /etc/xen/t-deaf.cfg && sleep 5");
    record.say(
        "Its init does nothing when it is told to power off. A guest that runs is never destroyed: what is left to do is \
         said, and left to the operator.",
    );
    let mut overdue = |state: &str| {
        let domain = format!(
            "    - domain: t-deaf\n      state: {state}\n      shutdown_timeout: 10s\n      timeout: 1m\n"
        );
        record.resources(&domain);
        let spec = on_dom0(&machine, "sudo", &domain);
        let failed = record.converge(&machine, "apply", &spec).expect(1);
        failed.says("has not within its shutdown_timeout of 10s");
        let flags = machine.flags(&machine.must("xl list"), "t-deaf");
        assert!(flags.len() == 6 && !flags.contains(['p', 's']), "it runs on: {flags}");
    };
    overdue("shutdown");
    overdue("absent");
    record.xl_list(&machine);
}

#[test]
fn c_what_is_wrong_is_told_with_the_way_out_and_nothing_is_left_behind() {
    let Some(machine) = machine() else { return };
    let mut record = Record::new("3-wrong.md", "What is wrong is told with the way out");
    let config = |name: &str, text: &str| {
        let rest = "type = \"pv\"\nkernel = \"/boot/vmlinux\"\nramdisk = \"/boot/tiny\"\n";
        machine.put(&format!("/etc/xen/{name}.cfg"), &format!("{rest}{text}"));
    };
    config("no-name", "memory = 96\n");
    config("anothers", "name = \"vps0\"\nmemory = 96\n");
    config("no-memory", "name = \"no-memory\"\nmemory = 99999\n");
    config("no-bridge", "name = \"no-bridge\"\nmemory = 96\nvif = [ \"bridge=nowhere\" ]\n");
    config("no-kernel", "name = \"no-kernel\"\nmemory = 96\nkernel = \"/boot/nosuch\"\n");
    config("no-syntax", "name = \"no-syntax\"\nmemory = [ 96\n");
    let wrong = [
        ("no-config", "its configuration /etc/xen/no-config.cfg does not exist", true),
        ("no-name", "/etc/xen/no-name.cfg has no `name`", true),
        ("anothers", "is the configuration of the domain vps0, and not of anothers", true),
        ("no-memory", "this machine has too little free memory for it", false),
        ("no-bridge", "there is no bridge nowhere", false),
        ("no-kernel", "/boot/nosuch, which it is to boot, cannot be opened", false),
        ("no-syntax", "config parsing error", false),
    ];
    let domains: String =
        wrong.iter().map(|(name, ..)| format!("    - domain: {name}\n      timeout: 10m\n")).collect();
    record.say(
        "Seven domains whose configurations are wrong, each as its name says (`anothers` is that of another domain). A plan \
         creates nothing, so it tells the three that can be read in the files. `apply` tells them all:",
    );
    record.resources(&domains);
    let spec = on_dom0(&machine, "sudo", &domains);
    let planned = machine.converge("plan", &spec).expect(1);
    for (name, _, is_seen) in wrong {
        let status = if is_seen { "failed" } else { "changed" };
        assert_eq!(planned.status(&format!("dom0/domain:{name}")), status, "a plan creates nothing");
    }
    let mut applied = record.converge(&machine, "apply", &spec).expect(1);
    for (_, reason, _) in wrong {
        applied = applied.says(reason);
    }
    record.say("Nothing is left of them, and a second `apply` says the same:");
    let list = record.xl_list(&machine);
    assert_eq!(list.lines().count(), 2, "nothing is left of them: {list}");
    let again = machine.converge("apply", &spec).expect(1);
    for (name, reason, _) in wrong {
        let event = again.resource(&format!("dom0/domain:{name}"));
        assert!(event["reason"].as_str().is_some_and(|said| said.contains(reason)), "{event}");
        assert!(event["help"].is_string(), "a way out: {event}");
    }

    record.say("As a user who is not root (the spec's host without `become: sudo`):");
    let spec = on_dom0(&machine, "none", "    - domain: vps0\n");
    record.converge(&machine, "plan", &spec).expect(1).says("become: sudo");

    record.say("On the same machine, booted without Xen:");
    let spec = on_dom0(&machine, "sudo", "    - domain: vps0\n");
    assert!(machine.lab.xen(&["bare"]).ok());
    machine.power_cut_and_boot();
    assert_eq!(record.in_dom0(&machine, "xl list").status, 1);
    record.converge(&machine, "plan", &spec).expect(1).says("this machine does not run under Xen");
}

/// Brings the site up, as `specs/prod.yaml` does.
fn site(machine: &Machine, record: &mut Record) {
    let spec = prod(&machine.lab);
    let begun = Instant::now();
    run(&mut machine.command("apply", &spec)).expect(0);
    let took = seconds(begun.elapsed());
    machine.save("site");
    record.say(&format!(
        "[specs/prod.yaml](../specs/prod.yaml), unchanged but for the addresses: dom0 is `app-server`, its guest a Debian \
         with systemd, supervisord and the site. At first there is no guest; the first `converge apply \
         specs/prod.yaml` took {took} to its site."
    ));
}

fn is_back(machine: &Machine, record: &mut Record, spec: &std::path::Path) {
    assert_eq!(login(&machine.lab), "200");
    record.converge(machine, "apply", spec).expect(0).says("Converged: 5 ok");
}

fn power_cut(machine: &Machine, record: &mut Record) {
    let begun = Instant::now();
    machine.power_cut_and_boot();
    record.say(&format!(
        "Power is cut: qemu is killed. It is started again, and {} later dom0 has booted and its ssh answers.",
        seconds(begun.elapsed())
    ));
}

#[test]
fn d_after_a_power_cut_one_apply_brings_the_site_back_and_a_second_changes_nothing() {
    let Some(machine) = machine() else { return };
    let mut record =
        Record::new("4-story.md", "The story: a power cut, and one `converge apply specs/prod.yaml`");
    site(&machine, &mut record);
    assert_eq!(login(&machine.lab), "200");
    let spec = prod(&machine.lab);
    power_cut(&machine, &mut record);
    let list = record.xl_list(&machine);
    assert_eq!(list.lines().count(), 2, "dom0's boot does not start the guest: {list}");
    assert_ne!(login(&machine.lab), "200");

    let planned = record.converge(&machine, "plan", &spec).expect(2);
    planned.says("+ app-server/domain:vps0  state absent → running").says("not known until");
    assert_eq!(machine.must("xl list").lines().count(), 2, "a plan touches nothing");
    let applied = record.converge(&machine, "apply", &spec).expect(0);
    applied
        .says("+ app-server/domain:vps0  state absent → running")
        .says("vps0/directory:/var/run/supervisor")
        .says("vps0/unit:supervisor");
    record.xl_list(&machine);
    is_back(&machine, &mut record, &spec);

    record.say("Somebody pauses the guest, twice: `xl` counts.");
    machine.must("xl pause vps0 && xl pause vps0");
    record.xl_list(&machine);
    assert_ne!(login(&machine.lab), "200");
    record.converge(&machine, "plan", &spec).expect(2).says("state paused → running");
    record.converge(&machine, "apply", &spec).expect(0).says("state paused → running");
    is_back(&machine, &mut record, &spec);
}

#[test]
fn e_with_autostart_the_guest_comes_up_by_itself_and_converge_only_confirms_it() {
    let Some(machine) = machine() else { return };
    let mut record = Record::new("5-autostart.md", "With `autostart: true`, and another power cut");
    match machine.has("site") {
        true => machine.load("site"),
        false => site(&machine, &mut record),
    }
    assert_eq!(login(&machine.lab), "200");
    let spec = prod_with(&machine.lab, |text| {
        text.replace(
            "      config: /etc/xen/vps0.cfg\n",
            "      config: /etc/xen/vps0.cfg\n      autostart: true\n",
        )
    });
    let applied = record.converge(&machine, "apply", &spec).expect(0);
    applied.says("~ app-server/domain:vps0  autostart no → yes");
    assert_eq!(machine.must("readlink /etc/xen/auto/vps0.cfg").trim(), "/etc/xen/vps0.cfg");
    power_cut(&machine, &mut record);

    record.say(
        "The boot goes on, and starts the guest. `converge apply` waits for that, and has nothing to do to the domain. What \
         the guest's own boot left broken it mends, as ever:",
    );
    let applied = record.converge(&machine, "apply", &spec).expect(0);
    applied
        .does_not_say(&format!("+ {DOMAIN}"))
        .does_not_say(&format!("~ {DOMAIN}"))
        .says("vps0/directory:/var/run/supervisor")
        .says("vps0/unit:supervisor");
    let list = record.xl_list(&machine);
    assert!(list.lines().any(|row| row.starts_with("vps0 ") && row.split_whitespace().nth(1) == Some("1")));
    is_back(&machine, &mut record, &spec);
}
