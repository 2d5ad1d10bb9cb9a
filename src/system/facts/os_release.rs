//! os-release(5): shell assignments, one a line.

use super::{Machine, Os};

pub(super) fn read(machine: &Machine<'_>) -> Os {
    let text = machine.read("/etc/os-release");
    parse(&if text.trim().is_empty() { machine.read("/usr/lib/os-release") } else { text })
}

fn parse(text: &str) -> Os {
    // The last of several counts, as in the shell that the format is made for.
    let value = |wanted: &str| {
        let of = |line: &str| {
            line.trim().split_once('=').filter(|(key, _)| *key == wanted).map(|(_, v)| unquoted(v))
        };
        text.lines().rev().find_map(of).unwrap_or_default()
    };
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    Os {
        // The defaults are the manual's.
        id: or(value("ID"), "linux").to_lowercase(),
        id_like: value("ID_LIKE").split_whitespace().map(str::to_lowercase).collect(),
        name: or(value("NAME"), "Linux"),
        version: value("VERSION_ID"),
        codename: or(value("VERSION_CODENAME"), &value("UBUNTU_CODENAME")),
    }
}

/// Quotes may surround the value; within double ones a backslash keeps `"`, `$`, `` ` `` and itself.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['\'', '"'] {
        let Some(inside) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) else {
            continue;
        };
        if quote == '\'' {
            return inside.to_owned();
        }
        let mut text = String::new();
        let mut characters = inside.chars().peekable();
        while let Some(c) = characters.next() {
            let is_escape = c == '\\' && characters.peek().is_some_and(|next| "\"$`\\".contains(*next));
            text.push(if is_escape { characters.next().unwrap_or(c) } else { c });
        }
        return text;
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files as the distributions ship them.
    #[test]
    fn the_distributions_are_told_apart() {
        let data = |name: &str| {
            let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/os-release");
            std::fs::read_to_string(directory.join(name)).unwrap()
        };
        for (file, id, like, name, version, codename) in [
            ("debian-12", "debian", "", "Debian GNU/Linux", "12", "bookworm"),
            ("debian-sid", "debian", "", "Debian GNU/Linux", "", "trixie"),
            ("ubuntu-24.04", "ubuntu", "debian", "Ubuntu", "24.04", "noble"),
            ("alpine-3.19", "alpine", "", "Alpine Linux", "3.19.1", ""),
            ("rocky-9.3", "rocky", "rhel centos fedora", "Rocky Linux", "9.3", ""),
            ("arch", "arch", "", "Arch Linux", "", ""),
            ("opensuse-15.5", "opensuse-leap", "suse opensuse", "openSUSE Leap", "15.5", ""),
        ] {
            let os = parse(&data(file));
            let told = (os.id.as_str(), os.id_like.join(" "), os.name, os.version, os.codename);
            assert_eq!(
                told,
                (id, like.to_owned(), name.to_owned(), version.to_owned(), codename.to_owned()),
                "{file}"
            );
        }
    }

    #[test]
    fn quotes_escapes_and_comments_are_the_shells() {
        let os = parse("# ID=no\nID='Odd'\n NAME=\"a \\\"b\\\" \\$c \\\\ \\n\"\nVERSION_ID=\nID_LIKE=\"\"\n");
        assert_eq!((os.id.as_str(), os.name.as_str()), ("odd", "a \"b\" $c \\ \\n"));
        assert_eq!((os.version.as_str(), os.id_like.len()), ("", 0));
        assert_eq!(parse("ID=a\nID=b\n").id, "b");
        assert_eq!((parse("").id.as_str(), parse("").name.as_str()), ("linux", "Linux"));
    }
}
