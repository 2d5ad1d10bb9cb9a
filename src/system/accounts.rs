//! The accounts that this machine keeps itself: /etc/passwd, /etc/group and /etc/shadow, each read
//! once for all who ask. What comes from elsewhere (LDAP, sssd) nobody here can change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::System;
use super::commands::Invocation;
use super::readings::Reading;
use crate::failure::Failure;

/// So many names fit on one command line of getent.
const NAMES_AT_ONCE: usize = 500;

/// A line of passwd(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    pub name: String,
    /// `x` where the hash is in /etc/shadow.
    pub password: String,
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
    pub shell: String,
}

/// A line of group(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalGroup {
    pub name: String,
    pub gid: u32,
    /// Without those whose own group it is.
    pub members: Vec<String>,
}

/// Users and groups, in the order of their files.
#[derive(Default, Debug)]
pub struct Accounts {
    pub users: Vec<LocalUser>,
    pub groups: Vec<LocalGroup>,
    users_by_name: HashMap<String, usize>,
    groups_by_name: HashMap<String, usize>,
}

impl Accounts {
    fn parse(passwd: &str, group: &str) -> Accounts {
        let users: Vec<LocalUser> = passwd.lines().filter_map(user).collect();
        let groups: Vec<LocalGroup> = group.lines().filter_map(group_of).collect();
        // Of two lines with one name, programs see the first.
        let users_by_name =
            users.iter().enumerate().rev().map(|(at, user)| (user.name.clone(), at)).collect();
        let groups_by_name =
            groups.iter().enumerate().rev().map(|(at, group)| (group.name.clone(), at)).collect();
        Accounts { users, groups, users_by_name, groups_by_name }
    }

    pub fn user(&self, name: &str) -> Option<&LocalUser> {
        self.users_by_name.get(name).map(|at| &self.users[*at])
    }

    /// By its name, or its number written as one.
    pub fn group(&self, name: &str) -> Option<&LocalGroup> {
        match self.groups_by_name.get(name) {
            Some(at) => Some(&self.groups[*at]),
            None => name.parse().ok().and_then(|gid| self.group_of_gid(gid)),
        }
    }

    pub fn user_of_uid(&self, uid: u32) -> Option<&LocalUser> {
        self.users.iter().find(|user| user.uid == uid)
    }

    pub fn group_of_gid(&self, gid: u32) -> Option<&LocalGroup> {
        self.groups.iter().find(|group| group.gid == gid)
    }

    /// The group's name, or its number where it has none.
    pub fn group_name(&self, gid: u32) -> String {
        self.group_of_gid(gid).map_or_else(|| gid.to_string(), |group| group.name.clone())
    }

    /// The groups that a user is in beside its own, by name.
    pub fn groups_with(&self, user: &LocalUser) -> BTreeSet<String> {
        let with = |group: &&LocalGroup| group.gid != user.gid && group.members.contains(&user.name);
        self.groups.iter().filter(with).map(|group| group.name.clone()).collect()
    }

    /// Whose own group it is.
    pub fn whose_own(&self, group: &LocalGroup) -> Vec<&LocalUser> {
        self.users.iter().filter(|user| user.gid == group.gid).collect()
    }
}

impl System {
    pub fn accounts(&self) -> Result<Arc<Accounts>, Failure> {
        self.shared("accounts", || {
            let (passwd, group) = (self.lines_of("passwd")?, self.lines_of("group")?);
            Ok(Arc::new(Accounts::parse(&passwd, &group)))
        })
    }

    /// What the second field of shadow(5), or else of passwd(5), says of a user's password. Only
    /// root may read it.
    pub fn password_of(&self, user: &LocalUser) -> Result<String, Failure> {
        if user.password != "x" {
            return Ok(user.password.clone());
        }
        let shadow =
            self.lines_of("shadow").map_err(|failure| match rustix::process::geteuid().is_root() {
                true => failure,
                false => failure.help("only root may read passwords: give the host `become: sudo`"),
            })?;
        let field = |line: &str| {
            let (name, rest) = line.split_once(':')?;
            (name == user.name).then(|| rest.split(':').next().unwrap_or_default().to_owned())
        };
        shadow.lines().find_map(field).ok_or_else(|| {
            Failure::new(format!(
                "/etc/passwd says that the password of {0} is in /etc/shadow, and {0} is not there",
                user.name
            ))
            .help("`pwconv` mends /etc/shadow")
        })
    }

    /// For users that are not in /etc/passwd: whether they come from elsewhere.
    pub fn elsewhere(name: &str) -> Reading {
        Reading { of: "users from elsewhere", name: name.to_owned() }
    }

    /// The entry of a user that is known here and not in /etc/passwd: one getent for all who ask.
    pub fn user_from_elsewhere(&self, name: &str) -> Result<Option<String>, Failure> {
        self.shared_of(&System::elsewhere(name), |names| {
            let accounts = self.accounts()?;
            let unknown: Vec<&String> = names.iter().filter(|name| accounts.user(name).is_none()).collect();
            let mut found = HashMap::new();
            for some in unknown.chunks(NAMES_AT_ONCE) {
                for line in self.ask_getent("passwd", some)? {
                    if let Some((name, _)) = line.split_once(':') {
                        found.insert(name.to_owned(), line.clone());
                    }
                }
            }
            Ok(found)
        })
    }

    pub fn group_from_elsewhere(&self, name: &str) -> Result<bool, Failure> {
        Ok(!self.ask_getent("group", &[&name.to_owned()])?.is_empty())
    }

    /// Those of the keys that there are. busybox has no getent, and then no other sources either.
    fn ask_getent(&self, database: &str, keys: &[&String]) -> Result<Vec<String>, Failure> {
        if keys.is_empty() || !self.is_whole_machine() || self.find_tool("getent").is_none() {
            return Ok(Vec::new());
        }
        let argv = ["getent", database].into_iter().map(str::to_owned);
        let output = self.run(&Invocation::new(argv.chain(keys.iter().map(|key| (*key).clone()))))?;
        // 2: one of the keys is not there.
        match output.status.code() {
            Some(0 | 2) => Ok(output.stdout.lines().map(str::to_owned).collect()),
            _ => Err(output.failure(format!("asking `getent {database}`"))),
        }
    }
}

fn user(line: &str) -> Option<LocalUser> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, password, uid, gid, comment, home, shell] = fields[..] else { return None };
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    let [name, password, comment, home, shell] = [name, password, comment, home, shell].map(str::to_owned);
    Some(LocalUser { name, password, uid, gid, comment, home, shell })
}

fn group_of(line: &str) -> Option<LocalGroup> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else { return None };
    let members =
        members.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some(LocalGroup { name: name.to_owned(), gid: gid.parse().ok()?, members })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustix::io::Errno;

    use super::*;
    use crate::system::faults::Faults;

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
# a comment
+@netgroup::::::
app:x:1000:1000:J\u{f6}rg, 3:/home/app:/bin/sh
app:x:1001:1001:the second is not seen:/x:/bin/sh
short:x:1
old:abcdefghijklm:1002:100::/home/old:
";
    const GROUP: &str = "root:x:0:\napp:x:1000:app\nusers:x:100:app, old\nempty:x:7:\n+:::\n";

    fn machine() -> (tempfile::TempDir, System) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), PASSWD).unwrap();
        std::fs::write(root.path().join("etc/group"), GROUP).unwrap();
        std::fs::write(root.path().join("etc/shadow"), "root:*:1::\napp:!$6$x:19000:0:::::\n").unwrap();
        let system = System::under(root.path());
        (root, system)
    }

    #[test]
    fn the_files_are_read_as_programs_read_them() {
        let (_root, system) = machine();
        let accounts = system.accounts().unwrap();
        let app = accounts.user("app").unwrap();
        assert_eq!((app.uid, app.comment.as_str()), (1000, "J\u{f6}rg, 3"));
        assert_eq!(accounts.users.len(), 4);
        assert_eq!(accounts.user("short"), None);
        assert_eq!(accounts.groups_with(app).into_iter().collect::<Vec<_>>(), ["users"]);
        assert_eq!(accounts.group("100").unwrap().name, "users");
        assert_eq!(accounts.group_name(4711), "4711");
        let whose = |name: &str| accounts.whose_own(accounts.group(name).unwrap()).len();
        assert_eq!((whose("users"), whose("empty")), (1, 0));
    }

    #[test]
    fn a_password_is_in_the_shadow_or_where_there_is_none_in_the_open() {
        let (_root, system) = machine();
        let accounts = system.accounts().unwrap();
        let password = |name: &str| system.password_of(accounts.user(name).unwrap());
        assert_eq!(password("app").unwrap(), "!$6$x");
        assert_eq!(password("old").unwrap(), "abcdefghijklm");
        std::fs::write(system.root().join("etc/shadow"), "root:*:1::\n").unwrap();
        assert!(password("app").unwrap_err().help.unwrap().contains("pwconv"));
    }

    struct Counting(Arc<AtomicUsize>);

    impl Faults for Counting {
        fn before(&self, operation: &'static str) -> Result<(), Errno> {
            if operation == "read" {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    }

    #[test]
    fn two_hundred_who_ask_at_once_cost_one_look_at_each_file() {
        let (_root, system) = machine();
        let count = Arc::new(AtomicUsize::new(0));
        let system = system.with_faults(Arc::new(Counting(Arc::clone(&count)))).asked_now();
        std::thread::scope(|scope| {
            for number in 0..200 {
                let system = &system;
                scope.spawn(move || {
                    let accounts = system.accounts().unwrap();
                    system.password_of(accounts.user("app").unwrap()).unwrap();
                    system.uid(&format!("nobody-{number}")).unwrap();
                    system.gid("users").unwrap();
                });
            }
        });
        // passwd, group, shadow.
        assert_eq!(count.load(Ordering::Relaxed), 3);
        system.anew().accounts().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 5);
    }
}
