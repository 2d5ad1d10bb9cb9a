//! Hosts for integration tests: a lab of real Debian machines (see tests/lab/lab.sh), one for each test.
//!
//! ```ignore
//! #[path = "support/lab.rs"] mod lab;
//! let Ok(()) = lab::Lab::available() else { return };   // or print why it is skipped
//! let lab = lab::Lab::up("power-cut", &["dom0", "vps0:off"]);
//! assert!(lab.ssh("dom0", "true").ok());
//! ```
//! Everything panics with what lab.sh said when the lab itself fails: that is never a test's subject.
#![allow(dead_code)] // no test file uses all of it

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command left behind; `status` is its exit code, 255 for ssh's own failures, -1 if a signal ended it.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn ok(&self) -> bool {
        self.status == 0
    }
}

pub struct Lab {
    name: String,
    dir: PathBuf,
}

fn project() -> PathBuf {
    // where cargo runs it wins: the tree may have been moved or copied since it was compiled
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn script() -> PathBuf {
    project().join("tests/lab/lab.sh")
}

fn xen_script() -> PathBuf {
    project().join("tests/lab/real-xen/xen.sh")
}

fn run(cmd: &mut Command) -> Output {
    let out = cmd.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {cmd:?}: {e}"));
    Output {
        status: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}

impl Lab {
    /// Can this machine have a lab? If not, the error is one line that says what is missing.
    pub fn available() -> Result<(), String> {
        let out = run(Command::new(script()).arg("probe").env("LAB", project().join("target/lab/main")));
        if out.ok() { Ok(()) } else { Err(format!("{}{}", out.stdout, out.stderr).trim().to_string()) }
    }

    /// A new lab under target/lab/tests/NAME; hosts as `lab.sh up` takes them ("h1", "h2=50", "vps0:off").
    /// It goes when this value is dropped, and when this process dies; with KEEP_LAB=1 it stays, to be looked at
    /// (`LAB=target/lab/tests/NAME tests/lab/lab.sh down` ends it).
    pub fn up(name: &str, hosts: &[&str]) -> Lab {
        Lab::up_with(name, hosts, &[])
    }

    /// As `up`, with environment: `[("LATENCY", "50")]`.
    pub fn up_with(name: &str, hosts: &[&str], env: &[(&str, &str)]) -> Lab {
        let lab = Lab { name: name.into(), dir: project().join("target/lab/tests").join(name) };
        lab.sh(["down"]); // what KEEP_LAB left
        let mut cmd = lab.command();
        cmd.arg("up");
        if !keep() {
            cmd.args(["--owner", &std::process::id().to_string()]);
        }
        let out = run(cmd.args(hosts).envs(env.iter().copied()));
        assert!(out.ok(), "lab {name} did not come up: {}{}", out.stdout, out.stderr);
        lab
    }

    /// Can this machine have real Xen (tests/lab/real-xen)? If not, what is missing.
    pub fn real_xen_available() -> Result<(), String> {
        let out = run(Command::new(xen_script()).arg("probe"));
        if out.ok() { Ok(()) } else { Err(format!("{}{}", out.stdout, out.stderr).trim().to_string()) }
    }

    /// A lab whose dom0 is an emulated machine under real Xen, with vps0 not yet created. It is also
    /// taken away when this process ends, however that comes.
    pub fn up_real_xen(name: &str) -> Lab {
        let lab = Lab { name: name.into(), dir: project().join("target/lab/tests").join(name) };
        lab.sh(["down"]);
        let owner = std::process::id().to_string();
        let out = run(lab.xen_command().args(["up", "--owner", &owner]));
        assert!(out.ok(), "real Xen did not come up: {}{}", out.stdout, out.stderr);
        lab
    }

    fn xen_command(&self) -> Command {
        let mut cmd = Command::new(xen_script());
        cmd.env("LAB", &self.dir);
        cmd
    }

    /// `xen.sh ARGS`, whatever comes of it.
    pub fn xen(&self, args: &[&str]) -> Output {
        run(self.xen_command().args(args))
    }

    /// `lab.sh`, for this lab.
    pub fn command(&self) -> Command {
        let mut cmd = Command::new(script());
        cmd.env("LAB", &self.dir);
        cmd
    }

    /// `lab.sh ARGS`, which must succeed; its stdout.
    pub fn sh<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> String {
        let mut cmd = self.command();
        let out = run(cmd.args(args));
        assert!(
            out.ok(),
            "lab {}: {:?} failed ({}): {}{}",
            self.name,
            cmd,
            out.status,
            out.stdout,
            out.stderr
        );
        out.stdout
    }

    /// A shell command line as root on the host, through ssh, whatever comes of it.
    pub fn ssh(&self, host: &str, cmd: &str) -> Output {
        run(self.command().args(["ssh", "-oConnectTimeout=10", host, cmd]))
    }

    /// As `ssh`, as another user.
    pub fn ssh_as(&self, user: &str, host: &str, cmd: &str) -> Output {
        run(self.command().args(["ssh", "-oConnectTimeout=10", "-l", user, host, cmd]))
    }

    /// As `ssh`, but it must exit with 0; its stdout.
    pub fn must(&self, host: &str, cmd: &str) -> String {
        let out = self.ssh(host, cmd);
        assert!(out.ok(), "{host}: `{cmd}` exited with {}: {}{}", out.status, out.stdout, out.stderr);
        out.stdout
    }

    /// A command that will run on this machine's files but the lab's network, as the controller 10.77.0.1; the names
    /// of the hosts resolve there. The test adds environment and runs it as it likes.
    pub fn net<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, argv: I) -> Command {
        let mut cmd = self.command();
        cmd.arg("net").args(argv);
        cmd
    }

    pub fn power_cut(&self, host: &str) {
        self.sh(["power-cut", host]);
    }

    /// Power on; returns when ssh answers.
    pub fn boot(&self, host: &str) {
        self.sh(["boot", host]);
    }

    /// Until ssh answers, such as on a Xen guest that was just created.
    pub fn wait(&self, host: &str) {
        self.sh(["wait", host]);
    }

    /// A fresh disk, with the same host key.
    pub fn reset(&self, host: &str) {
        self.sh(["reset", host]);
    }

    pub fn add(&self, hosts: &[&str]) {
        self.sh(std::iter::once(&"add").chain(hosts));
    }

    /// Pull the host's cable; it runs on.
    pub fn partition(&self, host: &str) {
        self.sh(["partition", host]);
    }

    pub fn heal(&self, host: &str) {
        self.sh(["heal", host]);
    }

    /// Write a file on the host without ssh, also while it is off. Mode 644.
    pub fn put(&self, host: &str, path: &str, content: impl AsRef<[u8]>) {
        self.put_mode(host, path, content, "644");
    }

    pub fn put_mode(&self, host: &str, path: &str, content: impl AsRef<[u8]>, mode: &str) {
        let mut child = self
            .command()
            .args(["put", host, "-", path, mode])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lab.sh put");
        // a lab.sh that refuses does not read: what it says matters then, not the broken pipe
        let _ = child.stdin.take().expect("piped").write_all(content.as_ref());
        let out = child.wait_with_output().expect("lab.sh put");
        assert!(out.status.success(), "put {host}:{path}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Make `host` a Xen machine with these guests (it is powered off and on again for that).
    pub fn dom0(&self, host: &str, guests: &[&str]) {
        self.sh(["dom0", host].iter().chain(guests));
    }

    /// How long Xen takes: 1 as the real one (17 s to create a domain), 0.1 the default.
    pub fn xen_speed(&self, factor: f64) {
        self.sh(["xen-speed", &factor.to_string()]);
    }

    /// The site of our story on dom0 and vps0, up and answering.
    pub fn site(&self) {
        self.sh(["site"]);
    }

    pub fn ip(&self, host: &str) -> String {
        let list = std::fs::read_to_string(self.dir.join("hosts.txt")).expect("hosts.txt");
        let of =
            |line: &str| line.split_once(' ').filter(|(name, _)| *name == host).map(|(_, ip)| ip.to_string());
        list.lines().find_map(of).unwrap_or_else(|| panic!("no host {host} in lab {}", self.name))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The private key of root and admin on every host.
    pub fn key(&self) -> PathBuf {
        self.dir.join("id")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }
}

fn keep() -> bool {
    std::env::var_os("KEEP_LAB").is_some_and(|v| v == "1")
}

impl Drop for Lab {
    fn drop(&mut self) {
        if keep() {
            eprintln!("lab kept in {}", self.dir.display());
            return;
        }
        let out = run(self.command().arg("down")); // a panic in here would hide the test's own
        if !out.ok() {
            eprintln!("lab {} would not go down: {}{}", self.name, out.stdout, out.stderr);
        }
    }
}
