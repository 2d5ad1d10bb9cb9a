//! The live lines of a terminal: one for each host that works, drawn below what is printed.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::style::{Style, printable};

/// More hosts than this are counted.
const MOST: usize = 8;

/// A line that comes and goes within this is not worth the flicker.
const CALM: Duration = Duration::from_millis(150);

pub struct Live {
    lines: BTreeMap<String, String>,
    drawn: usize,
    last: Instant,
    style: Style,
}

impl Live {
    pub fn new(style: Style) -> Self {
        Live { lines: BTreeMap::new(), drawn: 0, last: Instant::now(), style }
    }

    pub fn set(&mut self, host: &str, line: String) {
        self.lines.insert(host.to_owned(), printable(&line).replace('\n', " "));
    }

    pub fn done(&mut self, host: &str) {
        self.lines.remove(host);
    }

    pub fn clear(&mut self, to: &mut dyn Write) {
        if self.drawn > 0 {
            let _ = write!(to, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    pub fn draw(&mut self, to: &mut dyn Write, anew: bool) {
        if !anew && self.last.elapsed() < CALM {
            return;
        }
        self.last = Instant::now();
        self.clear(to);
        let width = width();
        for (host, line) in self.lines.iter().take(MOST) {
            let text: String = format!("{host}: {line}").chars().take(width.saturating_sub(3)).collect();
            let _ = writeln!(to, "{} {}", self.style.unknown("…"), self.style.dim(&text));
            self.drawn += 1;
        }
        if self.lines.len() > MOST {
            let _ = writeln!(to, "… and {} hosts more", self.lines.len() - MOST);
            self.drawn += 1;
        }
        let _ = to.flush();
    }
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 20).unwrap_or(80)
}
