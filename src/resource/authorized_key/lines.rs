//! The lines of an authorized_keys file, as sshd(8) reads them: what is not about a key in question
//! keeps its bytes and its place.

use crate::attribute::PublicKey;

/// What a line is.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// A blank line or a comment.
    Remark,
    Key {
        options: &'a str,
        key: PublicKey,
    },
    /// What no key can be read from; sshd passes over it.
    Other,
}

/// Of its bytes, without the line's end.
pub fn read(line: &[u8]) -> Line<'_> {
    let Ok(text) = std::str::from_utf8(line) else {
        // A comment may be in any encoding, also behind a key.
        return match line.trim_ascii_start().first() {
            None | Some(b'#') => Line::Remark,
            Some(_) => valid_start(line).map_or(Line::Other, key_in),
        };
    };
    match text.trim_start().chars().next() {
        None | Some('#') => Line::Remark,
        Some(_) => key_in(text),
    }
}

fn valid_start(line: &[u8]) -> Option<&str> {
    let end = std::str::from_utf8(line).err()?.valid_up_to();
    std::str::from_utf8(&line[..end]).ok()
}

fn key_in(text: &str) -> Line<'_> {
    let text = text.trim();
    if let Some(key) = key(text) {
        return Line::Key { options: "", key };
    }
    let (options, rest) = text.split_at(end_of_options(text));
    match key(rest.trim_start()) {
        Some(key) => Line::Key { options, key },
        None => Line::Other,
    }
}

fn key(text: &str) -> Option<PublicKey> {
    let mut words = text.splitn(3, [' ', '\t']);
    PublicKey::of(words.next()?, words.next()?, words.next().unwrap_or_default())
}

/// The first blank outside of quotes. In quotes, a backslash keeps a quote from ending them.
pub fn end_of_options(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ' ' | '\t' if !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// The options one by one: commas part them where they are not in quotes.
pub fn each_option(options: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped, mut begin) = (false, false, 0);
    let mut found = Vec::new();
    for (at, c) in options.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                found.push(&options[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push(&options[begin..]);
    found
}

/// What is to be of a file.
pub struct Wanted<'a> {
    pub key: &'a PublicKey,
    /// None: whatever they are.
    pub options: Option<&'a str>,
    /// What a new line says behind the key.
    pub comment: &'a str,
    pub is_there: bool,
    /// This is the file that it is to be in; in the other one, lines that are as declared may stay.
    pub is_here: bool,
    /// The keys that stay where all others go; None: all stay.
    pub only: Option<Vec<&'a PublicKey>>,
}

/// What is in a file now, and how it is to be.
#[derive(Debug, PartialEq, Default)]
pub struct Edit {
    /// The key's options; None: it is not there.
    pub options: Option<String>,
    /// There are lines of this key with other options beside the right one.
    pub has_twins: bool,
    /// The lines of others that go, each in a few words.
    pub gone: Vec<String>,
    pub text: Vec<u8>,
}

pub fn edit(old: &[u8], wanted: &Wanted<'_>) -> Edit {
    let mut edit = Edit::default();
    for whole in old.split_inclusive(|byte| *byte == b'\n') {
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        match read(line) {
            Line::Key { options, key } if key.is_same(wanted.key) => {
                let is_first = wanted.is_here && edit.options.is_none();
                if edit.options.is_none() {
                    edit.options = Some(options.to_owned());
                }
                if !wanted.is_there {
                    continue;
                }
                match wanted.options {
                    Some(right) if right != options => {
                        edit.has_twins |= !is_first;
                        if is_first {
                            // The comment stays.
                            let rest = line.trim_ascii_start().get(options.len()..).unwrap_or_default();
                            let joint: &[u8] = if right.is_empty() { b"" } else { b" " };
                            let end = &whole[line.len()..];
                            edit.text
                                .extend([right.as_bytes(), joint, rest.trim_ascii_start(), end].concat());
                        }
                    }
                    _ => edit.text.extend(whole),
                }
            }
            Line::Key { key, .. } if !wanted.keeps(&key) => {
                let comment = if key.comment().is_empty() { "" } else { " " };
                edit.gone.push(format!("{}{comment}{}", key.fingerprint(), key.comment().trim()));
            }
            // It may be a key to an sshd that knows more types.
            Line::Other if wanted.only.is_some() => {
                let start: String = String::from_utf8_lossy(line).chars().take(20).collect();
                edit.gone.push(format!("`{}…`", start.trim()));
            }
            _ => edit.text.extend(whole),
        }
    }
    if wanted.is_there && wanted.is_here && edit.options.is_none() {
        if !edit.text.is_empty() && !edit.text.ends_with(b"\n") {
            edit.text.push(b'\n');
        }
        let bare = wanted.key.bare();
        let words = [wanted.options.unwrap_or_default(), &bare, wanted.comment];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        edit.text.extend(words.join(" ").into_bytes());
        edit.text.push(b'\n');
    }
    edit
}

impl Wanted<'_> {
    fn keeps(&self, key: &PublicKey) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|kept| kept.is_same(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEDqU5BPqNHLNNPvjom2bVX4dejSydH/JDIwBMuwjrPB";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBLC9XM97Z46kLD/fT6N1QOKYwuUTq0P40kMafHPkugu";

    fn key(text: &str) -> PublicKey {
        text.parse().unwrap()
    }

    fn wanted<'a>(key: &'a PublicKey, options: Option<&'a str>) -> Wanted<'a> {
        Wanted { key, options, comment: "ops", is_there: true, is_here: true, only: None }
    }

    fn text(old: &str, wanted: &Wanted<'_>) -> String {
        String::from_utf8(edit(old.as_bytes(), wanted).text).unwrap()
    }

    #[test]
    fn lines_are_read_as_sshd_reads_them() {
        let with = format!("command=\"echo \\\"a b\\\", c\",no-pty \t{A} a comment");
        let Line::Key { options, key: found } = read(with.as_bytes()) else { panic!() };
        assert_eq!(options, "command=\"echo \\\"a b\\\", c\",no-pty");
        assert_eq!(each_option(options), ["command=\"echo \\\"a b\\\", c\"", "no-pty"]);
        assert!(found.is_same(&key(A)));
        for (line, is) in [
            (&b""[..], Line::Remark),
            (b"  \t", Line::Remark),
            (b"  # caf\xe9", Line::Remark),
            (b"ssh-ed25519 AAAA", Line::Other),
            (b"nonsense", Line::Other),
            (b"\xff\xfe", Line::Other),
        ] {
            assert_eq!(read(line), is, "{line:?}");
        }
        let latin = [A.as_bytes(), b" caf\xe9\r"].concat();
        assert!(matches!(read(&latin), Line::Key { options: "", .. }));
    }

    #[test]
    fn a_key_is_added_behind_all_others_which_stay_as_they_are() {
        let (a, b) = (key(A), key(B));
        assert_eq!(text("", &wanted(&a, None)), format!("{A} ops\n"));
        let others = format!("# mine\r\n\n  no-pty {B} b@home\t\r\njunk");
        assert_eq!(text(&others, &wanted(&a, Some("restrict"))), format!("{others}\nrestrict {A} ops\n"));
        let there = format!("{others}\nno-pty\t {A} another comment");
        assert_eq!(text(&there, &wanted(&a, None)), there);
        assert_eq!(text(&there, &wanted(&b, None)), there);
    }

    #[test]
    fn options_are_put_in_place_and_a_second_line_without_them_goes() {
        let a = key(A);
        let there = format!("{B} b\nno-pty  {A} x y\n{A} twin\nrestrict {A}\n");
        let edited = edit(there.as_bytes(), &wanted(&a, Some("restrict")));
        assert_eq!((edited.options.as_deref(), edited.has_twins), (Some("no-pty"), true));
        assert_eq!(
            String::from_utf8(edited.text).unwrap(),
            format!("{B} b\nrestrict {A} x y\nrestrict {A}\n")
        );
        assert_eq!(text(&format!(" no-pty {A} x\r\n"), &wanted(&a, Some(""))), format!("{A} x\r\n"));
        assert_eq!(text(&format!("{A} x\n"), &wanted(&a, Some(""))), format!("{A} x\n"));
    }

    #[test]
    fn in_the_other_file_only_what_says_otherwise_goes() {
        let a = key(A);
        let there = format!("{B}\n{A} x\nrestrict {A}\n");
        let other = |options| Wanted { is_here: false, ..wanted(&a, options) };
        assert_eq!(text(&there, &other(None)), there);
        assert_eq!(text(B, &other(None)), B);
        let edited = edit(there.as_bytes(), &other(Some("restrict")));
        assert!(edited.has_twins);
        assert_eq!(String::from_utf8(edited.text).unwrap(), format!("{B}\nrestrict {A}\n"));
    }

    #[test]
    fn a_key_goes_in_all_its_lines_and_nothing_else_does() {
        let a = key(A);
        let there = format!("# {A}\n{A}\n{B}\nno-pty {A} x\nlast");
        let gone = Wanted { is_there: false, ..wanted(&a, None) };
        assert_eq!(text(&there, &gone), format!("# {A}\n{B}\nlast"));
        assert_eq!(edit(B.as_bytes(), &gone).options, None);
    }

    #[test]
    fn with_exclusive_only_declared_keys_and_remarks_stay() {
        let (a, b) = (key(A), key(B));
        let there = format!("# mine\n\n{B} b\nno key\nno-pty {A}\n");
        let only_a = Wanted { only: Some(vec![&a]), ..wanted(&a, None) };
        let edited = edit(there.as_bytes(), &only_a);
        assert_eq!(edited.gone, [format!("{} b", b.fingerprint()), "`no key…`".to_owned()]);
        assert_eq!(String::from_utf8(edited.text).unwrap(), format!("# mine\n\nno-pty {A}\n"));
        let both = Wanted { only: Some(vec![&a, &b]), ..wanted(&a, None) };
        assert_eq!(text(&there, &both), there.replace("no key\n", ""));
    }
}
