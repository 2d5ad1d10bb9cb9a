//! A regular expression that lines of a file are held against.

use std::fmt;
use std::str::FromStr;

use regex::bytes::Regex;

/// Of bytes, since a file need not be UTF-8. Two are equal where they are written alike.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether it is found anywhere in the line, which comes without its end.
    pub fn finds(&self, line: &[u8]) -> bool {
        self.0.is_match(line)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty regular expression is found in every line".to_owned());
        }
        Regex::new(text).map(Pattern).map_err(|error| {
            // Its last line says what is wrong; those before it draw where, for a terminal.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("`{text}` is no regular expression: {last}")
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

super::text_form!(Pattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_expression_is_told_in_one_line() {
        for text in ["", "(", "a{2,1}", "[z-a]", "*", r"\1", "(?<=a)b"] {
            let refused = text.parse::<Pattern>().unwrap_err();
            assert!(!refused.contains('\n'), "{refused}");
        }
    }

    #[test]
    fn it_is_found_in_lines_that_are_not_utf_8() {
        let pattern: Pattern = "^name *=".parse().unwrap();
        assert!(pattern.finds(b"name = M\xfcller"));
        assert!(!pattern.finds(b"\xffname = M\xfcller"));
    }
}
