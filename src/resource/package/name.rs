//! Names of packages, as all of the managers allow them.

use std::fmt;
use std::str::FromStr;

/// A package's name; with apt, `:architecture` may follow.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PackageName(String);

impl PackageName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+._@:~-".contains(c);
        let hint = match text.chars().find(|c| !allowed(*c)) {
            Some('=') => ": the version goes into `version`",
            Some('*' | '?' | '[') => ": packages are named one by one, in `names`",
            Some('/') => ": name the package that holds a file, not the file",
            Some(',' | ' ') => ": several go into `names`",
            Some(bad) => return Err(format!("`{text}` is no package name: it holds `{bad}`")),
            None if text.is_empty() => return Err("the package's name is empty".to_owned()),
            None if text.starts_with('@') => ": groups of packages are not known here, name packages",
            // To apt-get, `name-` is to be removed.
            None if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.ends_with('-') => "",
            None => return Ok(PackageName(text.to_owned())),
        };
        Err(format!("`{text}` is no package name{hint}"))
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::attribute::text_form!(PackageName);

crate::attribute::described!(PackageName, "package-name", {
    "title": "package",
    "type": ["string", "number", "boolean"],
    "pattern": r"^\s*[A-Za-z0-9]([A-Za-z0-9+._@:~-]*[A-Za-z0-9+._@:~])?\s*$",
    "patternErrorMessage": "No package name: write it as in nginx or libc6:i386."
});

/// Without `names`, `package` is a package's name and no label.
#[cfg(feature = "controller")]
pub fn rule(schema: &mut schemars::Schema) {
    let rules = schema.ensure_object().entry("allOf").or_insert_with(|| serde_json::json!([]));
    if let serde_json::Value::Array(rules) = rules {
        rules.push(serde_json::json!({
            "if": { "required": ["names"] },
            "else": { "properties": { "package": {
                "pattern": r"^\s*[A-Za-z0-9]([A-Za-z0-9+._@:~-]*[A-Za-z0-9+._@:~])?\s*$|\{[{%]"
            } } }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_manager_would_take_for_one_package_is_refused() {
        for text in ["nginx", "g++", "libc6:i386", "php8.2-fpm", "gtk+3.0", "7zip", "NetworkManager", "a_b"] {
            assert_eq!(text.parse::<PackageName>().unwrap().as_str(), text);
        }
        for (text, words) in [
            ("", "empty"),
            ("-y", "no package name"),
            ("nginx-", "no package name"),
            ("nginx=1.2", "`version`"),
            ("nginx*", "one by one"),
            ("a b", "`names`"),
            ("a,b", "`names`"),
            ("/usr/bin/x", "the package that holds a file"),
            ("./x.deb", "no package name"),
            ("@core", "groups"),
            ("naïve", "it holds `ï`"),
            ("$(x)", "it holds `$`"),
        ] {
            let error = text.parse::<PackageName>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
