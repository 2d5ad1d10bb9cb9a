//! Durations: `500ms`, `2s`, `5m`, `1h30m`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }

    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Span(duration)
    }
}

/// Unit and its length in milliseconds, longest first, as they must follow each other.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut total: u64 = 0;
        let mut last_unit = 0;
        if rest == "0" {
            return Ok(Span(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(unreadable(text));
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
            if letters == 0 && digits == rest.len() && total == 0 {
                return Err(format!("`{text}` has no unit: write {number}s, {number}m or {number}h"));
            }
            let place = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(|| unreadable(text))?;
            if place < last_unit {
                return Err(unreadable(text));
            }
            last_unit = place + 1;
            total = number
                .parse::<u64>()
                .ok()
                .and_then(|n| n.checked_mul(UNITS[place].1))
                .and_then(|ms| ms.checked_add(total))
                .ok_or_else(|| unreadable(text))?;
            rest = &rest[digits + letters..];
        }
        Ok(Span(Duration::from_millis(total)))
    }
}

fn unreadable(text: &str) -> String {
    format!("`{text}` is no duration: write it as in 500ms, 2s, 5m or 1h30m")
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in UNITS {
            let count = rest / u128::from(length);
            if count > 0 {
                write!(f, "{count}{unit}")?;
                rest %= u128::from(length);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::text_form!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, ms) in
            [("500ms", 500), ("2s", 2_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1d", 86_400_000)]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.get(), Duration::from_millis(ms));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("90s".parse::<Span>().unwrap().to_string(), "1m30s");
    }

    #[test]
    fn what_is_no_duration_says_how_to_write_one() {
        for text in ["", "5", "m", "5x", "5m 3s", "3s5m", "-5s", "1.5h", "99999999999999999999s", "5m5m"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!("30".parse::<Span>().unwrap_err().contains("30s"));
    }
}
