//! Lines and blocks in a file, as somebody else would look for them. What they write here begins
//! with `part`, or is a marker.

use converge::resource::AnyResource;
use converge::resource::common::Presence;

use crate::tree::Entry;

fn lines(content: &[u8]) -> Vec<&[u8]> {
    let line = |line| <[u8]>::strip_suffix(line, b"\r").unwrap_or(line);
    content.split(|byte| *byte == b'\n').map(line).collect()
}

fn holds(content: &[u8], wanted: &[u8]) -> bool {
    let (there, wanted) = (lines(content), lines(wanted));
    there.windows(wanted.len()).any(|some| some == wanted)
}

/// What is wrong about a line or a block in the file that is there.
pub fn wrong(resource: &AnyResource, there: Option<&Entry>) -> Option<String> {
    let (wanted, state) = match resource {
        AnyResource::Line(it) => (it.text.as_ref()?.bytes()?.to_vec(), it.state),
        AnyResource::Block(it) => {
            let inner = it.content.as_ref().and_then(|content| content.bytes()).unwrap_or_default();
            let marker = |side| format!("# {side} converge: {}\n", it.label).into_bytes();
            let begin = marker("BEGIN");
            match it.state {
                Presence::Present => ([begin, inner.to_vec(), marker("END")].concat(), it.state),
                Presence::Absent => (begin, it.state),
            }
        }
        _ => return None,
    };
    let wanted = wanted.strip_suffix(b"\n").unwrap_or(&wanted);
    let content = there.filter(|there| there.kind == 'f').map(|there| &there.content);
    let is_there = content.is_some_and(|content| holds(content, wanted));
    (is_there != (state == Presence::Present)).then(|| format!("it is not {state:?} in {there:?}"))
}

/// A line that was there, that none of these is about, and that is gone.
pub fn lost(parts: &[&AnyResource], was: &Entry, there: &Entry) -> Option<String> {
    let is_about = |line: &[u8]| {
        parts.iter().any(|part| match part {
            AnyResource::Line(it) => it.pattern.as_ref().is_some_and(|pattern| pattern.finds(line)),
            _ => false,
        })
    };
    let now = lines(&there.content);
    let before = lines(&was.content).into_iter().filter(|line| !is_of_a_part(line) && !is_about(line));
    let mut gone = before.filter(|line| was.kind == 'f' && !line.is_empty() && !now.contains(line));
    gone.next().map(|line| format!("the line {:?} is lost", String::from_utf8_lossy(line)))
}

/// Of a file that parts were written into: what it has whatever their order is.
pub fn unordered(content: &[u8]) -> Vec<u8> {
    let mut lines = lines(content);
    if !lines.iter().any(|line| is_of_a_part(line)) {
        return content.to_vec();
    }
    lines.sort_unstable();
    lines.join(&b'\n')
}

/// Between two states of a file: each line is of one of them.
pub fn is_between(content: &[u8], states: &[&[u8]]) -> bool {
    let known: Vec<&[u8]> = states.iter().flat_map(|state| lines(state)).collect();
    lines(content).iter().all(|line| known.contains(line))
}

fn is_of_a_part(line: &[u8]) -> bool {
    line.starts_with(b"part ") || line.starts_with(b"# BEGIN converge") || line.starts_with(b"# END converge")
}
