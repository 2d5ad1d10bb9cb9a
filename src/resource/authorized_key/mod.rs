//! `authorized_key`: a key that may log in as a user, in its ~/.ssh/authorized_keys.

mod lines;
mod options;
mod place;

use serde::{Deserialize, Serialize};

use super::common::{Presence, is_false, nothing_lacking};
use super::user::label;
use super::{
    Action, AnyResource, Change, Check, Claim, Failure, Invalid, Lack, Links, Needed, Resource, Thing,
};
#[cfg(feature = "controller")]
use crate::attribute::schema::OneOrMany;
use crate::attribute::{AbsPath, AccountName, Mode, PublicKey, one_or_many};
use crate::system::System;
use crate::system::files::Access;
use lines::{Edit, Wanted, edit};
use place::{DIRECTORY_MODE, FILE, FILE_MODE, Place, SECOND_FILE, There};

/// So many keys are named; the rest is counted.
const NAMED: usize = 5;

/// A key that may log in as a user.
///
/// It is one line of ~/.ssh/authorized_keys in the user's home, where sshd looks unless its
/// `AuthorizedKeysFile` says otherwise. A key is known by what it is, whatever comment is behind
/// it; the lines, comments and options of others stay as they are, in their order. The user comes
/// first, where it is declared.
///
/// `~/.ssh` is 0700, the file 0600, and both are the user's: anything else is mended, as sshd would
/// not take the key, unless a `directory` or `file` declares that path itself. As root nothing is
/// written through a link that the user made, nor into a file that has another name: these are
/// failures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(transform = super::rules::excludes("state", "absent", &["options"])))]
#[serde(deny_unknown_fields)]
pub struct AuthorizedKey {
    /// A label, as in `alice's laptop`. A new line has it behind the key, unless the key has a
    /// comment of its own.
    #[serde(rename = "authorized_key")]
    pub label: String,

    /// `absent`: the key is in no line, and cannot log in. Where there is no such user, it cannot
    /// either.
    #[serde(default)]
    pub state: Presence,

    /// The user that it logs in as.
    pub user: AccountName,

    /// The public key: the line of the file that ends in `.pub`. One key; `for_each` makes many.
    pub key: PublicKey,

    /// What it may do, as sshd(8) has it: a text like `restrict,command="/usr/bin/backup"`, or a
    /// list of such. They hold exactly, and for every line of this key; `options: []` is none.
    /// Without it, the options of a line that is there stay.
    #[serde(default, deserialize_with = "some_or_many", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "controller", schemars(with = "Option<OneOrMany<String>>"))]
    pub options: Option<Vec<String>>,

    /// Remove all keys of this user that no resource of the spec declares on this host. Comments
    /// stay. The plan names the first of what would go, by their fingerprints.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclusive: bool,

    /// For `exclusive`: the other keys that the spec declares for the user. Filled in by the loader.
    #[serde(default, rename = "_declared_keys", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub declared_keys: Vec<PublicKey>,

    /// Paths that have a resource of their own, which says who owns them. Filled in by the loader.
    #[serde(default, rename = "_declared_paths", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "controller", schemars(skip))]
    pub declared_paths: Vec<AbsPath>,
}

/// A list that is there, of which one entry may stand alone.
fn some_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_many(deserializer).map(Some)
}

impl AuthorizedKey {
    pub const SECRETS: &'static [&'static str] = &[];

    pub const EXAMPLE: &'static str = "\
- authorized_key: ops
  user: root
  key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEDqU5BPqNHLNNPvjom2bVX4dejSydH/JDIwBMuwjrPB
  options: restrict,pty
";

    fn options(&self) -> Option<String> {
        self.options.as_ref().map(|options| options.join(","))
    }

    fn comment(&self) -> &str {
        match self.key.comment() {
            "" => &self.label,
            comment => comment,
        }
    }

    fn is_there(&self) -> bool {
        self.state == Presence::Present
    }

    /// `ssh-ed25519 SHA256:… ops`.
    fn shown(&self) -> String {
        format!("{} {}", self.key.kind(), self.key.fingerprint())
    }

    /// `0700 app`.
    fn wanted_access(&self, mode: u32) -> String {
        format!("{} {}", Mode::from_bits(mode), self.user)
    }

    fn has_own_resource(&self, path: &AbsPath) -> bool {
        self.declared_paths.contains(path)
    }
}

impl Resource for AuthorizedKey {
    fn name(&self) -> String {
        self.label.clone()
    }

    fn links(&self) -> Links {
        let links = Links::default().stands_on(Thing::User(self.user.to_string()), "the user it logs in as");
        links.removal(!self.is_there())
    }

    fn can_wait() -> bool {
        false
    }

    fn looks_around(&self) -> bool {
        true
    }

    fn look_around(&mut self, others: &[&AnyResource]) {
        self.declared_keys.clear();
        self.declared_paths.clear();
        for other in others {
            if let AnyResource::AuthorizedKey(other) = other
                && self.exclusive
                && other.user == self.user
                && other.is_there()
            {
                self.declared_keys.push(other.key.clone());
            }
            let path = match other {
                AnyResource::Directory(other) => &other.path,
                AnyResource::File(other) => &other.path,
                _ => continue,
            };
            if [".ssh", FILE, SECOND_FILE].contains(&path.file_name()) {
                self.declared_paths.push(path.clone());
            }
        }
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim {
            of: format!("the key {} of {}", self.key.fingerprint(), self.user),
            is_shared: false,
            help: "keep one of them, with all options",
        }]
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if self.label.trim().is_empty() || self.label.contains(['\n', '\r', '\0']) {
            let what = "a label is one line of text, and not empty";
            invalid.push(Invalid::new(
                "authorized_key",
                what,
                "write whose key it is, as in `alice's laptop`",
            ));
        }
        if !self.is_there() {
            for (name, _) in [("options", self.options.is_some()), ("exclusive", self.exclusive)]
                .iter()
                .filter(|(_, given)| *given)
            {
                invalid.push(Invalid::new(
                    name,
                    format!("`{name}` says something of a key that `state: absent` says is gone"),
                    "leave one of them out",
                ));
            }
        }
        for options in self.options.iter().flatten() {
            invalid.extend(options::judge(options));
        }
        invalid
    }

    fn warnings(&self, _is_needed: bool) -> Vec<Invalid> {
        let unknown = self.options.iter().flatten().flat_map(|options| options::unknown(options));
        let warning = |name: &str| {
            Invalid::new(
                "options",
                format!("sshd knows no option `{name}`, and takes no key that has one it does not know"),
                "AUTHORIZED_KEYS FILE FORMAT in sshd(8) has them all",
            )
        };
        unknown.map(warning).collect()
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let Some(account) = system.account(self.user.as_str())? else {
            return Ok(if self.is_there() { self.for_a_user_to_come() } else { Check::Holds });
        };
        let place = match self.look(system, account)? {
            Ok(place) => place,
            Err(_) if !self.is_there() => return Ok(Check::Holds),
            Err(lack) => return Ok(self.creation(vec![lack])),
        };
        let mut changes = Vec::new();
        if self.is_there() {
            changes.extend(self.access_change(system, &place));
        }
        changes.extend(self.line_changes(&place));
        let mut first = place.files.iter().filter(|there| there.path == place.file);
        let has_key = first.any(|there| self.edit(there).options.is_some());
        let action = match (self.is_there(), has_key) {
            (false, _) => Action::Remove,
            (true, false) => Action::Create,
            (true, true) => Action::Change,
        };
        Ok(Check::of(action, changes))
    }

    fn apply(&self, system: &System, needed: &Needed) -> Result<(), Failure> {
        nothing_lacking(&needed.lacks)?;
        // Two keys of one user are two lines of one file.
        let _turn = system.turn("authorized_keys")?;
        let system = &system.anew();
        let account = system.account(self.user.as_str())?;
        let account = account.ok_or_else(|| Failure::new(format!("there is no user {}", self.user)))?;
        let place = self.look(system, account)?.map_err(|lack| Failure::new(lack.what).help(lack.help))?;
        let owner = Access { uid: Some(place.account.uid), gid: Some(place.account.gid), mode: None };
        if self.is_there() {
            self.mend_directory(system, &place, owner)?;
        }
        for there in &place.files {
            self.put(system, there, self.access_of(there, owner))?;
        }
        if self.is_there() && !place.files.iter().any(|there| there.path == place.file) {
            let access = Access { mode: Some(Mode::from_bits(FILE_MODE)), ..owner };
            system.edit_file(&place.file, access, |bytes| Ok(self.edited(bytes, true)))?;
            label(system, &place.directory)?;
        }
        Ok(())
    }
}

impl AuthorizedKey {
    fn for_a_user_to_come(&self) -> Check {
        let user = &self.user;
        self.creation(vec![Lack {
            thing: Thing::User(user.to_string()),
            what: format!("there is no user {user}"),
            help: format!("declare it: `- user: {user}`, or correct `user`"),
        }])
    }

    /// As far as it can be foreseen: where there is no home, there is nothing in it.
    fn creation(&self, lacks: Vec<Lack>) -> Check {
        let mut changes = vec![
            Change::new("directory", None, Some(self.wanted_access(DIRECTORY_MODE))),
            Change::new("key", None, Some(self.shown())),
        ];
        let options = self.options().filter(|options| !options.is_empty());
        changes.extend(options.map(|options| Change::new("options", None, Some(options))));
        Check::Needs(Needed { action: Action::Create, changes, lacks })
    }

    fn wanted<'a>(&'a self, options: Option<&'a str>, is_here: bool) -> Wanted<'a> {
        Wanted {
            key: &self.key,
            options,
            comment: self.comment(),
            is_there: self.is_there(),
            is_here,
            only: self.exclusive.then(|| self.declared_keys.iter().chain([&self.key]).collect()),
        }
    }

    /// In the file as it is by now: somebody may have let in another key.
    fn put(&self, system: &System, there: &There, access: Access) -> Result<(), Failure> {
        let is_here = there.path.file_name() == FILE;
        system.edit_file(&there.path, access, |bytes| Ok(self.edited(bytes, is_here)))?;
        if self.is_there() && (Some(there.meta.uid), Some(there.meta.mode)) != (access.uid, access.mode) {
            system.set_access(&there.path, access)?;
        }
        Ok(())
    }

    fn edited(&self, bytes: Option<&[u8]>, is_here: bool) -> Option<Vec<u8>> {
        let text = bytes.unwrap_or_default();
        let edited = edit(text, &self.wanted(self.options().as_deref(), is_here)).text;
        (edited != text).then_some(edited)
    }

    fn edit(&self, there: &There) -> Edit {
        edit(&there.text, &self.wanted(self.options().as_deref(), there.path.file_name() == FILE))
    }

    fn line_changes(&self, place: &Place) -> Vec<Change> {
        let mut changes = Vec::new();
        let edits: Vec<(&There, Edit)> = place.files.iter().map(|there| (there, self.edit(there))).collect();
        let first = edits.iter().find(|(there, _)| there.path == place.file);
        let found = first.and_then(|(_, edit)| edit.options.as_deref());
        if !self.is_there() {
            let is_found = edits.iter().any(|(_, edit)| edit.options.is_some());
            return is_found.then(|| Change::new("key", Some(self.shown()), None)).into_iter().collect();
        }
        let shown = |options: &str| if options.is_empty() { "none".to_owned() } else { options.to_owned() };
        match (found, self.options()) {
            (None, options) => {
                changes.push(Change::new("key", None, Some(self.shown())));
                let options = options.filter(|options| !options.is_empty());
                changes.extend(options.map(|options| Change::new("options", None, Some(options))));
            }
            (Some(found), Some(wanted)) => {
                let has_twins = edits.iter().any(|(_, edit)| edit.has_twins);
                if found != wanted {
                    changes.push(Change::from_to("options", shown(found), shown(&wanted)));
                } else if has_twins {
                    changes.push(Change::from_to("options", "others in a second line", shown(&wanted)));
                }
            }
            (Some(_), None) => {}
        }
        let mut gone: Vec<String> = edits.into_iter().flat_map(|(_, edit)| edit.gone).collect();
        if !gone.is_empty() {
            let more = gone.len().saturating_sub(NAMED);
            gone.truncate(NAMED);
            let mut named = gone.join(", ");
            if more > 0 {
                named.push_str(&format!(" and {more} more"));
            }
            changes.push(Change::new("exclusive", Some(named), None));
        }
        changes
    }
}
