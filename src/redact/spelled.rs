//! A text, character by character, each as it stands or as one of the escapes that programs
//! write: of JSON, of C, of shells, of URLs, of HTML and XML. Escapes may be mixed and nested.

/// One text to look for.
pub struct Spelled {
    characters: Vec<char>,
    /// Long enough for upper and lower case to be one: a filter or a protocol may change it.
    ignores_case: bool,
}

/// A text as long as this is found in upper and lower case too.
const LONG: usize = 8;

impl Spelled {
    pub fn new(text: &str) -> Spelled {
        let characters: Vec<char> = text.chars().collect();
        Spelled { ignores_case: characters.len() >= LONG, characters }
    }

    pub fn begins(&self, byte: u8) -> bool {
        let Some(first) = self.characters.first() else { return false };
        let mut raw = [0; 4];
        let raw = first.encode_utf8(&mut raw).as_bytes()[0];
        byte == raw
            || self.ignores_case && byte.eq_ignore_ascii_case(&raw)
            || matches!(byte, b'%' | b'\\' | b'&')
            || matches!((byte, first), (b'+', ' ') | (b'\r', '\n') | (b'\'' | b'"', '\'' | '"'))
    }

    /// Where it ends in `text`, if it stands at `at`.
    pub fn end(&self, text: &str, at: usize) -> Option<usize> {
        self.walk(text, at, 0).0
    }

    /// Where it ends, if at least `least` of its last characters stand at `at`.
    pub fn end_of_rest(&self, text: &str, at: usize, least: usize) -> Option<usize> {
        let skips = 1..=self.characters.len().checked_sub(least)?;
        skips.into_iter().find_map(|skipped| self.walk(text, at, skipped).0)
    }

    /// Where it begins, if at least `least` of its first characters stand right before `end`.
    pub fn beginning_before(&self, text: &str, end: usize, least: usize) -> Option<usize> {
        // An escape takes ten characters or so.
        let far = self.characters.len().saturating_mul(10).min(end);
        let mut from = end - far;
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        let before = &text[..end];
        let mut starts = before[from..].char_indices().map(|(at, _)| from + at);
        starts.find(|at| self.begins(text.as_bytes()[*at]) && self.walk(before, *at, 0).1 >= least)
    }

    /// Where it ends, without its first `skipped` characters; and how many of them stand there
    /// where the text ends before they do.
    fn walk(&self, text: &str, at: usize, skipped: usize) -> (Option<usize>, usize) {
        let (mut places, mut next) = (vec![at], Vec::new());
        let mut before_the_end = 0;
        for (count, character) in self.characters[skipped..].iter().enumerate() {
            if places.contains(&text.len()) {
                before_the_end = count;
            }
            for place in &places {
                self.after(text, *place, *character, &mut next);
            }
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut places, &mut next);
            next.clear();
            if places.is_empty() {
                return (None, before_the_end);
            }
        }
        (places.last().copied(), self.characters.len() - skipped)
    }

    /// Every place where this character, standing at `at`, may end.
    fn after(&self, text: &str, at: usize, wanted: char, ends: &mut Vec<usize>) {
        let Some(rest) = text.get(at..) else { return };
        let Some(first) = rest.chars().next() else { return };
        if first == wanted || self.ignores_case && first.eq_ignore_ascii_case(&wanted) {
            ends.push(at + first.len_utf8());
        }
        let escaped = match (first, wanted) {
            ('+', ' ') => Some(1),
            ('\r', '\n') => rest.starts_with("\r\n").then_some(2),
            // Doubled: in make and compose files, in unit files and crontabs.
            ('$' | '%', _) if first == wanted => rest[1..].starts_with(first).then_some(2),
            _ => None,
        };
        ends.extend(escaped.map(|length| at + length));
        if matches!(wanted, '\'' | '"') {
            // A shell's `'\''` and `'"'"'`, doubled in SQL, YAML and CSV, escaped; and all that again.
            let run = rest.len() - rest.trim_start_matches(['\'', '"', '\\']).len();
            ends.extend((1..=run).map(|length| at + length));
        }
        let same = |c: char| c == wanted || self.ignores_case && c.eq_ignore_ascii_case(&wanted);
        match first {
            '%' => ends.extend(percent(rest).filter(|(c, _)| same(*c)).map(|(_, length)| at + length)),
            '&' => ends.extend(entity(rest).filter(|(c, _)| same(*c)).map(|(_, length)| at + length)),
            '\\' => backslash(rest, wanted, same, |length| ends.push(at + length)),
            _ => {}
        }
    }
}

/// The bytes of one character, which is what `byte` reads from the front until it is whole.
fn character<'a>(
    mut text: &'a str,
    byte: impl Fn(&'a str) -> Option<(u8, &'a str)>,
) -> Option<(char, usize)> {
    let (whole, mut bytes) = (text.len(), Vec::new());
    while bytes.len() < 4 {
        let (next, rest) = byte(text)?;
        bytes.push(next);
        text = rest;
        if let Ok(read) = std::str::from_utf8(&bytes) {
            return Some((read.chars().next()?, whole - text.len()));
        }
    }
    None
}

/// `%2F`, and `%252F` where it was encoded twice.
fn percent(text: &str) -> Option<(char, usize)> {
    character(text, |text| {
        let mut rest = text.strip_prefix('%')?;
        while let Some(inner) = rest.strip_prefix("25").filter(|inner| is_hex(inner, 2)) {
            rest = inner;
        }
        Some((u8::from_str_radix(rest.get(..2).filter(|rest| is_hex(rest, 2))?, 16).ok()?, &rest[2..]))
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() >= digits && text.bytes().take(digits).all(|byte| byte.is_ascii_hexdigit())
}

/// `&quot;`, `&#34;`, `&#x22;`, and `&amp;quot;` where it was escaped twice.
fn entity(text: &str) -> Option<(char, usize)> {
    let mut rest = text.strip_prefix('&')?;
    while let Some(inner) = rest.strip_prefix("amp;").filter(|inner| named(inner).is_some()) {
        rest = inner;
    }
    let (c, length) = named(rest)?;
    Some((c, text.len() - rest.len() + length))
}

fn named(text: &str) -> Option<(char, usize)> {
    let (name, _) = text.get(..text.len().min(12)).unwrap_or(text).split_once(';')?;
    let number = name.strip_prefix('#');
    let c = match name {
        "quot" => '"',
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => char::from_u32(match number?.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number?.parse().ok()?,
        })?,
    };
    Some((c, name.len() + 1))
}

/// Backslashes, as many as there are, before the character itself, its letter, or its number.
fn backslash(text: &str, wanted: char, same: impl Fn(char) -> bool, mut ends: impl FnMut(usize)) {
    let run = text.len() - text.trim_start_matches('\\').len();
    if wanted == '\\' {
        (2..=run).for_each(&mut ends);
    }
    let rest = &text[run..];
    let Some(letter) = rest.chars().next() else { return };
    if same(letter) {
        ends(run + letter.len_utf8());
    }
    let stands_for = match letter {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'v' => Some('\u{b}'),
        'a' => Some('\u{7}'),
        'e' | 'E' => Some('\u{1b}'),
        's' => Some(' '),
        _ => None,
    };
    if stands_for == Some(wanted) {
        ends(run + 1);
    }
    let before = &text[run - 1..];
    // Python's `\xe9` is a character, and C's a byte of one.
    let latin = hex_byte(before).map(|(byte, rest)| (char::from(byte), before.len() - rest.len()));
    let bytes = [character(before, hex_byte), character(before, octal_byte)];
    let numbers = [utf16(before), braced(before), latin].into_iter().chain(bytes);
    for (c, length) in numbers.flatten() {
        if same(c) {
            ends(run - 1 + length);
        }
    }
}

/// One backslash or several.
fn after_backslashes(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches('\\');
    (rest.len() < text.len()).then_some(rest)
}

/// `\x2f`.
fn hex_byte(text: &str) -> Option<(u8, &str)> {
    let rest = after_backslashes(text)?.strip_prefix(['x', 'X'])?;
    let digits = rest.get(..2).filter(|digits| is_hex(digits, 2))?;
    Some((u8::from_str_radix(digits, 16).ok()?, &rest[2..]))
}

/// `\057`, and `\0057` as `printf %b` takes it.
fn octal_byte(text: &str) -> Option<(u8, &str)> {
    let rest = after_backslashes(text)?;
    let rest = rest.strip_prefix('0').filter(|rest| octal(rest).is_some()).unwrap_or(rest);
    Some((octal(rest)?, &rest[3..]))
}

fn octal(text: &str) -> Option<u8> {
    u8::from_str_radix(text.get(..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?, 8)
        .ok()
}

/// `\u002f`, `\ud83d\ude00`, `\U0001f600`.
fn utf16(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str, mark: char, digits: usize| {
        let rest = after_backslashes(text)?.strip_prefix(mark)?;
        let number = u32::from_str_radix(rest.get(..digits).filter(|rest| is_hex(rest, digits))?, 16).ok()?;
        Some((number, text.len() - rest.len() + digits))
    };
    if let Some((number, length)) = unit(text, 'U', 8) {
        return Some((char::from_u32(number)?, length));
    }
    let (high, length) = unit(text, 'u', 4)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, length));
    }
    let (low, more) = unit(&text[length..], 'u', 4)?;
    let units = [u16::try_from(high).ok()?, u16::try_from(low).ok()?];
    Some((char::decode_utf16(units).next()?.ok()?, length + more))
}

/// `\u{2f}`, as Rust's `Debug` writes it.
fn braced(text: &str) -> Option<(char, usize)> {
    let rest = after_backslashes(text)?.strip_prefix("u{")?;
    let (digits, _) = rest.get(..rest.len().min(7)).unwrap_or(rest).split_once('}')?;
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((c, text.len() - rest.len() + digits.len() + 1))
}
