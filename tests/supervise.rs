//! `supervise`, of both binaries: what is started again and what is not, in which order and how
//! often. Nothing here says how long anything takes.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{Ran, run};

/// No test may hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that is `$D` for the commands that are supervised.
struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new() -> Case {
        Case { directory: tempfile::tempdir().unwrap() }
    }

    fn supervise(&self, options: &str, command: &str) -> Command {
        self.supervise_with(support::program(), options, command)
    }

    fn supervise_with(&self, program: &str, options: &str, command: &str) -> Command {
        let mut supervise = Command::new(program);
        supervise.arg("supervise").args(options.split_whitespace()).args(["--", "/bin/sh", "-c", command]);
        supervise.env("D", self.directory.path()).stdin(Stdio::null());
        supervise
    }

    fn run(&self, options: &str, command: &str) -> Ran {
        run(&mut self.supervise(options, command))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// How often the command has noted that it began.
    fn starts(&self) -> usize {
        self.read("starts").lines().count()
    }
}

/// One that runs, and what it says on standard error.
struct Running {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running { child, stderr, said: String::new() }
    }

    /// Reads on until it says so.
    #[track_caller]
    fn says(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            let count = self.stderr.read_line(&mut line).unwrap();
            assert!(count > 0, "it ended without saying {words}:\n{}", self.said);
            self.said += &line;
            if line.contains(words) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }

    fn end(mut self) -> (i32, String) {
        self.stderr.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), std::mem::take(&mut self.said))
    }
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

const NOTED: &str = "echo . >> $D/starts; ";

#[test]
fn n_restarts_are_n_plus_one_starts_and_the_last_exit_code_is_its_own() {
    for program in [support::program(), env!("CARGO_BIN_EXE_converge-agent")] {
        let case = Case::new();
        let mut command =
            case.supervise_with(program, "--delay 10ms --max-restarts 3", &format!("{NOTED} exit 7"));
        let ran = run(&mut command).expect(7).says("it exited with 7").says("given up after 3 restarts");
        assert_eq!(case.starts(), 4, "{}", ran.stderr);
        let line = ran.stderr.lines().next().unwrap();
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{line}");
        assert!(rest.starts_with("converge supervise: started (pid "), "{line}");
    }
}

#[test]
fn what_succeeds_is_done_on_failure_and_started_again_always() {
    let case = Case::new();
    let third_is_well = format!("{NOTED} test $(wc -l < $D/starts) -ge 3");
    case.run("--delay 10ms --restart on-failure", &third_is_well).expect(0).says("(restart 2)");
    assert_eq!(case.starts(), 3);
    let case = Case::new();
    case.run("--delay 10ms --max-restarts 2", NOTED).expect(0).says("it exited with 0");
    assert_eq!(case.starts(), 3);
}

#[test]
fn only_restarts_within_the_time_are_counted() {
    let case = Case::new();
    // Its third life is longer than the time: then it has all its restarts again.
    let line = format!("{NOTED} test $(wc -l < $D/starts) -ne 3 || sleep 3.2; exit 1");
    case.run("--delay 1ms --max-restarts 2 --within 3s", &line).expect(1).says("2 restarts within 3s");
    assert_eq!(case.starts(), 5);
}

#[test]
fn a_signal_that_ended_it_is_named_and_is_the_exit_code() {
    let case = Case::new();
    case.run("--max-restarts 0", "kill -9 $$").expect(137).says("it was killed by SIGKILL");
    case.run("--max-restarts 0", "kill -SEGV $$").expect(139).says("it was killed by SIGSEGV");
}

#[test]
fn the_end_is_passed_on_to_all_that_it_started_and_awaited() {
    for (signal, code) in [(Signal::TERM, 5), (Signal::INT, 6), (Signal::QUIT, 9)] {
        let case = Case::new();
        // A shell keeps SIGINT and SIGQUIT from what it starts in the background.
        let line =
            "trap 'echo bye >> $D/said; exit 5' TERM; trap 'kill $!; exit 6' INT; trap 'kill $!; exit 9' QUIT
            sh -c 'echo $$ > $D/inner; exec sleep 1000' & wait";
        let running = Running::start(&mut case.supervise("", line));
        until("its child runs", || !case.read("inner").trim().is_empty());
        running.signal(signal);
        let (ended, said) = running.end();
        assert_eq!(ended, code, "{said}");
        assert!(said.contains("and is passed on"), "{said}");
        assert!(!is_alive(&case.read("inner")), "what it started goes with it");
    }
}

#[test]
fn one_that_does_not_end_is_killed_after_its_grace_and_at_once_when_asked_again() {
    let deaf = "trap '' TERM INT; echo up > $D/up; while :; do sleep 0.1; done";
    let case = Case::new();
    let running = Running::start(&mut case.supervise("--grace 100ms", deaf));
    until("it runs", || case.read("up") == "up\n");
    running.signal(Signal::TERM);
    let (code, said) = running.end();
    assert_eq!(code, 137, "{said}");
    assert!(said.contains("not ended within 100ms: it gets SIGKILL"), "{said}");

    let case = Case::new();
    let mut running = Running::start(&mut case.supervise("--grace 1d", deaf));
    until("it runs", || case.read("up") == "up\n");
    running.signal(Signal::INT);
    running.says("SIGINT came, and is passed on");
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, 137);
}

#[test]
fn a_hangup_and_user_signals_are_passed_on_and_end_nothing() {
    let case = Case::new();
    let line =
        "trap 'echo HUP >> $D/said' HUP; trap 'echo USR1 >> $D/said' USR1; trap 'echo USR2 >> $D/said' USR2
        trap 'exit 0' TERM; echo up > $D/up; while :; do sleep 0.05; done";
    let running = Running::start(&mut case.supervise("", line));
    until("it runs", || case.read("up") == "up\n");
    for (signal, so_far) in [(Signal::HUP, 1), (Signal::USR1, 2), (Signal::USR2, 3)] {
        running.signal(signal);
        until("it has heard the signal", || case.read("said").lines().count() == so_far);
    }
    running.signal(Signal::TERM);
    let (code, said) = running.end();
    assert_eq!((code, said.matches("started (pid").count()), (0, 1), "{said}");
    assert_eq!(case.read("said"), "HUP\nUSR1\nUSR2\n");
}

#[test]
fn asked_to_end_between_two_starts_it_starts_no_other() {
    let case = Case::new();
    let mut running = Running::start(&mut case.supervise("--delay 1d", &format!("{NOTED} exit 1")));
    running.says("started again in 1d");
    running.signal(Signal::HUP);
    running.signal(Signal::TERM);
    let (code, said) = running.end();
    assert_eq!((code, case.starts()), (143, 1), "{said}");
    assert!(said.contains("it is not started again"), "{said}");
}

#[test]
fn what_a_command_left_behind_is_ended_before_the_next_start() {
    let case = Case::new();
    // The second start notes whether what the first left is still there.
    let line =
        "if test -e $D/left; then kill -0 $(cat $D/left) 2>/dev/null && echo both > $D/both; exit 0; fi
        sleep 1000 > /dev/null 2>&1 & echo $! > $D/left; exit 1";
    let ran = case.run("--delay 1ms --restart on-failure", line).expect(0);
    assert!(ran.stderr.contains("what it left behind is ended"), "{}", ran.stderr);
    assert!(!case.path("both").exists(), "two at once");
    assert!(!is_alive(&case.read("left")));
}

#[test]
fn zombies_of_others_are_reaped_where_it_is_process_1() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a pid namespace takes root");
        return;
    }
    let case = Case::new();
    let line = "for i in 1 2 3; do (sh -c 'exit 0' &) ; done; n=0
        while grep -qs '^State:.Z' /proc/[0-9]*/status && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done
        grep -s '^State:.Z' /proc/[0-9]*/status > $D/zombies; test ! -s $D/zombies";
    let inner = case.supervise("--max-restarts 0", line);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]).arg(inner.get_program()).args(inner.get_args());
    let ran = run(command.env("D", case.directory.path()).stdin(Stdio::null()));
    ran.expect(0).says("started (pid ");
    assert_eq!(case.read("zombies"), "");
}

#[test]
fn it_needs_no_output_and_no_terminal() {
    let case = Case::new();
    let inner = case.supervise("--delay 1ms --max-restarts 2", &format!("{NOTED} exit 4"));
    let words: Vec<String> =
        inner.get_args().map(|word| converge::attribute::quote(word.to_str().unwrap())).collect();
    for redirections in [">&- 2>&-", "<&- >&- 2>&-", "> /dev/full 2> /dev/full"] {
        fs::remove_file(case.path("starts")).ok();
        let line = format!("exec {} {} {redirections}", support::program(), words.join(" "));
        let mut shell = Command::new("setsid");
        shell.args(["--wait", "/bin/sh", "-c", &line]).env("D", case.directory.path());
        assert_eq!(run(&mut shell).code, 4, "{redirections}");
        assert_eq!(case.starts(), 3, "{redirections}");
    }
}

#[test]
fn a_command_that_cannot_be_started_is_told_at_once_and_later_is_a_failure() {
    let case = Case::new();
    let mut supervise = Command::new(support::program());
    supervise.args(["supervise", "--delay", "1ms", "--", "no-such-command-here"]);
    let ran = run(&mut supervise).expect(127).says("could not be started: no-such-command-here");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    run(Command::new(support::program()).args(["supervise", "--", "/etc/passwd"]))
        .expect(126)
        .says("Permission denied");
    // One that goes away later is tried again.
    let script = case.path("script");
    fs::write(&script, "#!/bin/sh\nrm \"$0\"\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut supervise = Command::new(support::program());
    supervise.args(["supervise", "--delay", "1ms", "--max-restarts", "2", "--"]).arg(&script);
    let ran = run(&mut supervise).expect(127);
    assert_eq!(ran.stderr.matches("could not be started").count(), 2, "{}", ran.stderr);
}

#[test]
fn a_wrong_command_line_starts_nothing() {
    let case = Case::new();
    for (options, said) in [
        ("--delay 5", "has no unit"),
        ("--restart never", "possible values: always, on-failure"),
        ("--within 1m", "--max-restarts"),
        ("--max-restarts 100 --within 1m", "never more than 100 restarts within 1m"),
        ("--delay 1m --max-delay 1s", "shorter than --delay"),
        ("--healthy localhost:80", "write it as in https://host/path"),
        ("--dealy 1s", "--delay"),
    ] {
        case.run(options, NOTED).expect(3).says(said);
        assert_eq!(case.starts(), 0, "{options}");
    }
    run(Command::new(support::program()).arg("supervise")).expect(3).says("COMMAND");
    run(Command::new(env!("CARGO_BIN_EXE_converge-agent")).arg("supervise")).expect(3).says("which command?");
}

/// A server that answers these statuses in turn, the last one for ever.
fn server(statuses: &'static [u16]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut block = [0; 4096];
            let _ = stream.read(&mut block);
            let turn = count.fetch_add(1, Ordering::SeqCst);
            let status = statuses.get(turn).or(statuses.last()).unwrap();
            let _ = write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (url, asked)
}

#[test]
fn one_that_does_not_answer_any_more_is_started_again() {
    let case = Case::new();
    // Well at first, then not; and the second start never answers well.
    let (url, _) = server(&[200, 500, 200, 500, 500, 503]);
    let options =
        format!("--healthy {url} --probe-every 20ms --probe-failures 2 --delay 1ms --max-restarts 1");
    let line = format!("{NOTED} exec sleep 1000");
    let ran = case.run(&options, &line).expect(1).says("given up after 1 restart");
    assert_eq!(case.starts(), 2, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("not healthy: ").count(), 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("500"), "{}", ran.stderr);
}

#[test]
fn one_that_answers_is_left_alone_and_one_slow_to_begin_has_twice_as_long() {
    let case = Case::new();
    let (url, asked) = server(&[503, 503, 503, 200, 503, 200]);
    let options = format!("--healthy {url} --probe-every 10ms --probe-failures 2");
    let running = Running::start(&mut case.supervise(&options, &format!("{NOTED} exec sleep 1000")));
    until("it was asked many times", || asked.load(Ordering::SeqCst) > 20);
    running.signal(Signal::TERM);
    let (code, said) = running.end();
    assert_eq!((code, case.starts()), (143, 1), "{said}");
}

#[test]
fn from_a_terminal_the_command_is_not_stopped_for_reading_it() {
    let case = Case::new();
    // `script` gives it a terminal of its own.
    let line = "cat > $D/read; echo done > $D/done";
    let inner = case.supervise("--restart on-failure", line);
    let words: Vec<String> =
        inner.get_args().map(|word| converge::attribute::quote(word.to_str().unwrap())).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{} {}", support::program(), words.join(" ")), "/dev/null"]);
    if script.env("D", case.directory.path()).stdout(Stdio::null()).process_group(0).status().is_err() {
        eprintln!("left out: there is no `script` here");
        return;
    }
    assert_eq!(case.read("done"), "done\n");
}
