//! What is declared for the next boot is there after it: parameters, name and time zone of a host,
//! through a power cut.

mod support;

use support::lab::Lab;
use support::{converge_in, has_lab, run};

const SPEC: &str = "
resources:
  h1:
    - hostname: cvg-web1
    - line: own name
      file: /etc/hosts
      text: 127.0.1.1 cvg-web1
    - timezone: Asia/Kolkata
    - sysctl: net.core.somaxconn
      value: 1234
    - sysctl: net.ipv4.tcp_rmem
      value: 4096 131072 7000000
    - file: /etc/app.conf
      mode: 640
    - line: first
      file: /etc/app.conf
      text: VALUE
    - block: second
      file: /etc/app.conf
      content: VALUE
    - unit: app
      enabled: true
      content: |
        [Service]
        ExecStart=/bin/sleep infinity
        [Install]
        WantedBy=multi-user.target
      restart_on: [line:first, block:second, sysctl:net.core.somaxconn]
";

fn pid(lab: &Lab) -> String {
    lab.must("h1", "systemctl show app -p MainPID --value")
}

#[test]
fn settings_outlive_a_power_cut_and_what_watches_them_restarts_once_for_each_change() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("boot", &["h1"]);
    let path = lab.dir().join("boot.yaml");
    let write = |value: &str| {
        let hosts = format!("hosts:\n  h1:\n    address: {}\n    user: root\n", lab.ip("h1"));
        std::fs::write(&path, hosts + &SPEC.replace("VALUE", value)).unwrap();
    };
    let converge = |verb: &str| run(converge_in(&lab).args([verb, "--format", "json"]).arg(&path));
    write("one");
    assert_eq!(converge("plan").expect(2).summary()["changed"], 9);
    assert_eq!(converge("apply").expect(0).summary()["changed"], 9);
    assert_eq!(converge("apply").expect(0).summary()["changed"], 0);
    let seen = "hostnamectl --static; hostname; timedatectl show -p Timezone --value; date +%Z; \
                sysctl -n net.core.somaxconn net.ipv4.tcp_rmem";
    let wanted = "cvg-web1\ncvg-web1\nAsia/Kolkata\nIST\n1234\n4096\t131072\t7000000\n";
    assert_eq!(lab.must("h1", seen), wanted);
    assert_eq!(lab.must("h1", "cat /etc/sysctl.d/99-converge.conf").lines().count(), 2);

    let before = pid(&lab);
    write("two");
    let planned = converge("plan").expect(2);
    assert_eq!(planned.status("h1/unit:app"), "changed", "the restart is planned");
    converge("apply").expect(0);
    assert_ne!(pid(&lab), before, "it runs with what is there now");
    let before = pid(&lab);
    lab.must("h1", "echo by hand >> /etc/app.conf");
    // Nothing of what is declared is off, but the unit does not run with it.
    assert_eq!(converge("apply").expect(0).summary()["changed"], 1);
    assert_ne!(pid(&lab), before);

    lab.power_cut("h1");
    lab.boot("h1");
    assert_eq!(lab.must("h1", seen), wanted, "after the boot");
    assert_eq!(converge("apply").expect(0).summary()["changed"], 0);
}
