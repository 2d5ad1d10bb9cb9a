//! One host of `hosts`: its attributes, what templates see of it.

use serde::Deserialize;

use super::at::{At, Place};
use super::desk::Desk;
use super::gather::{DeclaredHost, check_names};
use super::hosts::{HostDraft, Layers, THIS_MACHINE};
use super::problem::Problem;
use super::read::Entry;
use super::reference::references;
use super::scope::{NoValue, Scope, Vars};
use super::secret_source::learn_written;
use super::template::Engine;
use super::whole::read_all;
use super::yaml::{Node, Style, Value};
use crate::inventory::{Connection, Host, Privilege, Wait};
use crate::redact::Secret;

/// The attributes of a host that are read by serde.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Its name or address in the network. Without it, its name in the spec, as `ssh NAME` would take
    /// it.
    address: Option<String>,

    /// The port of its sshd. Without it, what ~/.ssh/config says, else 22.
    #[schemars(range(min = 1))]
    port: Option<u16>,

    /// The user to log in as. Without it, what ~/.ssh/config says, else the user that runs converge.
    user: Option<String>,

    /// A private key to log in with. Without it, what ~/.ssh/config says and the ssh-agent has.
    identity_file: Option<String>,

    /// Hosts to go through, as `ssh -J` takes them. Without it, what ~/.ssh/config says.
    proxy_jump: Option<String>,

    /// `ssh`, or `local`: the machine converge runs on. The default is `ssh`; of `localhost` it is
    /// `local`.
    connection: Option<Connection>,

    /// How to get the rights of `become_user`: `none` (the default), `sudo` or `doas`. Where sudo
    /// asks for a password, `become_password` is it.
    r#become: Option<Privilege>,

    /// The user that `become` leads to; the default is root.
    become_user: Option<String>,

    /// How long to keep trying to reach it, as after a reboot. `every` says how often; its default
    /// is 1s.
    wait: Option<Wait>,

    /// Words by which `--only tag:WORD` selects what is on it.
    #[serde(default)]
    tags: Vec<String>,
}

/// Those that are not.
pub const OTHERS: &[&str] = &["vars", "depends_on", "become_password"];

pub fn read_host(
    desk: &mut Desk,
    engine: &Engine,
    declared: &DeclaredHost,
    layers: &Layers<'_>,
) -> HostDraft {
    let DeclaredHost { name, node, overlay } = declared;
    let is_this_machine = name.value == THIS_MACHINE;
    let bare = if is_this_machine { Host::this_machine() } else { Host::ssh(&name.value) };
    let mut draft = HostDraft {
        seen: as_seen(&bare, name.place),
        host: Host { location: Some(desk.sources.location(name.place)), ..bare },
        place: Some(name.place),
        depends_on: Vec::new(),
        vars: Vars::new(),
        takes_part: true,
    };
    let entries = match &node.value {
        Value::Mapping(entries) => entries.as_slice(),
        _ if node.is_null() => &[],
        _ => {
            desk.report(
                Problem::at(node.place, format!("the host `{}` must be a mapping", name.value))
                    .label(format!("this is {}", node.kind()))
                    .help("write how it is reached: {address: …, user: …}, or nothing at all"),
            );
            &[]
        }
    };
    if let Some(vars) = node.get("vars").and_then(Node::as_mapping) {
        draft.vars = vars.to_vec();
        check_names(desk, &draft.vars);
    }
    let mut scope = Scope::new(engine, &[layers.vars, &layers.overlays[*overlay], &draft.vars]);
    for (name, value) in layers.command_line {
        scope.set(name, value.clone());
    }
    scope.set("host", draft.seen.clone());
    let (mut rendered, mut unrendered): (Vec<Entry>, Vec<Place>) = (Vec::new(), Vec::new());
    let mut become_password = None;
    for (key, value) in entries {
        match key.value.as_str() {
            "vars" if value.as_mapping().is_none() && !value.is_null() => desk.report(
                Problem::at(value.place, "`vars` must be a mapping")
                    .label(format!("this is {}", value.kind()))
                    .help("write `name: value` below it, one on each line"),
            ),
            "vars" => {}
            "become_password" => become_password = password(desk, &mut scope, key, value),
            "depends_on" => match scope.render(desk, value) {
                Ok(value) => match value.secret() {
                    Some(place) => no_secret(desk, &key.value, place),
                    None => draft.depends_on = references(desk, &value),
                },
                Err(NoValue::Late) => desk.report(needs_facts(&key.value, value.place)),
                Err(NoValue::Broken) => {}
            },
            _ => {
                let value = scope.render(desk, value).unwrap_or_else(|why| {
                    if why == NoValue::Late {
                        desk.report(needs_facts(&key.value, value.place));
                    }
                    unrendered.push(key.place);
                    value.clone()
                });
                match value.secret() {
                    Some(place) => {
                        unrendered.push(key.place);
                        no_secret(desk, &key.value, place);
                    }
                    None => rendered.push((key.clone(), value)),
                }
            }
        }
    }
    let entries: Vec<&Entry> = rendered.iter().collect();
    let about = format!("the host `{}`", name.value);
    let read = read_all(&entries, name.place, &about, OTHERS, &unrendered, &mut desk.problems, |entries| {
        Attributes::deserialize(entries)
    });
    if let Some(read) = read {
        fill(&mut draft.host, read);
        draft.host.become_password = become_password;
        check_password(desk, &draft.host, name);
        check_words(desk, &draft.host, &entries);
        draft.seen = as_seen(&draft.host, name.place);
    }
    draft
}

fn needs_facts(key: &str, place: Place) -> Problem {
    Problem::at(place, format!("a host's `{key}` cannot depend on facts"))
        .label("a host tells its facts once it is reached")
        .help("write it out, or declare a variable under the host's `vars`")
}

/// doas asks at a terminal and nowhere else.
fn check_password(desk: &mut Desk, host: &Host, name: &At<String>) {
    if host.become_password.is_some() && host.privilege == Privilege::Doas {
        desk.report(
            Problem::at(name.place, "doas takes no `become_password`: it asks at a terminal only")
                .label("`become: doas`")
                .help("let doas.conf permit the user with `nopass`, or become root with sudo"),
        );
    }
}

/// Of a host, only the password is taken to nobody else.
fn no_secret(desk: &mut Desk, key: &str, place: Place) {
    desk.report(
        Problem::at(place, format!("`{key}` of a host cannot hold a secret"))
            .label("is shown, and passed to ssh")
            .help("it can stand in `become_password`"),
    );
}

fn password(desk: &mut Desk, scope: &mut Scope<'_>, key: &At<String>, value: &Node) -> Option<Secret> {
    let value = scope.render(desk, value).map_err(|why| {
        if why == NoValue::Late {
            desk.report(needs_facts(&key.value, value.place));
        }
    });
    let value = value.ok()?;
    match &value.value {
        Value::Scalar(scalar) if scalar.style == Style::Secret => Some(Secret::from(scalar.text.as_str())),
        _ => {
            let (place, label) = match &value.value {
                Value::Scalar(scalar) if !value.is_null() => {
                    learn_written(&key.value, &scalar.text);
                    (value.place, "whoever reads the spec knows it".to_owned())
                }
                _ => (key.place, format!("this is {}", value.kind())),
            };
            desk.report(
                Problem::at(place, "`become_password` is no secret")
                    .label(label)
                    .help("declare it under `secrets`, and write become_password: \"{{ secrets.NAME }}\""),
            );
            None
        }
    }
}

fn fill(host: &mut Host, read: Attributes) {
    host.address = read.address;
    host.port = read.port;
    host.user = read.user;
    host.identity_file = read.identity_file;
    host.proxy_jump = read.proxy_jump;
    host.connection = read.connection.unwrap_or(host.connection);
    host.privilege = read.r#become.unwrap_or(Privilege::None);
    host.become_user = read.become_user.unwrap_or_else(|| "root".to_owned());
    host.wait = read.wait;
    host.tags = read.tags;
}

/// Words that travel on command lines: none may look like an option, or be empty.
fn check_words(desk: &mut Desk, host: &Host, entries: &[&Entry]) {
    let words = [
        ("address", host.address.as_deref()),
        ("user", host.user.as_deref()),
        ("proxy_jump", host.proxy_jump.as_deref()),
        ("become_user", Some(host.become_user.as_str())),
    ];
    for (key, word) in words {
        let Some(word) = word else { continue };
        let bad = |c: char| c.is_whitespace() || c.is_control();
        if !word.is_empty() && !word.starts_with('-') && !word.contains(bad) {
            continue;
        }
        if let Some((_, node)) = entries.iter().find(|(name, _)| name.value == key) {
            desk.report(
                Problem::at(node.place, format!("`{word}` cannot be a host's `{key}`"))
                    .label("empty, begins with `-`, or has a space in it")
                    .help("write it as `ssh` takes it; leave the line out for what ~/.ssh/config says"),
            );
        }
    }
    if host.port == Some(0)
        && let Some((_, node)) = entries.iter().find(|(name, _)| name.value == "port")
    {
        desk.report(Problem::at(node.place, "no one listens on port 0").help("write a port from 1 to 65535"));
    }
}

/// What templates see as `host`.
pub fn as_seen(host: &Host, place: Place) -> Node {
    let mut entries = Vec::new();
    let mut add = |key: &str, value: Option<&str>, style| {
        if let Some(value) = value {
            entries.push((At::new(key.to_owned(), place), Node::scalar(value, style, place)));
        }
    };
    add("name", Some(&host.name), Style::Quoted);
    add("address", Some(host.address.as_deref().unwrap_or(&host.name)), Style::Quoted);
    add("user", host.user.as_deref(), Style::Quoted);
    add("port", host.port.map(|port| port.to_string()).as_deref(), Style::Plain);
    let tags = host.tags.iter().map(|tag| Node::scalar(tag, Style::Quoted, place)).collect();
    entries.push((At::new("tags".to_owned(), place), Node { value: Value::Sequence(tags), place }));
    Node { value: Value::Mapping(entries), place }
}
