//! Names of users and groups: what no tool takes is refused here, the finer rules are the host's.

use std::fmt;
use std::str::FromStr;

/// The name of a user or of a group.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountName(String);

impl AccountName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let way_out = "write one as in app or www-data";
        if text.is_empty() {
            return Err(format!("a name is needed, and this is empty: {way_out}"));
        }
        if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control() || ":/,".contains(*c)) {
            let bad = if bad.is_control() { "a control character".to_owned() } else { format!("`{bad}`") };
            return Err(format!("no user or group can be called `{text}`, with {bad} in it: {way_out}"));
        }
        if text.starts_with(['-', '+', '~']) || text == "." || text == ".." {
            return Err(format!("no user or group can be called `{text}`: {way_out}"));
        }
        if text.chars().all(|c| c.is_ascii_digit()) {
            return Err(format!("`{text}` is a number, and would be taken for a uid or gid: {way_out}"));
        }
        Ok(AccountName(text.to_owned()))
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

super::text_form!(AccountName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_files_or_tools_would_misread_are_refused() {
        for good in ["app", "www-data", "Alice.B", "_apt", "srv$", "j\u{f6}rg", "app1", "1app"] {
            assert_eq!(good.parse::<AccountName>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a:b", "a/b", "a,b", "-a", "+a", "~a", ".", "..", "1000", "a\n", "a\0"] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
    }
}
