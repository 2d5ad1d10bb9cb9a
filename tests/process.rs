//! `process` through the built program, on hosts of its own that lose their power: one with
//! systemd, one without.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use support::lab::Lab;
use support::{Ran, converge_in, has_lab, run};

const HOSTS: [&str; 2] = ["systemd", "plain"];

struct Case {
    lab: Lab,
}

impl Case {
    fn spec(&self, resources: &str) -> PathBuf {
        let mut spec = "hosts:\n".to_owned();
        for host in HOSTS {
            spec += &format!("  {host}: {{address: {}, user: root, wait: 30s}}\n", self.lab.ip(host));
        }
        spec += &format!("resources:\n  all:\n{resources}");
        let path = self.lab.dir().join("spec.yaml");
        fs::write(&path, spec).unwrap();
        path
    }

    fn apply(&self, resources: &str) -> Ran {
        let spec = self.spec(resources);
        run(self.command().arg("apply").arg(spec).args(["--format", "json"]))
    }

    fn command(&self) -> Command {
        let mut command = converge_in(&self.lab);
        command.env("BELL_TOKEN", "rosebud-7");
        command
    }

    fn starts(&self, host: &str) -> Vec<String> {
        let said = self.lab.ssh(host, "cat /srv/bell/starts").stdout;
        said.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn soon(&self, host: &str, line: &str) {
        let line = format!("for i in $(seq 600); do {line} && exit 0; sleep 0.1; done; exit 1");
        let out = self.lab.ssh(host, &line);
        assert!(out.ok(), "{host}: never: {line}: {}{}", out.stdout, out.stderr);
    }
}

const RESOURCES: &str = "
    - directory: /srv/bell
    - file: /usr/local/bin/bell
      mode: 755
      content: |
        #!/bin/sh
        echo $$ >> /srv/bell/starts
        exec sleep 100000
    - process: bell
      command: [bell]
      directory: /srv/bell
      delay: 100ms
";

#[test]
fn a_process_comes_back_after_the_power_has_gone_and_goes_for_good_when_it_is_stopped() {
    if !has_lab() {
        return;
    }
    let case = Case { lab: Lab::up("process", &["systemd", "plain:init=sh"]) };
    let plan = run(case.command().arg("plan").arg(case.spec(RESOURCES)).args(["--format", "json"])).expect(2);
    let applied = case.apply(RESOURCES).expect(0);
    for host in HOSTS {
        let id = format!("{host}/process:bell");
        assert_eq!(applied.status(&id), "changed");
        assert_eq!(case.starts(host).len(), 1, "{host}");
        assert!(plan.resource(&id)["status"] != "failed", "{}", plan.resource(&id));
    }
    assert_eq!(case.apply(RESOURCES).expect(0).summary()["changed"], 0);

    for host in HOSTS {
        case.lab.power_cut(host);
        case.lab.boot(host);
    }
    for host in HOSTS {
        case.soon(host, "test $(wc -l < /srv/bell/starts) = 2");
    }
    // It came back without converge, which finds nothing to do.
    assert_eq!(case.apply(RESOURCES).expect(0).summary()["changed"], 0);
    for host in HOSTS {
        assert_eq!(case.starts(host).len(), 2, "{host}");
        let running = case.lab.ssh(host, "pgrep -cxf 'sleep 100000'");
        assert_eq!(running.stdout.trim(), "1", "{host}");
    }

    let stopped = "    - process: bell\n      state: stopped\n";
    let ran = case.apply(stopped).expect(0);
    for host in HOSTS {
        assert_eq!(ran.status(&format!("{host}/process:bell")), "changed");
        let left = case.lab.ssh(
            host,
            "pgrep -xf 'sleep 100000'; ls /etc/systemd/system/*bell* /etc/systemd/system/*/*bell* /etc/cron.d/*bell* \
             /etc/converge/processes/*bell* 2>/dev/null",
        );
        assert_eq!(left.stdout, "", "{host}");
    }
    assert_eq!(case.apply(stopped).expect(0).summary()["changed"], 0);
    for host in HOSTS {
        case.lab.power_cut(host);
        case.lab.boot(host);
        case.soon(host, "pgrep -x cron");
    }
    assert_eq!(case.apply(stopped).expect(0).summary()["changed"], 0);
    for host in HOSTS {
        assert_eq!(case.starts(host).len(), 2, "{host}");
    }
}

#[test]
fn a_secret_of_a_process_is_on_no_command_line_and_in_no_file_that_others_read() {
    if !has_lab() {
        return;
    }
    let case = Case { lab: Lab::up("process-secret", &["systemd", "plain:init=sh"]) };
    let spec = case.spec(
        "
    - process: bell
      command: 'test ${#TOKEN} = 9 && exec sleep 100000'
      environment: {TOKEN: '{{ secrets.bell }}'}
",
    );
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, format!("secrets:\n  bell: {{env: BELL_TOKEN}}\n{text}")).unwrap();
    for format in ["human", "json"] {
        let ran = run(case.command().arg("plan").arg(&spec).args(["--format", format])).expect(2);
        ran.does_not_say("rosebud");
    }
    run(case.command().arg("apply").arg(&spec)).expect(0).does_not_say("rosebud");
    for host in HOSTS {
        let open =
            "find /etc /run /var /tmp /usr/local -xdev -type f -perm /044 -exec grep -ls rosebud- {} +";
        let found = case.lab.ssh(host, &format!("{open}; ps axww -o args | grep 'rosebud-[7]'; true"));
        assert_eq!(found.stdout, "", "{host}");
        let environment =
            case.lab.ssh(host, "grep -l rosebud /etc/converge/processes/* | xargs stat -c '%a %U'");
        assert_eq!(environment.stdout.trim(), "600 root", "{host}");
    }
    // The secret has changed: what was the value before is told by nobody.
    let mut again = case.command();
    again.env("BELL_TOKEN", "other-secret").arg("plan").arg(&spec).args(["--format", "json"]);
    let ran = run(&mut again).expect(2).does_not_say("rosebud").does_not_say("other-secret");
    let change = &ran.resource("plain/process:bell")["changes"][0];
    assert_eq!((change["attribute"].as_str(), change["to"].as_str()), (Some("environment"), Some("TOKEN")));
}
