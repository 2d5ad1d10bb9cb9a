//! Of HTML, no more than it takes to show a page's words and to read a value out of it.

/// What an attribute or a text of a page says: character references, which browsers read as what
/// they stand for, are that. What is none stays as it is.
pub fn decoded(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        // The longest name that is known here has ten characters with its `&`.
        let end = rest.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        match end.and_then(|end| Some((end, reference(&rest[1..end])?))) {
            Some((end, character)) => {
                plain.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn reference(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| *c != '\0');
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "plus" => '+',
        "equals" => '=',
        "sol" => '/',
        _ => return None,
    })
}

/// What a person would read on the page: its title and its words, a line for each block.
pub fn words(page: &str) -> String {
    let (mut text, mut rest, mut is_verbatim) = (String::new(), page, false);
    // The end of a line is a blank, but where a page shows a program's own words.
    let push = |text: &mut String, part: &str, is_verbatim: bool| match is_verbatim {
        true => text.push_str(part),
        false => text.push_str(&part.replace(['\n', '\r'], " ")),
    };
    while let Some(start) = rest.find('<') {
        push(&mut text, &rest[..start], is_verbatim);
        rest = &rest[start..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let name = tag_name(rest);
        if name.is_empty() {
            text.push('<');
            rest = &rest[1..];
            continue;
        }
        // A tag that was cut off is the page's end.
        rest = rest.find('>').map_or("", |end| &rest[end + 1..]);
        if matches!(name.as_str(), "script" | "style" | "template" | "svg") {
            let end = find_ignoring_case(rest, &format!("</{name}"));
            rest = end.map_or("", |end| &rest[end..]);
        } else if !INLINE.contains(&name.trim_start_matches('/')) {
            text.push('\n');
        }
        if name.trim_start_matches('/') == "pre" {
            is_verbatim = name == "pre";
        }
    }
    push(&mut text, rest, is_verbatim);
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).map(|line| decoded(&line)).collect();
    lines.join("\n")
}

/// Tags within a line.
const INLINE: [&str; 14] =
    ["a", "abbr", "b", "bdi", "code", "em", "font", "i", "q", "small", "span", "strong", "sub", "sup"];

/// In lower case, with the `/` of a closing one; empty where it is no tag.
fn tag_name(tag: &str) -> String {
    let body = &tag[1..];
    let (slash, body) = body.strip_prefix('/').map_or(("", body), |body| ("/", body));
    let first = body.chars().next();
    if !first.is_some_and(|c| c.is_ascii_alphabetic() || c == '!' || c == '?') {
        return String::new();
    }
    let end = body.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(body.len());
    format!("{slash}{}", body[..end].to_ascii_lowercase())
}

/// `wanted` in lower case and in ASCII.
pub fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    text.windows(wanted.len().max(1)).position(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_references_are_what_they_stand_for() {
        for (text, wanted) in [
            ("a&amp;b", "a&b"),
            ("&#43;&#x2B;&#x2f;&plus;", "++/+"),
            ("&lt;p&gt;&quot;&#39;&apos;", "<p>\"''"),
            ("&amp;amp;", "&amp;"),
            ("a & b; &nothing; &#xZZ; &#0; &#1114112; &", "a & b; &nothing; &#xZZ; &#0; &#1114112; &"),
            ("Grüße &amp; Küsse", "Grüße & Küsse"),
        ] {
            assert_eq!(decoded(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_words_of_a_page_are_what_a_person_reads_on_it() {
        let page = "<!doctype html><html><head><TITLE>Error 500</TITLE><style>p { x: y }</style>\n<script>if (a < b) alert('<p>')</script></head>\n<body><!-- <p>not this</p> --><h1>It is\n down</h1><p>The <b>database</b> &amp; co. a < b<br>second line</p><pre>Traceback\n  line 1</pre>\n<svg><text>no</text></svg></body>";
        assert_eq!(
            words(page),
            "Error 500\nIt is down\nThe database & co. a < b\nsecond line\nTraceback\nline 1"
        );
        for broken in ["<p", "a<!-- b", "<script>x", "</", "<", "a<b c"] {
            let words = words(broken);
            assert!(words.len() <= broken.len(), "{broken}: {words}");
        }
    }
}
