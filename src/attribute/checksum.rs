//! Checksums of what comes from elsewhere: `sha256:…`, `sha512:…`.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256, Sha512};

use super::hex;

/// What bytes must hash to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checksum {
    pub algorithm: Algorithm,
    /// Lower-case.
    hex: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

/// A checksum in the making.
#[derive(Clone)]
pub enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Algorithm {
    const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }

    pub fn hasher(self) -> Hasher {
        match self {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub fn of(self, bytes: &[u8]) -> Checksum {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub fn finish(self) -> Checksum {
        match self {
            Hasher::Sha256(hasher) => Checksum { algorithm: Algorithm::Sha256, hex: hex(&hasher.finalize()) },
            Hasher::Sha512(hasher) => Checksum { algorithm: Algorithm::Sha512, hex: hex(&hasher.finalize()) },
        }
    }
}

impl Checksum {
    /// Its beginning, for a line that a person reads: `sha256 2b1c8f0a9d3e…`.
    pub fn brief(&self) -> String {
        let start = self.hex.get(..12).unwrap_or(&self.hex);
        format!("{} {start}…", self.algorithm.name())
    }
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let is_hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some((name, digits)) = text.split_once(':') else {
            let by_length = Algorithm::ALL.into_iter().find(|one| one.digits() == text.len());
            return Err(match by_length.filter(|_| is_hex(text)) {
                Some(algorithm) => {
                    format!("this does not say what it is the sum of: write {}:{text}", algorithm.name())
                }
                None => format!("`{text}` is no checksum: write it as in sha256:2b1c…, with all 64 digits"),
            });
        };
        let name = name.trim().to_ascii_lowercase();
        let Some(algorithm) = Algorithm::ALL.into_iter().find(|one| one.name() == name) else {
            return Err(match name.as_str() {
                "md5" | "sha1" => {
                    format!(
                        "{name} proves nothing, since others can be made to fit it: use sha256 (`sha256sum FILE` prints it)"
                    )
                }
                _ => format!("`{name}` is no checksum that is known here: use sha256 or sha512"),
            });
        };
        let digits = digits.trim();
        if !is_hex(digits) || digits.len() != algorithm.digits() {
            let (wanted, found) = (algorithm.digits(), digits.len());
            let what = if is_hex(digits) { format!("these are {found}") } else { "this is not".to_owned() };
            return Err(format!(
                "a {name} has {wanted} hexadecimal digits, and {what}: copy all of it, as `{name}sum FILE` prints it"
            ));
        }
        Ok(Checksum { algorithm, hex: digits.to_ascii_lowercase() })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

super::text_form!(Checksum);

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_checksum_is_read_in_either_case_and_is_that_of_its_bytes() {
        let sum: Checksum = format!(" SHA256:{} ", OF_ABC.to_uppercase()).parse().unwrap();
        assert_eq!(sum.to_string(), format!("sha256:{OF_ABC}"));
        assert_eq!(Algorithm::Sha256.of(b"abc"), sum);
        assert_eq!(sum.brief(), "sha256 ba7816bf8f01…");
        let long = Algorithm::Sha512.of(b"abc");
        assert_eq!(long.to_string().parse(), Ok(long));
    }

    #[test]
    fn what_is_no_checksum_says_how_to_write_one() {
        for (text, says) in [
            (OF_ABC, "write sha256:ba78"),
            ("abc", "as in sha256:"),
            ("", "as in sha256:"),
            ("md5:900150983cd24fb0d6963f7d28e17f72", "use sha256"),
            ("sha1:x", "use sha256"),
            ("crc32:1234", "use sha256 or sha512"),
            ("sha256:abc", "has 64 hexadecimal digits, and these are 3"),
            ("sha256:", "has 64 hexadecimal digits"),
            ("sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "has 128"),
            ("sha256:https://host/SHA256SUMS", "and this is not"),
        ] {
            let error = text.parse::<Checksum>().expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
