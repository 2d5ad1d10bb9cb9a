//! The part of a body that says why it is not the right one: what is around the place where it
//! should have been, and not the whole page.

use super::html;
use crate::resource::Detail;

/// A body that is no longer is shown as it is.
const SHORT: usize = 800;

/// On either side of a place.
const AROUND: usize = 300;

/// Of the rest, its beginning.
const BEGINNING: usize = 1200;

/// Shorter pieces of what was looked for are found anywhere.
const SHORTEST_PIECE: usize = 4;

/// What was looked for, and not found.
pub enum Sought {
    Text(String),
    Pattern(String),
}

/// What of the body is to be shown; None where there is nothing that a person could read.
/// `is_whole`: it is all of the body.
pub fn part(bytes: &[u8], is_whole: bool, is_html: bool, sought: &[Sought]) -> Option<Detail> {
    let body = String::from_utf8_lossy(bytes);
    // A body that was cut within a character ends with what stands in for it.
    let body = if is_whole { body.as_ref() } else { body.trim_end_matches('\u{fffd}') };
    let is_text = !body.chars().any(|c| c.is_control() && !c.is_whitespace());
    if !is_text || body.trim().is_empty() {
        return None;
    }
    if is_whole && body.len() <= SHORT {
        return detail("body", body);
    }
    for one in sought {
        if let Some((place, piece)) = nearest(body, one) {
            let piece = piece.replace(['\n', '\r'], " ");
            return detail(&format!("the body around `{piece}`"), &around(body, place));
        }
    }
    let words = if is_html { html::words(body) } else { String::new() };
    match words.is_empty() {
        true => detail("beginning of the body", &cut(body, BEGINNING)),
        false => detail("text of the page", &cut(&words, BEGINNING)),
    }
}

fn detail(title: &str, text: &str) -> Option<Detail> {
    Some(Detail { title: title.to_owned(), text: text.trim_end().to_owned() })
}

/// Where the longest piece of what was looked for is, and that piece.
fn nearest(body: &str, sought: &Sought) -> Option<(usize, String)> {
    let mut pieces = match sought {
        Sought::Text(text) => beginnings(text),
        Sought::Pattern(pattern) => literals(pattern).iter().flat_map(|run| beginnings(run)).collect(),
    };
    pieces.retain(|piece| piece.chars().count() >= SHORTEST_PIECE);
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
    pieces.into_iter().find_map(|piece| Some((html::find_ignoring_case(body, &piece)?, piece)))
}

/// The text, its words, and how each begins: of `name="csrf" value="`, also `name="csrf"`.
fn beginnings(text: &str) -> Vec<String> {
    let text = text.trim();
    let mut pieces = vec![text.to_owned()];
    let ends = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(end, _)| end);
    pieces.extend(ends.map(|end| text[..end].trim_end().to_owned()));
    pieces.extend(text.split_whitespace().map(str::to_owned));
    pieces
}

/// What a regular expression has to match letter by letter.
fn literals(pattern: &str) -> Vec<String> {
    let (mut runs, mut run) = (Vec::new(), String::new());
    let mut characters = pattern.chars().peekable();
    let end = |run: &mut String, runs: &mut Vec<String>| {
        if !run.is_empty() {
            runs.push(std::mem::take(run));
        }
    };
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(escaped) if !escaped.is_alphanumeric() => run.push(escaped),
                _ => end(&mut run, &mut runs),
            },
            '[' => {
                end(&mut run, &mut runs);
                while let Some(inside) = characters.next() {
                    match inside {
                        '\\' => drop(characters.next()),
                        ']' => break,
                        _ => {}
                    }
                }
            }
            // What stands before these may be there, or not.
            '*' | '?' | '{' => {
                run.pop();
                end(&mut run, &mut runs);
                if c == '{' {
                    characters.by_ref().find(|inside| *inside == '}');
                }
            }
            '(' => {
                end(&mut run, &mut runs);
                // Flags, or a group's name.
                if characters.peek() == Some(&'?') {
                    characters.by_ref().find(|inside| matches!(inside, ')' | ':' | '>'));
                }
            }
            '.' | '^' | '$' | '+' | '|' | ')' => end(&mut run, &mut runs),
            literal => run.push(literal),
        }
    }
    end(&mut run, &mut runs);
    runs
}

fn around(body: &str, place: usize) -> String {
    let start = body[..place].char_indices().rev().nth(AROUND).map_or(0, |(start, _)| start);
    let end = body[place..].char_indices().nth(AROUND).map_or(body.len(), |(end, _)| place + end);
    let before = if start > 0 { "… " } else { "" };
    let after = if end < body.len() { " …" } else { "" };
    format!("{before}{}{after}", body[start..end].trim())
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(middle: &str) -> String {
        format!("<html><title>T</title><p>{}</p>{middle}<p>{}</p></html>", "a ".repeat(900), "b ".repeat(900))
    }

    #[test]
    fn what_is_shown_is_around_the_place_and_not_the_whole_page() {
        let page = long("<input type=hidden name=\"csrf\" content=\"x\">");
        let sought = [Sought::Pattern(r#"name="csrf" value="([^"]+)""#.to_owned())];
        let shown = part(page.as_bytes(), true, true, &sought).unwrap();
        assert_eq!(shown.title, "the body around `name=\"csrf\"`");
        assert!(shown.text.contains("content=\"x\"") && shown.text.len() < 700, "{}", shown.text);
        let text = [Sought::Text("welcome back".to_owned())];
        let shown = part(long("<p>Welcome, guest").as_bytes(), true, true, &text).unwrap();
        assert_eq!(shown.title, "the body around `welcome`");
        let shown = part(long("").as_bytes(), true, true, &[Sought::Text("Nothing".to_owned())]).unwrap();
        assert_eq!(shown.title, "text of the page");
        assert!(shown.text.starts_with("T\na a a") && shown.text.chars().count() <= BEGINNING + 2);
        let shown = part(long("").as_bytes(), true, false, &[]).unwrap();
        assert_eq!(shown.title, "beginning of the body");
    }

    #[test]
    fn a_short_body_is_shown_whole_and_what_is_no_text_not_at_all() {
        let shown = part(b"<h1>down</h1>\n", true, true, &[Sought::Text("down there".to_owned())]).unwrap();
        assert_eq!((shown.title.as_str(), shown.text.as_str()), ("body", "<h1>down</h1>"));
        for nothing in [&b""[..], b" \n", b"\x00\x01", b"PNG\x1a\n"] {
            assert_eq!(part(nothing, true, false, &[]), None);
        }
        // Cut within a character.
        let cut = part("ü".as_bytes().split_last().unwrap().1, false, false, &[]);
        assert_eq!(cut, None);
        let umlauts = "ü".repeat(3000);
        assert!(part(umlauts.as_bytes(), true, false, &[Sought::Text("üüüüx".to_owned())]).is_some());
    }

    #[test]
    fn the_literal_parts_of_a_pattern() {
        for (pattern, wanted) in [
            (r#"name="csrf" value="([^"]+)""#, vec!["name=\"csrf\" value=\"", "\""]),
            (r"a\.b\d+c", vec!["a.b", "c"]),
            (r"(?i)colou?r", vec!["colo", "r"]),
            (r"(?P<id>x{2,3})|y[\]z]w", vec!["y", "w"]),
            (r"", vec![]),
        ] {
            assert_eq!(literals(pattern), wanted, "{pattern}");
        }
    }
}
