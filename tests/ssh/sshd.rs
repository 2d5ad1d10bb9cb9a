//! A real sshd of a test's own: on a port of 127.0.0.1, in a mount namespace where /etc, /home,
//! /root, /run, /var/lib and /var/tmp are its own, so that nothing of this machine is touched.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use converge::inventory::Host;
use converge::node::{Agents, Node, ReachOptions, Unreachable, reach};

pub struct Sshd {
    pub directory: tempfile::TempDir,
    pub port: u16,
    child: Child,
}

const WORLD: &str = r#"
set -e
mount --make-rprivate /
cp -a /etc etc
mount --bind etc /etc
for place in /home /root /run /var/lib /var/tmp; do mount -t tmpfs -o size=256m tmpfs $place; done
chmod 755 /home /run /var/lib
chmod 700 /root
mkdir -p /run/sshd
uid=5000
for shell in bash dash zsh fish tcsh busybox; do
    uid=$((uid + 1))
    path=$(command -v $shell) || continue
    [ $shell != busybox ] || { ln -s $path /run/sh; path=/run/sh; }
    echo "u$shell:x:$uid:$uid::/home/u$shell:$path" >>/etc/passwd
    echo "u$shell:*:19000:0:99999:7:::" >>/etc/shadow
    mkdir /home/u$shell
    chown $uid:$uid /home/u$shell
done
echo 'ubash ALL=(root) NOPASSWD: ALL' >/etc/sudoers
echo 'permit nopass ubash as root' >/etc/doas.conf
chmod 440 /etc/sudoers /etc/doas.conf
"#;

/// Only root can make such a world.
pub fn possible() -> bool {
    let possible = rustix::process::geteuid().is_root() && Path::new("/usr/sbin/sshd").exists();
    if !possible {
        eprintln!("skipped: it needs root and /usr/sbin/sshd");
    }
    possible
}

impl Sshd {
    pub fn start() -> Sshd {
        Sshd::with("", "")
    }

    /// `world` is shell, run before sshd; `config` is more of sshd_config.
    pub fn with(world: &str, config: &str) -> Sshd {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        for (name, text) in keys() {
            fs::write(at(name), text).unwrap();
            fs::set_permissions(
                at(name),
                Permissions::from_mode(if name.ends_with(".pub") { 0o644 } else { 0o600 }),
            )
            .unwrap();
        }
        fs::copy(at("id.pub"), at("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let keys: String = ["ed25519", "rsa", "ecdsa"]
            .iter()
            .map(|kind| format!("HostKey {}\n", at(&format!("host_{kind}"))))
            .collect();
        let sshd_config = format!(
            "Port {port}\nListenAddress 127.0.0.1\n{keys}AuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PidFile none\nLogLevel VERBOSE\nMaxStartups 100\n{config}\n",
            at("authorized_keys")
        );
        fs::write(at("sshd_config"), sshd_config).unwrap();
        let script = format!("{WORLD}\n{world}\nexec /usr/sbin/sshd -D -E sshd.log -f {}", at("sshd_config"));
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let sshd = Sshd { directory, port, child };
        sshd.know("ed25519");
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "sshd does not start: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
    }

    /// Puts the host's key of this type into known_hosts, alone.
    pub fn know(&self, kind: &str) {
        let key = fs::read_to_string(self.path(&format!("host_{kind}.pub"))).unwrap();
        self.known_hosts(&format!("[127.0.0.1]:{} {key}", self.port));
    }

    pub fn known_hosts(&self, text: &str) {
        fs::write(self.path("known_hosts"), text).unwrap();
    }

    /// Runs a command in the host's world.
    pub fn inside(&self, line: &str) -> String {
        let target = self.child.id().to_string();
        let output = Command::new("nsenter").args(["-t", &target, "-m", "sh", "-c", line]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    pub fn host(&self, user: &str) -> Host {
        Host {
            address: Some("127.0.0.1".into()),
            port: Some(self.port),
            user: Some(user.into()),
            ..Host::ssh("lab")
        }
    }

    /// The options of a run, with an ssh_config of the test's own.
    pub fn options(&self) -> ReachOptions {
        self.options_with("")
    }

    pub fn options_with(&self, more: &str) -> ReachOptions {
        let config = format!(
            "{more}\nUserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nIdentityFile {}\nIdentitiesOnly yes\n\
             IdentityAgent none\n",
            self.path("known_hosts").display(),
            self.path("id").display()
        );
        fs::write(self.path("ssh_config"), config).unwrap();
        ReachOptions {
            connect_timeout: Duration::from_secs(5),
            agents: agents(),
            ssh_config: Some(self.path("ssh_config")),
            become_password: None,
        }
    }

    pub fn reach(&self, user: &str) -> Result<Box<dyn Node>, Unreachable> {
        reach(&self.host(user), &self.options())
    }

    /// The pids of agents in this world.
    pub fn agents(&self) -> Vec<i32> {
        let ours = fs::read_link(format!("/proc/{}/ns/mnt", self.child.id())).unwrap();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let program = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let here = fs::read_link(entry.path().join("ns/mnt")).is_ok_and(|namespace| namespace == ours);
            if here && program.to_string_lossy().contains("/converge-agent-") {
                found.push(pid);
            }
        }
        found
    }

    /// Waits until no agent is left.
    pub fn agents_end_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.agents().is_empty() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // The listener and every connection of it: all that lives in its namespace.
        let ours = fs::read_link(format!("/proc/{}/ns/mnt", self.child.id()));
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let namespace = fs::read_link(entry.path().join("ns/mnt"));
            let pid = entry.file_name().to_string_lossy().parse::<i32>().ok();
            if let (Ok(ours), Ok(theirs), Some(pid)) =
                (&ours, &namespace, pid.and_then(rustix::process::Pid::from_raw))
                && ours == theirs
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Made once: an RSA key takes a second.
fn keys() -> &'static [(String, String)] {
    static KEYS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let place = tempfile::tempdir().unwrap();
        for (name, kind) in
            [("host_ed25519", "ed25519"), ("host_rsa", "rsa"), ("host_ecdsa", "ecdsa"), ("id", "ed25519")]
        {
            keygen(kind, &place.path().join(name));
        }
        let files = fs::read_dir(place.path()).unwrap().flatten();
        files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
            .collect()
    })
}

pub fn keygen(kind: &str, path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
}

pub fn fingerprint(path: &Path) -> String {
    let output = Command::new("ssh-keygen").arg("-lf").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1).unwrap().to_owned()
}

/// The agent that was built with the tests, stripped; or a release's, from CONVERGE_AGENTS.
pub fn agents() -> Arc<Agents> {
    static AGENTS: OnceLock<Arc<Agents>> = OnceLock::new();
    let found = AGENTS.get_or_init(|| {
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("agents-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let (built, agent) = (env!("CARGO_BIN_EXE_converge-agent"), place.join("converge-agent-x86_64"));
        let stripped = Command::new("strip").args(["-o"]).arg(&agent).arg(built).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(built, &agent).unwrap();
        }
        let places =
            std::env::var_os("CONVERGE_AGENTS").map(PathBuf::from).into_iter().chain([place.clone()]);
        let agents = Agents::in_places(places.collect()).unwrap();
        fs::remove_dir_all(&place).unwrap();
        Arc::new(agents)
    });
    Arc::clone(found)
}
