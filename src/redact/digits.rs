//! Bytes written as digits: in base64, wherever in a longer text they stand, and in hexadecimal.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A secret inside of something that was encoded in base64: of the three ways in which it can
/// fall on groups of three bytes, one.
pub struct Base64 {
    /// Those digits that are its own, whatever is before and behind it.
    digits: Vec<u8>,
    /// A digit before these that belongs to it in part; and one behind.
    shares_first: bool,
    shares_last: bool,
}

impl Base64 {
    pub fn all(bytes: &[u8]) -> Vec<Base64> {
        (0..3)
            .map(|before| {
                let encoded = STANDARD.encode([&[0; 2][..before], bytes].concat()).into_bytes();
                let bits = (before + bytes.len()) * 8;
                Base64 {
                    digits: encoded[(before * 8).div_ceil(6)..bits / 6].to_vec(),
                    shares_first: before > 0,
                    shares_last: !bits.is_multiple_of(6),
                }
            })
            .collect()
    }

    pub fn begins(&self, byte: u8) -> bool {
        match self.digits.first() {
            Some(b'+') => matches!(byte, b'+' | b'-' | b'%'),
            Some(b'/') => matches!(byte, b'/' | b'_' | b'%' | b'\\'),
            first => first == Some(&byte),
        }
    }

    pub fn find(&self, text: &str, at: usize) -> Option<Range<usize>> {
        let bytes = text.as_bytes();
        let mut end = at;
        for (count, digit) in self.digits.iter().enumerate() {
            if count > 0 {
                end += line_break(&text[end..]);
            }
            end += one(&text[end..], *digit)?;
        }
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
        let begin = match at.checked_sub(1).and_then(|before| bytes.get(before)) {
            Some(before) if self.shares_first && is_digit(before) => at - 1,
            _ => at,
        };
        if self.shares_last {
            let behind = end + line_break(&text[end..]);
            if bytes.get(behind).is_some_and(is_digit) {
                end = behind + 1;
                for _ in 0..2 {
                    let padding = ["=", "%3D", "%3d"].into_iter().find(|p| text[end..].starts_with(p));
                    end += padding.map_or(0, str::len);
                }
            }
        }
        Some(begin..end)
    }
}

/// How many bytes this digit takes: in the alphabet of RFC 4648, in that for URLs, or escaped.
fn one(text: &str, digit: u8) -> Option<usize> {
    let forms: &[&str] = match digit {
        b'+' => &["+", "-", "%2B", "%2b", "\\u002b", "\\u002B"],
        b'/' => &["/", "_", "%2F", "%2f", "\\/"],
        _ => return (text.as_bytes().first() == Some(&digit)).then_some(1),
    };
    forms.iter().find(|form| text.starts_with(**form)).map(|form| form.len())
}

/// Long ones are broken into lines.
fn line_break(text: &str) -> usize {
    let broken = ["\r\n", "\n", "\\r\\n", "\\n", "%0A"].into_iter().find(|line| text.starts_with(line));
    let Some(length) = broken.map(str::len) else { return 0 };
    let rest = &text[length..];
    length + rest.len() - rest.trim_start_matches([' ', '\t']).len()
}

/// A secret in hexadecimal, in either case, with or without something between the bytes.
pub struct Hex(Vec<[u8; 2]>);

impl Hex {
    pub fn new(bytes: &[u8]) -> Hex {
        let digits = format!("{:02x?}", bytes);
        let pairs =
            digits.trim_matches(['[', ']']).split(", ").filter_map(|pair| pair.as_bytes().try_into().ok());
        Hex(pairs.collect())
    }

    pub fn begins(&self, byte: u8) -> bool {
        self.0.first().is_some_and(|pair| pair[0] == byte.to_ascii_lowercase())
    }

    pub fn end(&self, text: &str, at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut end = at;
        for (count, pair) in self.0.iter().enumerate() {
            while count > 0 && matches!(bytes.get(end), Some(b' ' | b':' | b'-' | b',' | b'\n' | b'\t')) {
                end += 1;
            }
            if count > 0 && text.get(end..).is_some_and(|rest| rest.starts_with("0x") && pair != b"0x") {
                end += 2;
            }
            if !bytes.get(end..end + 2)?.eq_ignore_ascii_case(pair) {
                return None;
            }
            end += 2;
        }
        Some(end)
    }
}
