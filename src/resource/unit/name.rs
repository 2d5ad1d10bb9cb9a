//! Names of systemd units, as systemd.unit(5) allows them.

use std::fmt;
use std::str::FromStr;

const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "timer",
    "path",
    "target",
    "mount",
    "automount",
    "swap",
    "slice",
    "scope",
    "device",
];

/// A unit's whole name, with its suffix.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnitName(String);

impl UnitName {
    /// With its suffix, as systemd knows it.
    pub fn full(&self) -> &str {
        &self.0
    }

    /// Without `.service`, as people write it.
    pub fn short(&self) -> &str {
        self.0.strip_suffix(".service").unwrap_or(&self.0)
    }

    /// Without any suffix or instance: what a package of the same name would be called.
    pub fn stem(&self) -> &str {
        let stem = self.0.rsplit_once('.').map_or(&*self.0, |(stem, _)| stem);
        stem.split('@').next().unwrap_or(stem)
    }

    /// `foo@.service` for `foo@bar.service`.
    pub fn template(&self) -> Option<String> {
        let (stem, suffix) = self.0.rsplit_once('.')?;
        let (prefix, _) = stem.split_once('@')?;
        Some(format!("{prefix}@.{suffix}"))
    }

    pub fn kind(&self) -> &str {
        self.0.rsplit_once('.').map_or("service", |(_, suffix)| suffix)
    }
}

impl FromStr for UnitName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            let hint = if text.starts_with('/') {
                ": for a mount point's unit write what `systemd-escape -p --suffix=mount PATH` prints"
            } else {
                ""
            };
            return Err(format!("`{text}` is no unit name: it holds `{bad}`{hint}"));
        }
        let has_suffix = text.rsplit_once('.').is_some_and(|(_, suffix)| SUFFIXES.contains(&suffix));
        let full = if has_suffix { text.to_owned() } else { format!("{text}.service") };
        let stem = full.rsplit_once('.').map_or("", |(stem, _)| stem);
        if stem.is_empty() || stem.starts_with('@') {
            return Err(format!("`{text}` is no unit name: write one as in nginx or backup.timer"));
        }
        if stem.ends_with('@') {
            return Err(format!(
                "`{text}` is a template, which cannot run: name an instance of it, as in {stem}1"
            ));
        }
        if full.len() > 255 {
            return Err("the unit name is longer than systemd's 255 characters".to_owned());
        }
        Ok(UnitName(full))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::attribute::text_form!(UnitName);

crate::attribute::described!(UnitName, "unit-name", {
    "title": "unit",
    "type": ["string", "number", "boolean"],
    "pattern": r"^(?!@)(?!(.*@)?(\.(service|socket|timer|path|target|mount|automount|swap|slice|scope|device))?$)[A-Za-z0-9:_.\\@-]+$",
    "maxLength": 255,
    "patternErrorMessage": "No unit name: write it as in nginx, backup.timer or app@1."
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_suffix_is_a_service() {
        for (text, full, short) in [
            ("supervisor", "supervisor.service", "supervisor"),
            ("supervisor.service", "supervisor.service", "supervisor"),
            ("backup.timer", "backup.timer", "backup.timer"),
            ("php8.2-fpm", "php8.2-fpm.service", "php8.2-fpm"),
            ("getty@tty1", "getty@tty1.service", "getty@tty1"),
            ("dev-disk-by\\x2dlabel-x.swap", "dev-disk-by\\x2dlabel-x.swap", "dev-disk-by\\x2dlabel-x.swap"),
        ] {
            let name: UnitName = text.parse().unwrap();
            assert_eq!((name.full(), name.short()), (full, short));
        }
        let instance: UnitName = "getty@tty1".parse().unwrap();
        assert_eq!((instance.template().as_deref(), instance.stem()), (Some("getty@.service"), "getty"));
    }

    #[test]
    fn what_systemd_would_refuse_is_refused() {
        for text in ["", ".service", "a b", "a/b", "@x", "foo@", "foo@.service", "ü", "-x y", "/srv"] {
            assert!(text.parse::<UnitName>().is_err(), "{text}");
        }
        assert!("foo@".parse::<UnitName>().unwrap_err().contains("template"));
    }
}
