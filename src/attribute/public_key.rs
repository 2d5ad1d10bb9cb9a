//! Public keys of SSH, as ssh-keygen writes them: `TYPE BASE64 COMMENT`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// A public key. Two are the same key where type and body are, whatever their comments say.
#[derive(Clone)]
pub struct PublicKey {
    kind: String,
    body: Vec<u8>,
    comment: String,
}

impl PublicKey {
    /// As in `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub fn is_same(&self, other: &PublicKey) -> bool {
        self.body == other.body
    }

    /// `ssh-ed25519 AAAA…`, without the comment.
    pub fn bare(&self) -> String {
        format!("{} {}", self.kind, STANDARD.encode(&self.body))
    }

    /// As `ssh-keygen -l` and sshd's log have it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.body)))
    }

    /// Reads type and body that stand apart already; None where they are no key.
    pub fn of(kind: &str, body: &str, comment: &str) -> Option<PublicKey> {
        let body = decode(body)?;
        let fields = fields(&body)?;
        let is_key = fields.len() >= 2 && fields[0] == kind.as_bytes();
        is_key.then(|| PublicKey { kind: kind.to_owned(), body, comment: comment.to_owned() })
    }
}

/// sshd takes it with its padding or without.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

/// What a key is made of: each field with its length before it (RFC 4251). None where one is cut.
fn fields(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if rest.len() < length {
            return None;
        }
        let (field, after) = rest.split_at(length);
        fields.push(field);
        bytes = after;
    }
    Some(fields)
}

/// Names of key types begin so; what is in a key itself decides.
fn looks_like_a_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start))
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What is no public key may be a secret: it is not repeated.
        let text = text.trim();
        if text.contains("PRIVATE KEY") || text.starts_with("PuTTY-User-Key-File") {
            return Err("this is a private key, which belongs in no spec: write the public one, as in the file that ends in .pub".to_owned());
        }
        if text.starts_with("---- BEGIN SSH2") || text.starts_with("-----BEGIN") {
            return Err(
                "this key is in another format than OpenSSH's: convert it with `ssh-keygen -i -f FILE`"
                    .to_owned(),
            );
        }
        if text.contains(['\n', '\r', '\0']) {
            return Err("this is more than one line, and a key is one: write one item for each key, with `for_each` where there are many".to_owned());
        }
        let way_out =
            "write all of the line that is in the file ending in .pub, as in ssh-ed25519 AAAA… name";
        let mut words = text.splitn(3, [' ', '\t']);
        let (Some(kind), Some(body)) = (words.next(), words.next().filter(|body| !body.is_empty())) else {
            return Err(match text {
                "" => format!("the key is empty: {way_out}"),
                _ => format!("a public key is a type and a body, and this is one word: {way_out}"),
            });
        };
        if !looks_like_a_type(kind) && text.split([' ', '\t']).skip(1).any(looks_like_a_type) {
            return Err(
                "the key begins with options: put them into `options`, and only the key here".to_owned()
            );
        }
        if !looks_like_a_type(kind) {
            return Err(format!("this does not begin with a type of key: {way_out}"));
        }
        let comment = words.next().unwrap_or_default().trim();
        if let Some(key) = PublicKey::of(kind, body, comment) {
            return Ok(key);
        }
        let inside = decode(body);
        let inner = inside.as_deref().and_then(|bytes| {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
        });
        Err(match inner {
            None => format!("the body of the key is no base64, or damaged: {way_out}"),
            Some(inner) if inner != kind.as_bytes() => {
                format!("the key says {kind}, and its body is of another type: {way_out}")
            }
            Some(_) => format!("the body of the key is cut short, or has something behind it: {way_out}"),
        })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.is_same(other) && self.comment == other.comment
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare())?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " {}", self.comment) }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.fingerprint())
    }
}

super::text_form!(PublicKey);

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEDqU5BPqNHLNNPvjom2bVX4dejSydH/JDIwBMuwjrPB";

    #[test]
    fn a_key_is_known_by_its_body_and_not_by_its_comment() {
        let (one, other): (PublicKey, PublicKey) =
            (format!("{ED25519} ops at home").parse().unwrap(), ED25519.parse().unwrap());
        assert!(one.is_same(&other) && one != other);
        assert_eq!((one.comment(), one.bare().as_str()), ("ops at home", ED25519));
        assert_eq!(one.to_string(), format!("{ED25519} ops at home"));
        assert_eq!(one.fingerprint().len(), "SHA256:".len() + 43);
        assert_eq!(format!("  {ED25519}\n").parse::<PublicKey>().unwrap().bare(), ED25519);
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_a_way_out_and_not_repeated() {
        let cut = &ED25519[..ED25519.len() - 4];
        let longer = format!("{ED25519}AAAA");
        let other_type = ED25519.replace("ssh-ed25519 ", "ssh-rsa ");
        let with_options = format!("no-pty,from=\"10.0.0.0/8\" {ED25519}");
        let two = format!("{ED25519}\n{ED25519}");
        for (bad, words) in [
            ("", "is empty: write"),
            ("AAAAC3NzaC1lZDI1NTE5", "this is one word: write"),
            ("alice AAAAC3NzaC1lZDI1NTE5", "does not begin with a type of key: write"),
            ("ssh-ed25519 not!base64", "no base64, or damaged: write"),
            (cut, "cut short, or has something behind it: write"),
            (longer.as_str(), "cut short, or has something behind it: write"),
            (other_type.as_str(), "its body is of another type: write"),
            (with_options.as_str(), "begins with options: put them into `options`"),
            (two.as_str(), "more than one line"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n", "this is a private key"),
            ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "another format than OpenSSH's: convert it"),
        ] {
            let error = bad.parse::<PublicKey>().expect_err(bad);
            assert!(error.contains(words), "{bad}: {error}");
            assert!(!error.contains("b3BlbnNz"), "{error}");
        }
    }
}
