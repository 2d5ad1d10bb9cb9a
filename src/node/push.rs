//! Starting the agent at the far end of a stream: one exec of the bootstrap, which asks for the
//! agent's bytes where it has none. Also the words for all that can be in the way.

use std::io;
use std::time::{Duration, Instant};

use super::agents::Agents;
use super::transport::Transport;
use super::{Tail, Unreachable};
use crate::failure::Failure;
use crate::inventory::{Host, Privilege};
use crate::redact::Secret;
use crate::wire::{FrameBuffer, Hello, MAGIC};

const BOOTSTRAP: &str = include_str!("bootstrap.sh");

/// What every line of the bootstrap begins with, and the agent's magic too.
const MARK: &[u8] = b"\x01CONVERGE-";

/// So much may a login shell print before the bootstrap speaks.
const NOISE_CAP: usize = 64 * 1024;

/// The host may be silent for so long while the agent is started.
const STALL: Duration = Duration::from_secs(30);

/// sudo's prompt where it has a password to ask for.
const PROMPT: &str = "CONVERGE-ASKS-FOR-A-PASSWORD:";

/// An agent that has said hello.
pub(super) struct Started {
    pub transport: Box<dyn Transport>,
    pub hello: Hello,
    /// What came after the hello.
    pub frames: FrameBuffer,
    pub stderr: Tail,
}

/// What to start, and as whom.
pub(super) struct Push<'a> {
    pub host: &'a Host,
    pub agents: &'a Agents,
    pub password: Option<&'a Secret>,
    /// Where, for messages: `vps0`, or `vps0 (10.0.0.1) port 22`.
    pub shown: String,
    /// Who has signed in there.
    pub user: String,
}

impl Push<'_> {
    /// The words of the bootstrap, `/bin/sh` first.
    pub fn argv(&self) -> Vec<String> {
        let Host { privilege, become_user, .. } = self.host;
        let prompt = if self.password.is_some() && *privilege == Privilege::Sudo { PROMPT } else { "" };
        [
            "/bin/sh",
            "-c",
            "eval \"$(printf %b \"$1\")\"",
            "converge",
            &encoded(BOOTSTRAP),
            word(*privilege),
            become_user,
        ]
        .into_iter()
        .map(str::to_owned)
        .chain([self.agents.list(), prompt.to_owned()])
        .collect()
    }

    /// The same for a login shell, whichever it is: in single quotes, with nothing in them that
    /// bash, zsh, fish or csh would look at.
    pub fn line(&self) -> Result<String, Unreachable> {
        let argv = self.argv();
        let special = |word: &String| word.contains(['\'', '!', '\n']);
        if let Some(word) = argv.iter().find(|word| special(word)) {
            let failure = Failure::new(format!("`{word}` cannot be the name of a user to become"));
            return Err(Unreachable::for_good(failure));
        }
        let quoted: Vec<String> = argv.iter().map(|word| format!("'{word}'")).collect();
        Ok(format!("exec {}", quoted.join(" ")))
    }

    /// Talks to the bootstrap until the agent answers in its place.
    pub fn start(&self, mut transport: Box<dyn Transport>) -> Result<Started, Unreachable> {
        let mut dialogue =
            Dialogue { push: self, seen: Vec::new(), noise: Vec::new(), sending: None, tried: Vec::new() };
        let (mut stderr, mut asked) = (Tail::default(), 0);
        let mut frames: Option<FrameBuffer> = None;
        let mut heard = Instant::now();
        loop {
            let mut moved = false;
            if let Some((bytes, sent)) = &mut dialogue.sending {
                match transport.write(&bytes[*sent..]) {
                    Ok(count) => (*sent, moved) = (*sent + count, true),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Why is on the other two streams.
                    Err(_) => *sent = bytes.len(),
                }
                if *sent == bytes.len() {
                    dialogue.sending = None;
                }
            }
            let mut block = [0; 32 * 1024];
            match transport.read(&mut block) {
                Ok(0) => return Err(dialogue.ended(&mut *transport, stderr)),
                Ok(count) => {
                    moved = true;
                    match &mut frames {
                        Some(frames) => frames.extend(&block[..count]),
                        None => frames = dialogue.take(&block[..count])?,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(dialogue.broke(&error, &stderr)),
            }
            if let Ok(count @ 1..) = transport.read_stderr(&mut block) {
                moved = true;
                stderr.extend(&block[..count]);
                // Asked again: the first one was wrong.
                if stderr.text().matches(PROMPT).count() > asked {
                    asked += 1;
                    let password = self.password.filter(|_| asked == 1);
                    let Some(password) = password else { return Err(self.wrong_password(&stderr)) };
                    dialogue.sending = Some((format!("{}\n", password.expose()).into_bytes().into(), 0));
                }
            }
            if let Some(buffer) = &mut frames {
                let hello = buffer.take_frame::<Hello>();
                if let Some(hello) = hello.map_err(|error| dialogue.broke(&error, &stderr))? {
                    let frames = frames.unwrap_or_default();
                    return Ok(Started { transport, hello, frames, stderr });
                }
            }
            if moved {
                heard = Instant::now();
            } else if heard.elapsed() > STALL {
                return Err(dialogue.silent(&stderr));
            } else {
                let waited = transport.wait(dialogue.sending.is_some(), None, Duration::from_secs(1));
                waited.map_err(|error| dialogue.broke(&error, &stderr))?;
            }
        }
    }

    fn wrong_password(&self, stderr: &Tail) -> Unreachable {
        Unreachable::for_good(
            Failure::new(format!("sudo on {} does not take the password of {}", self.shown, self.user))
                .help("check `become_password`, or the file of --become-password-file")
                .detail("stderr", stderr.text().replace(PROMPT, "")),
        )
    }

    /// Why sudo or doas did not run the bootstrap, from what they say (in English: LC_ALL=C).
    fn refused_rights(&self, said: &str) -> Option<Failure> {
        let Push { shown, user, host: Host { become_user, privilege, .. }, .. } = self;
        let program = word(*privilege);
        let sudoers = format!(
            "as root there, `visudo -f /etc/sudoers.d/converge` and add the line: {user} ALL=({become_user}) NOPASSWD: ALL"
        );
        let doas = format!("as root there, add to /etc/doas.conf: permit nopass {user} as {become_user}");
        let is = |text: &str| said.contains(text);
        Some(if is("a password is required") || is("a terminal is required to read the password") {
            Failure::new(format!("sudo on {shown} wants a password of {user} to become {become_user}"))
                .help(format!("{sudoers} (or give the host a `become_password`)"))
        } else if is("not in the sudoers file") || is("is not allowed to") || is("may not run sudo") {
            Failure::new(format!("{user} may not become {become_user} with sudo on {shown}")).help(sudoers)
        } else if is("must have a tty") {
            Failure::new(format!("sudo on {shown} wants a terminal (requiretty)"))
                .help(format!("as root there, `visudo -f /etc/sudoers.d/converge` and add the line: Defaults:{user} !requiretty"))
        } else if is("unknown user") {
            Failure::new(format!("there is no user {become_user} on {shown} to become"))
                .help("`become_user` names another, or the user has to be made first")
        } else if is("doas: Operation not permitted") || is("doas: doas is not enabled") {
            Failure::new(format!("{user} may not become {become_user} with doas on {shown}")).help(doas)
        } else if is("doas: Authorization required")
            || is("doas: Authentication")
            || is("doas: a tty is required")
        {
            Failure::new(format!("doas on {shown} wants a password of {user} to become {become_user}"))
                .help(doas)
        } else if *privilege != Privilege::None && (is("sudo: ") || is("doas: ")) {
            let line = said.lines().rfind(|line| line.contains(": ")).unwrap_or_default();
            Failure::new(format!("{program} on {shown} does not work: {line}"))
                .help(format!("try it there by hand: `{program} -n -u {become_user} true`"))
        } else {
            return None;
        })
    }
}

/// One conversation with a bootstrap.
struct Dialogue<'a> {
    push: &'a Push<'a>,
    seen: Vec<u8>,
    noise: Vec<u8>,
    sending: Option<(std::sync::Arc<[u8]>, usize)>,
    /// `path: why`.
    tried: Vec<String>,
}

impl Dialogue<'_> {
    /// Takes what came on standard output. Some: the agent has spoken; here is what follows.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<FrameBuffer>, Unreachable> {
        self.seen.extend_from_slice(bytes);
        loop {
            let Some(start) = find(&self.seen, MARK) else {
                // The mark may be cut in two.
                let keep = self.seen.len().saturating_sub(MARK.len());
                self.noise.extend(self.seen.drain(..keep));
                if self.noise.len() > NOISE_CAP {
                    return Err(self.too_noisy());
                }
                return Ok(None);
            };
            self.noise.extend(self.seen.drain(..start));
            if self.seen.starts_with(MAGIC) {
                let mut frames = FrameBuffer::default();
                frames.extend(&self.seen[MAGIC.len()..]);
                return Ok(Some(frames));
            }
            let Some(end) = find(&self.seen, b"\x02\n") else { return Ok(None) };
            if MAGIC.starts_with(&self.seen[..end + 2]) && end + 2 < MAGIC.len() {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&self.seen[MARK.len()..end]).into_owned();
            self.seen.drain(..end + 2);
            self.hear(&line)?;
        }
    }

    fn hear(&mut self, line: &str) -> Result<(), Unreachable> {
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let shown = &self.push.shown;
        let failure = match word {
            "NEED" => {
                let agent = self.push.agents.for_system(text).map_err(Unreachable::for_good)?;
                self.sending = Some((agent.bytes.clone(), 0));
                return Ok(());
            }
            "TRIED" => {
                self.tried.push(text.replace('\n', " "));
                return Ok(());
            }
            "NOWHERE" => self.nowhere(),
            "NO-AGENT" => match self.push.agents.for_system(text) {
                Err(failure) => Failure { reason: format!("{shown}: {}", failure.reason), ..failure },
                Ok(_) => Failure::new(format!("{shown} did not understand which agents there are")),
            },
            "NO-BECOME" => Failure::new(format!("`become: {text}`, but {text} is not installed on {shown}"))
                .help("install it there, or sign in as the user itself, with `become: none`"),
            "NO-TOOL" => Failure::new(format!("{shown} has no `{text}`, which the agent's start needs"))
                .help("coreutils or busybox has it"),
            _ => Failure::new(format!("{shown} said something unexpected: {line}")),
        };
        Err(Unreachable::for_good(failure))
    }

    fn nowhere(&self) -> Failure {
        let all = self.tried.join("\n");
        let help = if all.contains("noexec") {
            "one of these directories has to be on a file system that is not mounted noexec: `mount -o remount,exec`, or \
             set XDG_CACHE_HOME for the user"
        } else if all.contains("No space left") || all.contains("quota") {
            "free some space: the agent needs 4 MB (`df -h` and `df -i` there)"
        } else if all.contains("Read-only") {
            "a file system that has turned read-only often has errors: `dmesg` there says more"
        } else {
            "one of these directories has to belong to the user, with mode 700"
        };
        let reason = match self.tried.as_slice() {
            [first, ..] => format!("the agent finds no place on {}: {first}", self.push.shown),
            [] => format!("the agent finds no place on {}", self.push.shown),
        };
        Failure::new(reason).help(help).detail("places tried", all)
    }

    fn too_noisy(&self) -> Unreachable {
        let failure = Failure::new(format!(
            "the login shell on {} prints without end, and the agent is never started",
            self.push.shown
        ));
        Unreachable::for_good(
            failure.help("look into the shell's startup files there").detail("it printed", self.heard()),
        )
    }

    /// What a shell printed, its beginning.
    fn heard(&self) -> String {
        let all = [self.noise.as_slice(), self.seen.as_slice()].concat();
        String::from_utf8_lossy(&all[..all.len().min(2000)]).trim().to_owned()
    }

    /// Standard output has ended, and no agent spoke.
    fn ended(&self, transport: &mut dyn Transport, mut stderr: Tail) -> Unreachable {
        let ending = wait_for_ending(transport, &mut stderr, Duration::from_secs(3));
        let said = stderr.text();
        if let Some(failure) = self.push.refused_rights(&said) {
            return Unreachable::for_good(failure.detail("stderr", said));
        }
        let ending = ending.unwrap_or_else(|| "no exit status".into());
        let booting = said.contains("booting up") || self.heard().contains("booting up");
        let failure = Failure::new(format!("the agent on {} could not be started: {ending}", self.push.shown))
            .help("its login shell has to run `exec /bin/sh -c …`: see what it said; a shell like nologin or a ForceCommand in sshd_config does not")
            .detail("places tried", self.tried.join("\n"))
            .detail("stdout", self.heard())
            .detail("stderr", said);
        if booting { Unreachable::for_now(failure) } else { Unreachable::for_good(failure) }
    }

    fn broke(&self, error: &io::Error, stderr: &Tail) -> Unreachable {
        let reason = format!("the connection to {} broke while the agent was started", self.push.shown);
        Unreachable::for_now(Failure::io(reason, error).detail("stderr", stderr.text()))
    }

    fn silent(&self, stderr: &Tail) -> Unreachable {
        let failure = Failure::new(format!(
            "{} let us in, but the agent did not start within {}s",
            self.push.shown,
            STALL.as_secs()
        ));
        let failure = failure
            .help("something in the login shell's startup files may wait, or the disk does not answer");
        Unreachable::for_now(failure.detail("stdout", self.heard()).detail("stderr", stderr.text()))
    }
}

/// Reads the rest of standard error while the program ends.
pub(super) fn wait_for_ending(
    transport: &mut dyn Transport,
    stderr: &mut Tail,
    limit: Duration,
) -> Option<String> {
    let end = Instant::now() + limit;
    loop {
        let mut block = [0; 8 * 1024];
        match transport.read_stderr(&mut block) {
            Ok(count @ 1..) => {
                stderr.extend(&block[..count]);
                continue;
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return transport.ending(),
            _ => {}
        }
        if let Some(ending) = transport.ending() {
            return Some(ending);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        // A closed pipe wakes at once: the child's end itself wakes nobody.
        std::thread::sleep(Duration::from_millis(2));
        drop(transport.wait(false, None, left.min(Duration::from_millis(20))));
    }
}

fn word(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::None => "",
        Privilege::Sudo => "sudo",
        Privilege::Doas => "doas",
    }
}

/// The script for `printf %b`, on one line, without its comments.
fn encoded(script: &str) -> String {
    let mut text = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        for character in line.chars() {
            match character {
                '\'' => text.push_str("\\0047"),
                '!' => text.push_str("\\0041"),
                '\\' => text.push_str("\\0134"),
                plain => text.push(plain),
            }
        }
        text.push_str("\\n");
    }
    text
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_survives_its_way_through_the_login_shell() {
        let code = encoded(BOOTSTRAP);
        assert!(!code.contains(['\'', '!', '\n']));
        let out = std::process::Command::new("/bin/sh")
            .args(["-c", "printf %b \"$1\"", "x", &code])
            .output()
            .unwrap();
        let lines =
            BOOTSTRAP.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            lines.map(|line| format!("{line}\n")).collect::<String>()
        );
        assert!(code.len() < 8 * 1024, "{}: sudo logs it", code.len());
    }
}
