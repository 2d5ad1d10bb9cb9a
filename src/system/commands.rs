//! Running programs: with a deadline, in a process group of their own, in the C locale, with
//! everything they say collected.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::System;
use crate::attribute::CommandLine;
use crate::failure::{Failure, io_words};

/// No more than this of a program's output is kept (its beginning and its end), unless all of it is
/// asked for.
const OUTPUT_CAP: usize = 256 * 1024;

/// A program to run.
#[derive(Clone, Default)]
pub struct Invocation {
    argv: Vec<String>,
    directory: Option<PathBuf>,
    environment: Vec<(String, String)>,
    unset: Vec<String>,
    stdin: Option<Vec<u8>>,
    user: Option<super::users::Account>,
    locale_untouched: bool,
    whole_environment: bool,
    whole_output: bool,
}

/// What it said, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Invocation {
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Invocation { argv: argv.into_iter().map(Into::into).collect(), ..Invocation::default() }
    }

    /// A command of the user's: its locale is left as it is.
    pub fn of(command: &CommandLine) -> Self {
        Invocation { locale_untouched: true, ..Invocation::new(command.argv()) }
    }

    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Not inherited, whatever this process has.
    pub fn unset(mut self, name: impl Into<String>) -> Self {
        self.unset.push(name.into());
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// With what `withhold` keeps from others.
    pub fn whole_environment(mut self) -> Self {
        self.whole_environment = true;
        self
    }

    /// All that it says is wanted: a list of what there is, and not what people are told.
    pub fn whole_output(mut self) -> Self {
        self.whole_output = true;
        self
    }

    /// Run as this user, with its groups, HOME, USER and LOGNAME.
    pub fn user(mut self, account: super::users::Account) -> Self {
        self.user = Some(account);
        self
    }

    /// As a person would type it, for messages.
    pub fn shown(&self) -> String {
        CommandLine::Argv(match self.argv.as_slice() {
            [sh, c, line] if sh == "/bin/sh" && c == "-c" => return line.trim().to_owned(),
            argv => argv.to_vec(),
        })
        .to_string()
    }
}

/// Without environment and input, which may hold secrets.
impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation").field("argv", &self.argv).finish_non_exhaustive()
    }
}

impl Output {
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// `exit 3`, or `killed by SIGKILL`.
    pub fn ending(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (_, Some(signal)) => format!("killed by {}", signal_name(signal)),
            _ => "ended".to_owned(),
        }
    }

    /// A failure that shows what was run and all it said.
    pub fn failure(&self, tried: impl std::fmt::Display) -> Failure {
        let said = self.stderr.trim().lines().last().map(|line| format!(": {line}")).unwrap_or_default();
        Failure::new(format!("{tried}: {}{said}", self.ending()))
            .detail("stderr", self.stderr.trim_end())
            .detail("stdout", self.stdout.trim_end())
    }
}

/// As in `SIGTERM`.
pub fn signal_name(number: i32) -> String {
    match Signal::from_named_raw(number) {
        Some(signal) => {
            let name = format!("{signal:?}");
            format!("SIG{}", name.trim_matches('"').trim_start_matches("Signal::"))
        }
        None => format!("signal {number}"),
    }
}

impl System {
    /// Runs a program to its end, or kills its process group at the operation's deadline.
    /// Fails where it could not be started or did not end; a non-zero exit is the caller's.
    pub fn run(&self, invocation: &Invocation) -> Result<Output, Failure> {
        let (ended, readers) = self.carry_out(invocation, invocation.whole_output)?;
        // A child of the program may hold the pipes open; it has had its chance.
        let [stdout, stderr] = readers.map(|reader| reader.map(Reader::gather).unwrap_or_default());
        let status = self.status(invocation, ended, &stdout, &stderr)?;
        Ok(Output { status, stdout, stderr })
    }

    /// The same, with its standard output byte by byte and to its end, for what will be written back:
    /// what cannot be had whole is a failure.
    pub fn run_whole(&self, invocation: &Invocation) -> Result<(Output, Vec<u8>), Failure> {
        let (ended, [stdout, stderr]) = self.carry_out(invocation, true)?;
        let stderr = stderr.map(Reader::gather).unwrap_or_default();
        let status = self.status(invocation, ended, "", &stderr)?;
        match stdout.and_then(|reader| reader.all_by(self.deadline)) {
            Some(bytes) => Ok((Output { status, stdout: String::new(), stderr }, bytes)),
            None => Err(Failure::new(format!("`{}` did not say all of it", invocation.shown()))),
        }
    }

    /// Runs it to its end; what it says is being read.
    fn carry_out(
        &self,
        invocation: &Invocation,
        keeps_all: bool,
    ) -> Result<(Ended, [Option<Reader>; 2]), Failure> {
        self.before("run").map_err(|errno| cannot_run(invocation, errno))?;
        let mut child = self.spawn(invocation)?;
        let group = Group::of(&child);
        let _note = self.programs.note(child.id());
        let readers = [
            child.stdout.take().map(|pipe| Reader::of(pipe, keeps_all)),
            child.stderr.take().map(|pipe| Reader::of(pipe, false)),
        ];
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), invocation.stdin.clone()) {
            // A program that does not read its input is no failure of ours.
            thread::spawn(move || pipe.write_all(&bytes));
        }
        let ended = wait_until(&mut child, self.deadline);
        if !matches!(ended, Ok(Some(_))) {
            group.kill(Signal::KILL);
            drop(child.wait());
        }
        Ok((ended, readers))
    }

    fn status(
        &self,
        invocation: &Invocation,
        ended: Ended,
        stdout: &str,
        stderr: &str,
    ) -> Result<ExitStatus, Failure> {
        let status = match ended {
            Ok(Some(status)) => status,
            Ok(None) => {
                return Err(Failure::new(format!(
                    "`{}` did not end within its timeout, and was killed",
                    invocation.shown()
                ))
                .help("if it may take longer, give the resource a longer `timeout`")
                .detail("stderr until then", last_lines(stderr))
                .detail("stdout until then", last_lines(stdout)));
            }
            Err(error) => return Err(Failure::io(format!("waiting for `{}`", invocation.shown()), &error)),
        };
        self.before("end of run").map_err(|errno| cannot_run(invocation, errno))?;
        Ok(status)
    }

    /// Runs one of the system's own tools: where it is missing, says so by name.
    pub fn tool<const N: usize>(&self, argv: [&str; N]) -> Result<Output, Failure> {
        self.run(&Invocation::new(argv))
    }

    /// Whether `run` would find this program.
    pub fn has_program(&self, program: &str) -> bool {
        search_path().split(':').any(|place| {
            let meta = std::fs::metadata(std::path::Path::new(place).join(program));
            meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
    }

    fn spawn(&self, invocation: &Invocation) -> Result<Child, Failure> {
        let program = invocation.argv.first().ok_or_else(|| Failure::new("the command is empty"))?;
        let mut command = Command::new(program);
        command.args(&invocation.argv[1..]).process_group(0);
        command.stdin(if invocation.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !invocation.whole_environment {
            without_withheld(&mut command);
        }
        if !invocation.locale_untouched {
            command.env("LC_ALL", "C").env_remove("LANGUAGE");
        }
        for name in &invocation.unset {
            command.env_remove(name);
        }
        // cron and sudo hand on short ones, and the tools live in sbin.
        command.env("PATH", search_path());
        if let Some(account) = &invocation.user {
            account.put_on(&mut command);
        }
        command.envs(invocation.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &invocation.directory {
            if !directory.is_dir() {
                return Err(Failure::new(format!("`directory` {} does not exist", directory.display())));
            }
            command.current_dir(directory);
        }
        command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::new(format!("`{program}` is not installed here")).help(self.way_to(program))
            }
            _ => Failure::new(format!("cannot run `{}`: {}", invocation.shown(), io_words(&error))),
        })
    }
}

/// The caller's PATH, and the usual places that are not in it.
pub(super) fn search_path() -> String {
    let mut path = std::env::var("PATH").unwrap_or_default();
    for place in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        if !path.split(':').any(|there| there == place) {
            if !path.is_empty() {
                path.push(':');
            }
            path.push_str(place);
        }
    }
    path
}

fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// How it ended; None: not within its time.
type Ended = std::io::Result<Option<ExitStatus>>;

fn cannot_run(invocation: &Invocation, errno: Errno) -> Failure {
    Failure::io(format!("cannot run `{}`", invocation.shown()), &errno.into())
}

/// What comes out of a pipe, as far as it has come.
struct Reader {
    read: Arc<Mutex<Vec<u8>>>,
    thread: thread::JoinHandle<()>,
}

impl Reader {
    fn of(mut pipe: impl Read + Send + 'static, keeps_all: bool) -> Reader {
        let read = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut block = [0; 16 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut block) {
                let mut kept = all.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&block[..count]);
                if kept.len() > OUTPUT_CAP && !keeps_all {
                    let middle = OUTPUT_CAP / 2;
                    let end = kept.len() - middle;
                    kept.drain(middle..end);
                }
            }
        });
        Reader { read, thread }
    }

    /// All of it once the pipe is closed; what has come by now where a left-behind child holds it.
    fn gather(self) -> String {
        self.wait(Instant::now() + Duration::from_millis(200));
        let bytes = std::mem::take(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// All of it; None where the pipe is not closed by then.
    fn all_by(self, deadline: Instant) -> Option<Vec<u8>> {
        self.wait(deadline);
        let is_all = self.thread.is_finished();
        is_all.then(|| std::mem::take(&mut *self.read.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn wait(&self, end: Instant) {
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The end of what was said, as much as a person reads.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Variables of this process that its programs do not inherit: secrets come in them.
static WITHHELD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Keeps variables of this process from every program that is started from now on.
pub fn withhold<'a>(names: impl IntoIterator<Item = &'a str>) {
    let mut withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
    withheld.extend(names.into_iter().map(str::to_owned));
}

/// Takes them out of what `command` will inherit.
pub fn without_withheld(command: &mut Command) {
    for name in WITHHELD.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        command.env_remove(name);
    }
}

/// The process groups that are running now: killed when the agent has to end.
static RUNNING: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            running.get_or_insert_default().insert(pid.as_raw_nonzero().get());
        }
        Group(pid)
    }

    fn kill(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // It may have ended in this moment: then there is nothing to kill.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            running.get_or_insert_default().remove(&pid.as_raw_nonzero().get());
        }
    }
}

/// Sends a signal to every program that `run` is waiting for.
pub fn signal_all(signal: Signal) {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    for pid in running.iter().flatten().copied().filter_map(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(line: &str) -> Invocation {
        Invocation::new(["/bin/sh", "-c", line])
    }

    #[test]
    fn output_and_ending_are_told() {
        let output = System::machine().run(&sh("echo out; echo err >&2; exit 3")).unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(output.ending(), "exit 3");
        assert_eq!(output.failure("it").reason, "it: exit 3: err");
        assert_eq!(System::machine().run(&sh("kill -9 $$")).unwrap().ending(), "killed by SIGKILL");
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_its_children() {
        let system = System::machine().within(Duration::from_millis(300));
        let mark = format!("7{}", std::process::id());
        let failure = system.run(&sh(&format!("echo begun; sleep {mark} & sleep {mark}"))).unwrap_err();
        assert!(failure.reason.contains("did not end within its timeout"), "{}", failure.reason);
        assert_eq!(failure.details[0].text, "begun", "what it said until then is shown");
        thread::sleep(Duration::from_millis(50));
        let left = Command::new("pgrep").args(["-xf", &format!("sleep {mark}")]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    }

    #[test]
    fn a_missing_tool_is_named() {
        let failure = System::machine().tool(["no-such-tool-here"]).unwrap_err();
        assert_eq!(failure.reason, "`no-such-tool-here` is not installed here");
    }

    #[test]
    fn a_daemon_that_keeps_the_pipes_open_does_not_hold_up_the_run() {
        let begun = Instant::now();
        let output = System::machine().run(&sh("sleep 5 & echo started")).unwrap();
        assert!(output.succeeded());
        assert_eq!(output.stdout, "started\n");
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn what_is_read_whole_is_not_cut_and_keeps_its_bytes() {
        let (output, bytes) =
            System::machine().run_whole(&sh("yes | head -c 3000000; printf 'caf\\351'")).unwrap();
        assert!(output.succeeded() && bytes.len() == 3_000_004 && bytes.ends_with(b"caf\xe9"));
        let system = System::machine().within(Duration::from_millis(400));
        let held = system.run_whole(&sh("echo begun; sleep 2 &"));
        assert_eq!(held.unwrap_err().reason, "`echo begun; sleep 2 &` did not say all of it");
    }

    #[test]
    fn much_output_is_cut_in_the_middle_and_read_to_its_end() {
        let output = System::machine().run(&sh("yes | head -c 3000000; echo; echo last")).unwrap();
        assert!(output.stdout.len() <= OUTPUT_CAP && output.stdout.ends_with("last\n"));
        let whole = System::machine().run(&sh("yes | head -c 3000000").whole_output()).unwrap();
        assert_eq!(whole.stdout.len(), 3_000_000);
    }
}
