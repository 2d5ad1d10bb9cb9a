//! Names of kernel parameters.

use std::fmt;
use std::str::FromStr;

use crate::attribute::AbsPath;

/// A parameter's name, as `sysctl` prints it: its parts are separated by dots, and a dot within a
/// part is a slash, as in `net.ipv4.conf.eth0/1.forwarding`. The other spelling, with slashes between
/// the parts, is read too.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts, as the directories of /proc/sys are named.
    pub fn parts(&self) -> impl Iterator<Item = String> {
        self.0.split('.').map(|part| part.replace('/', "."))
    }

    /// Where the kernel shows its value.
    pub fn path(&self) -> AbsPath {
        let top: AbsPath = "/proc/sys".parse().expect("it is an absolute path");
        self.parts().fold(top, |path, part| path.join(&part))
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| {
            Err(format!("`{text}` is no kernel parameter: {why}; write it as in net.ipv4.ip_forward"))
        };
        if let Some(wild) = text.chars().find(|c| "*?[]".contains(*c)) {
            return refused(&format!("`{wild}` stands for many, and one is declared at a time"));
        }
        if text.starts_with('-') || text.chars().any(|c| c.is_whitespace() || c == '=' || c == '\0') {
            return refused("a name has no blanks, no `=` and no `-` in front");
        }
        // sysctl.d(5): the separator that comes first says which spelling it is.
        let Some(first) = text.find(['.', '/']) else { return refused("it has one part only") };
        let swapped = |c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        };
        let name = match &text[first..=first] {
            "/" => text.chars().map(swapped).collect(),
            _ => text.to_owned(),
        };
        if name.split(['.', '/']).any(str::is_empty) {
            return refused("a part of it is empty");
        }
        Ok(Key(name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

crate::attribute::text_form!(Key);

crate::attribute::described!(Key, "kernel-parameter", {
    "title": "kernel parameter",
    "type": "string",
    "pattern": r"^(?!-)[^\s./=*?\[\]]+([./][^\s./=*?\[\]]+)+$",
    "patternErrorMessage": "No kernel parameter: write it as in net.ipv4.ip_forward."
});

/// Whether two values are one to the kernel: blanks of any kind are one, and numbers are numbers,
/// however they are written.
pub fn is_same(declared: &str, seen: &str) -> bool {
    let same = |(a, b): (&str, &str)| a == b || number(a).is_some_and(|a| Some(a) == number(b));
    let (declared, seen): (Vec<&str>, Vec<&str>) =
        (declared.split_whitespace().collect(), seen.split_whitespace().collect());
    declared.len() == seen.len() && declared.into_iter().zip(seen).all(same)
}

/// As the kernel reads it: 0x… is hexadecimal, 0… is octal.
fn number(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let digits_of = |radix, digits: &str| {
        let is_plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
        i128::from_str_radix(digits, radix).ok().filter(|_| is_plain)
    };
    let number = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => digits_of(16, digits),
        None if digits.len() > 1 && digits.starts_with('0') => digits_of(8, digits),
        None => digits_of(10, digits),
    };
    Some(sign * number?)
}

/// Blanks as one blank each, as it is shown and written.
pub fn plain(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_name_are_one_name() {
        for (text, name, path) in [
            ("net.ipv4.ip_forward", "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.x", "net.ipv4.conf.eth0/1.x", "/proc/sys/net/ipv4/conf/eth0.1/x"),
            ("net/ipv4/conf/eth0.1/x", "net.ipv4.conf.eth0/1.x", "/proc/sys/net/ipv4/conf/eth0.1/x"),
            ("vm.swappiness", "vm.swappiness", "/proc/sys/vm/swappiness"),
        ] {
            let key: Key = text.parse().unwrap();
            assert_eq!((key.as_str(), key.path().as_str()), (name, path));
        }
        for text in ["", "net", "net..x", ".net.x", "net.x.", "net/../x", "net.*.x", "a b.c", "a.b=1", "-a.b"]
        {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_compared_as_the_kernel_reads_them() {
        for (declared, seen) in [
            ("1", "1"),
            ("4096 131072 6291456", "4096\t131072\t6291456"),
            (" 4096\t131072 6291456 ", "4096\t131072\t6291456"),
            ("0x10", "16"),
            ("010", "8"),
            ("-1", "-1"),
            ("|/bin/dump %P %u", "|/bin/dump %P  %u"),
            ("", ""),
            ("bbr", "bbr"),
        ] {
            assert!(is_same(declared, seen), "{declared} {seen}");
        }
        for (declared, seen) in
            [("1", "0"), ("1 2", "1"), ("1", "1 2"), ("+1", "1"), ("bbr", "cubic"), ("", "0")]
        {
            assert!(!is_same(declared, seen), "{declared} {seen}");
        }
    }
}
