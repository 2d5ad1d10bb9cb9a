//! What a key may do: the options before it, as sshd(8) has them.

use super::lines::{each_option, end_of_options};
use crate::resource::Invalid;

/// The options that sshd(8) knows.
const KNOWN: [&str; 24] = [
    "agent-forwarding",
    "cert-authority",
    "command",
    "environment",
    "expiry-time",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "tunnel",
    "user-rc",
    "verify-required",
    "x11-forwarding",
    "no-verify-required",
    "touch-required",
];

/// Those that sshd does not know, by name.
pub fn unknown(options: &str) -> Vec<&str> {
    let names = each_option(options).into_iter().filter_map(|option| option.split('=').next());
    names.filter(|name| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name))).collect()
}

pub fn judge(options: &str) -> Option<Invalid> {
    let wrong = |what: &str, help: &str| Some(Invalid::new("options", what, help));
    let form = "write them as in restrict,command=\"/usr/bin/backup --all\"";
    if options.contains(['\n', '\r', '\0']) {
        return wrong("options are one line", form);
    }
    if end_of_options(options) < options.len() {
        return wrong("a blank outside of quotes ends the options", form);
    }
    let quotes = options.replace("\\\"", "").matches('"').count();
    if quotes % 2 == 1 {
        return wrong("a quote is not closed", form);
    }
    if options.split(',').next().is_some_and(|first| first.starts_with('#')) {
        return wrong("options that begin with # make the line a comment", form);
    }
    if !options.is_empty() && each_option(options).iter().any(|option| option.is_empty()) {
        return wrong("there is nothing between two commas", form);
    }
    None
}
