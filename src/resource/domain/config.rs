//! What converge reads of a domain's configuration, xl.cfg(5), and of the links to it.

use crate::attribute::AbsPath;

/// The domain's `name`: the last one counts, as for `xl`.
pub fn name(text: &str) -> Option<String> {
    let value = |line: &str| {
        let rest = line.trim_start().strip_prefix("name")?.trim_start().strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|c| "'\"".contains(*c))?;
        rest[1..].split(quote).next().map(str::to_owned)
    };
    text.split(['\n', ';']).filter_map(value).next_back()
}

/// Where a link in `directory` points, as an absolute path.
pub fn leads_to(directory: &AbsPath, target: &str) -> Option<AbsPath> {
    let mut parts: Vec<&str> = Vec::new();
    let whole = if target.starts_with('/') { target.to_owned() } else { format!("{directory}/{target}") };
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_as_xl_finds_it() {
        for (text, expected) in [
            ("name = \"vps0\"\nmemory = 128\n", Some("vps0")),
            ("# name = \"old\"\nname='vps0' # the one\n", Some("vps0")),
            ("memory=128; name=\"vps0\"", Some("vps0")),
            ("name = \"a\"\nname = \"vps0\"\n", Some("vps0")),
            ("memory = 128\nnames = \"x\"\n", None),
            ("", None),
        ] {
            assert_eq!(name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn relative_links_are_followed_by_their_text() {
        let auto: AbsPath = "/etc/xen/auto".parse().unwrap();
        let config: AbsPath = "/etc/xen/vps0.cfg".parse().unwrap();
        for target in ["/etc/xen/vps0.cfg", "../vps0.cfg", "/etc/xen/auto/../vps0.cfg"] {
            assert_eq!(leads_to(&auto, target), Some(config.clone()), "{target}");
        }
        assert_ne!(leads_to(&auto, "vps0.cfg"), Some(config));
    }
}
