//! File modes: `755`, `0755`, `"0755"`, `0o755`, `u=rwx,go=rx`. All of the mode is meant: a
//! setgid bit that is there but not written is drift.

use std::fmt;
use std::str::FromStr;

/// The twelve permission bits of a file, as `chmod` takes them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(u32);

impl Mode {
    /// Only the twelve permission bits of `bits` are kept; the file's kind is not a mode.
    pub const fn from_bits(bits: u32) -> Self {
        Mode(bits & 0o7777)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What `recurse` gives a plain file: no x from the declared mode unless the file has one.
    pub fn for_file_below(self, current: Mode) -> Mode {
        if current.0 & 0o111 == 0 { Mode(self.0 & !0o111) } else { self }
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with(|c: char| c.is_ascii_digit()) { octal(text) } else { symbolic(text) }
    }
}

fn octal(text: &str) -> Result<Mode, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let bits = u32::from_str_radix(digits, 8)
        .map_err(|_| format!("`{text}` is no octal mode: write the digits chmod takes, as in 755 or 0644"))?;
    if bits > 0o7777 {
        return Err(format!("`{text}` is more than the twelve bits of a mode: the largest is 7777"));
    }
    if digits.len() < 3 {
        return Err(format!("`{text}` is too short for a mode: write all of it, as in 755 or 0644"));
    }
    Ok(Mode(bits))
}

/// `u=rwx,go=rx`: clauses of who, `=` and permissions. Who is not named gets nothing.
fn symbolic(text: &str) -> Result<Mode, String> {
    let mut bits = 0;
    for clause in text.split(',') {
        let Some((who, what)) = clause.split_once('=') else {
            if clause.contains(['+', '-']) {
                return Err(format!(
                    "`{text}` is a relative mode, and a spec says what is true: write all of it, as in 755 or u=rwx,go=rx"
                ));
            }
            return Err(not_a_mode(text));
        };
        let (mut read, mut special) = (0, 0);
        for letter in what.chars() {
            match letter {
                'r' => read |= 0o4,
                'w' => read |= 0o2,
                'x' => read |= 0o1,
                's' => special |= 0o6000,
                't' => special |= 0o1000,
                _ => return Err(not_a_mode(text)),
            }
        }
        for letter in who.chars() {
            bits |= match letter {
                'u' => (read << 6) | (special & 0o4000),
                'g' => (read << 3) | (special & 0o2000),
                'o' => read | (special & 0o1000),
                'a' => (read * 0o111) | special,
                _ => return Err(not_a_mode(text)),
            };
        }
        if who.is_empty() {
            return Err(not_a_mode(text));
        }
    }
    Ok(Mode(bits))
}

fn not_a_mode(text: &str) -> String {
    format!("`{text}` is no mode: write it as chmod takes it, as in 755, 0644 or u=rwx,go=rx")
}

/// Four digits, as `stat -c %04a` prints them.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::text_form!(Mode);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_contract_means_the_same_bits() {
        for text in ["755", "0755", "0o755", "u=rwx,go=rx", "u=rwx,g=rx,o=rx"] {
            assert_eq!(text.parse(), Ok(Mode(0o755)), "{text}");
        }
        assert_eq!("u=rwxs,g=rxs,o=t".parse(), Ok(Mode(0o7750)));
        assert_eq!("a=rx".parse(), Ok(Mode(0o555)));
    }

    #[test]
    fn what_is_no_whole_mode_is_refused_with_a_way_out() {
        for text in ["493", "789", "u+x", "rwx", "", "77777", "7", "u=q", "=r", "-755", "+755"] {
            let error = text.parse::<Mode>().expect_err(text);
            assert!(error.contains("755") || error.contains("7777"), "{error}");
        }
    }
}
