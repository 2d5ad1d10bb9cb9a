//! While it runs: no argument list, no environment but the one it is meant for, nothing on disk
//! but the files it is meant for.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::case::{Case, DECLARED, forms};
use crate::support;

const SLOW: &str = "
resources:
  - file: DIR/f
    content: \"{{ secrets.db }}\"
    validate: sleep 0.3; test -s {}
  - command: slow
    run: 'touch DIR/began; read -r line; sleep 2; cat > /dev/null'
    always: true
    stdin: \"{{ secrets.key }}\"
    environment: {TOKEN: \"{{ secrets.token }}\"}
  - command: beside it
    run: sleep 2.5
    always: true
";

/// `pid` and the bytes of one file of each process.
fn of_all(name: &str) -> Vec<(u32, Vec<u8>)> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, fs::read(format!("/proc/{pid}/{name}")).ok()?))).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Of this test alone: others run beside it.
const OWN: [&str; 3] = ["own-secret-of-the-variable", "own-secret-of-the-file", "own-secret-of-the-command"];

#[test]
fn no_process_has_a_secret_on_its_argument_list_or_in_an_environment_that_is_not_meant_for_it() {
    let case = Case::new(&format!("{DECLARED}{SLOW}"));
    let [db, token, key] = OWN;
    fs::write(case.path("token.txt"), token).unwrap();
    fs::write(case.path("key.pem"), key).unwrap();
    let mut child = case.command(&["apply"]).env("CONVERGE_TEST_DB", db).spawn().unwrap();
    let begun = Instant::now();
    let (mut with_token, mut looks) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        for (pid, line) in of_all("cmdline") {
            let found = OWN.iter().find(|secret| holds(&line, secret));
            assert_eq!(found, None, "on the command line of {pid}: {}", String::from_utf8_lossy(&line));
        }
        for (pid, environ) in of_all("environ") {
            // Empty where it has just ended. Between fork and exec it is still its parent.
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let is = |what: &[&str]| line.is_empty() || what.iter().any(|word| holds(&line, word));
            let shown = String::from_utf8_lossy(&line);
            assert!(!holds(&environ, key), "{pid}: {shown}");
            // What gives secrets has the whole environment: it may need another one for that.
            let is_meant = is(&["spec.yaml", "cat\u{0}key.pem"]);
            assert!(!holds(&environ, db) || is_meant, "{pid} has inherited it: {shown}");
            if holds(&environ, token) {
                assert!(is(&["began", "sleep\u{0}2\u{0}", "cat\u{0}"]), "{pid}: {shown}");
                with_token += 1;
            }
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(child.wait().unwrap().success());
    assert!(with_token > 0 && looks > 10, "the test has seen the command: {with_token} of {looks}");
}

fn files_below(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), found);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            found.push((entry.path().display().to_string(), bytes));
        }
    }
}

#[test]
fn nothing_is_left_on_disk_but_the_file_that_is_meant_to_hold_it() {
    let case = Case::new(&format!(
        "{DECLARED}
resources:
  - file: DIR/f
    content: \"{{{{ secrets.token }}}}\"
  - command: reload
    run: test -n \"$TOKEN\" && cat > /dev/null
    on_change_of: DIR/f
    depends_on: file:DIR/f
    stdin: \"{{{{ secrets.key }}}}\"
    environment: {{TOKEN: \"{{{{ secrets.db }}}}\"}}
"
    ));
    let mut command = case.command(&["apply", "--format", "json"]);
    let ran = support::run(command.env("TMPDIR", case.directory.path())).expect(0);
    let id = "localhost/command:reload";
    let shown = ran.resource(id)["changes"].to_string();
    assert!(shown.contains("as it is now"), "no hash of a content that is a secret: {shown}");
    let mut files = Vec::new();
    files_below(case.directory.path(), &mut files);
    for (path, bytes) in files {
        let is_meant = ["/f", "/token.txt", "/key.pem"].iter().any(|end| path.ends_with(end));
        for (form, text) in forms().iter().filter(|_| !is_meant) {
            assert!(!holds(&bytes, text), "{form} in {path}");
        }
    }
}
