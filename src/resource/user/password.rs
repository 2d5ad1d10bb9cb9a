//! The password of a user: the second field of shadow(5).

use super::User;
use crate::resource::{Change, Failure, Invalid};
use crate::system::System;
use crate::system::accounts::LocalUser;

/// What stands for a hash in a plan.
pub const DECLARED: &str = "the declared one";

/// How it looks in the JSON Schema of a spec.
#[cfg(feature = "controller")]
pub struct Spelling;

#[cfg(feature = "controller")]
crate::attribute::described!(Spelling, "password-hash", {
    "title": "hash of a password",
    "type": "string",
    "pattern": r"^(\*|\$[0-9a-z]+[$,][^\s:!]+)$",
    "patternErrorMessage": "No hash of a password: `openssl passwd -6` and `mkpasswd` print them."
});

/// What a hash of crypt(5) begins with, and the length of the digest at its end, where it is always the
/// same.
const KNOWN: [(&str, Option<usize>); 13] = [
    ("$y$", Some(43)),
    ("$gy$", Some(43)),
    ("$7$", Some(43)),
    ("$6$", Some(86)),
    ("$5$", Some(43)),
    ("$2a$", None),
    ("$2b$", None),
    ("$2x$", None),
    ("$2y$", None),
    ("$sm3$", Some(43)),
    ("$md5", None),
    ("$sha1$", None),
    ("$1$", Some(22)),
];

/// The length of bcrypt's: prefix and cost, salt and digest.
const BCRYPT: usize = 60;

/// Says nothing of what is written there: it may be a password.
pub fn judge(hash: &str) -> Option<Invalid> {
    let wrong = |what: &str, help: &str| Some(Invalid::new("password_hash", what, help));
    let make_one = "`openssl passwd -6` or `mkpasswd` print one that begins with $6$ or $y$: write it in quotes, or as a secret";
    if hash == "*" {
        return None;
    }
    if hash.is_empty() {
        let help = "leave it out; `\"*\"` is a password that nobody knows";
        return wrong("an empty hash would let anybody in without a password", help);
    }
    if hash.starts_with('!') {
        return wrong("a hash with `!` before it is locked", "leave out the `!`, and add `locked: true`");
    }
    let Some((start, digest)) = KNOWN.iter().find(|(start, _)| hash.starts_with(start)) else {
        let what = match hash.starts_with('$') {
            true => "this is no hash that a system knows: it begins with $ and something else",
            false => "this is no hash of a password, but looks like a password itself",
        };
        return wrong(what, make_one);
    };
    let is_plain = |c: char| c.is_ascii_graphic() && c != ':';
    if !hash.chars().all(is_plain) {
        return wrong("no hash holds a blank, a line break or `:`", make_one);
    }
    let last = hash.rsplit('$').next().map_or(0, str::len);
    let is_whole = match (start, digest) {
        (_, Some(digest)) => last == *digest && hash.matches('$').count() >= 3,
        (start, None) if start.starts_with("$2") => hash.len() == BCRYPT,
        _ => last > 0,
    };
    if is_whole {
        return None;
    }
    wrong(
        "this hash is not whole: it has not the length that such a hash has",
        "copy all of it; a shell takes out what follows a $ unless it is in single quotes",
    )
}

/// What a field of shadow(5) says: how often it is locked, and the hash below that.
#[derive(PartialEq, Debug, Clone, Copy)]
pub struct Field<'a> {
    pub locks: usize,
    /// Empty where there is none; `*` is one that nothing hashes to.
    pub hash: &'a str,
}

impl<'a> Field<'a> {
    pub fn of(text: &'a str) -> Field<'a> {
        let hash = text.trim_start_matches('!');
        Field { locks: text.len() - hash.len(), hash }
    }

    /// A password that somebody has locked, and not one that was never there.
    pub fn is_locked_hash(self) -> bool {
        self.locks > 0 && !self.hash.is_empty()
    }

    /// No password is right.
    pub fn lets_nobody_in(self) -> bool {
        self.locks > 0 || self.hash == "*"
    }
}

/// What is to be done to a password.
#[derive(PartialEq, Debug)]
pub enum Deed {
    /// The whole field.
    Set(String),
    Lock,
    /// So often.
    Unlock(usize),
}

impl User {
    pub(super) fn password_changes(
        &self,
        system: &System,
        there: &LocalUser,
    ) -> Result<Vec<Change>, Failure> {
        if self.password_hash.is_none() && self.locked.is_none() {
            return Ok(Vec::new());
        }
        let text = system.password_of(there)?;
        let field = Field::of(&text);
        let mut changes = Vec::new();
        if self.password_hash.as_deref().is_some_and(|hash| hash != field.hash) {
            let from = if matches!(field.hash, "" | "*") { "none" } else { "another one" };
            changes.push(Change::from_to("password_hash", from, DECLARED));
        }
        if let Some(locked) = self.locked.filter(|locked| *locked != field.lets_nobody_in()) {
            if !locked && self.password_hash.is_none() && matches!(field.hash, "" | "*") {
                return Err(Failure::new("it has no password that could be unlocked")
                    .help("add `password_hash`, or leave `locked` out"));
            }
            // A password that was never there is not locked, and gets the declared one.
            let is_new = field.locks > 0 && field.hash.is_empty();
            if !(is_new && self.password_hash.is_some() && !locked) {
                changes.push(Change::from_to("locked", !locked, locked));
            }
        }
        Ok(changes)
    }

    /// Of a new account the field is `!`.
    pub(super) fn password_deed(&self, field: Field<'_>) -> Option<Deed> {
        let is_other = self.password_hash.as_deref().filter(|hash| *hash != field.hash);
        if let Some(hash) = is_other {
            // What was locked stays so, unless it is said otherwise.
            let stays = self.locked.unwrap_or(field.is_locked_hash());
            let locks = if stays { field.locks.max(1) } else { 0 };
            return Some(Deed::Set("!".repeat(locks) + hash));
        }
        match self.locked? {
            true if !field.lets_nobody_in() => Some(Deed::Lock),
            false if field.locks > 0 => Some(Deed::Unlock(field.locks)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(start: &str, digest: usize) -> String {
        format!("{start}saltsalt${}", "x".repeat(digest))
    }

    #[test]
    fn hashes_are_told_from_passwords_and_from_what_is_cut() {
        let bcrypt = format!("$2b$12${}", "x".repeat(53));
        let yescrypt = format!("$y$j9T$saltsalt${}", "x".repeat(43));
        let rounds = format!("$6$rounds=5000$saltsalt${}", "x".repeat(86));
        for good in ["*", &hash("$6$", 86), &hash("$5$", 43), &hash("$1$", 22), &bcrypt, &yescrypt, &rounds] {
            assert_eq!(judge(good), None, "{good}");
        }
        for (bad, words) in [
            ("", "would let anybody in"),
            ("hunter2", "looks like a password itself"),
            ("correct horse battery staple", "looks like a password itself"),
            ("abJnggxhB/yWI", "looks like a password itself"),
            ("$9$salt$digest", "no hash that a system knows"),
            ("$6$saltsalt", "not whole"),
            (&hash("$6$", 85), "not whole"),
            (&hash("$5$", 86), "not whole"),
            (&bcrypt[..59], "not whole"),
            (&format!("!{}", hash("$6$", 86)), "is locked"),
            (&format!("{}\n", hash("$6$", 86)), "blank, a line break"),
        ] {
            let said = judge(bad).unwrap_or_else(|| panic!("{bad} was taken"));
            assert!(said.what.contains(words), "{bad}: {}", said.what);
            assert!(
                bad.is_empty() || !format!("{} {}", said.what, said.help).contains(bad),
                "it is repeated"
            );
        }
    }

    #[test]
    fn what_is_to_be_done_follows_from_what_is_there() {
        let user = |json: serde_json::Value| {
            let mut all = serde_json::json!({"user": "app"});
            all.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
            serde_json::from_value::<User>(all).unwrap()
        };
        let set = |text: &str| Some(Deed::Set(text.to_owned()));
        for (declared, there, deed) in [
            (serde_json::json!({}), "!", None),
            (serde_json::json!({"password_hash": "H"}), "!", set("H")),
            (serde_json::json!({"password_hash": "H"}), "!!", set("H")),
            (serde_json::json!({"password_hash": "H"}), "*", set("H")),
            (serde_json::json!({"password_hash": "H"}), "", set("H")),
            (serde_json::json!({"password_hash": "H"}), "H", None),
            (serde_json::json!({"password_hash": "H"}), "!H", None),
            (serde_json::json!({"password_hash": "H"}), "!G", set("!H")),
            (serde_json::json!({"password_hash": "H", "locked": true}), "G", set("!H")),
            (serde_json::json!({"password_hash": "H", "locked": true}), "!", set("!H")),
            (serde_json::json!({"password_hash": "H", "locked": false}), "!G", set("H")),
            (serde_json::json!({"password_hash": "H", "locked": false}), "!H", Some(Deed::Unlock(1))),
            (serde_json::json!({"locked": true}), "H", Some(Deed::Lock)),
            (serde_json::json!({"locked": true}), "", Some(Deed::Lock)),
            (serde_json::json!({"locked": true}), "*", None),
            (serde_json::json!({"locked": false}), "!!H", Some(Deed::Unlock(2))),
            (serde_json::json!({"locked": false}), "H", None),
        ] {
            assert_eq!(user(declared.clone()).password_deed(Field::of(there)), deed, "{declared} on {there}");
        }
    }
}
