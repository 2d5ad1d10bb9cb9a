use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use serde_json::json;

use super::*;
use crate::system::faults::Faults;

fn user(json: serde_json::Value) -> User {
    serde_json::from_value(json).unwrap()
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
fn two_hundred_users_cost_one_look_at_each_file() {
    let root = tempfile::tempdir().unwrap();
    let etc = root.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    let lines = |line: fn(u32) -> String| (0..200).map(line).collect::<String>();
    std::fs::write(etc.join("passwd"), lines(|n| format!("u{n}:x:{0}:{0}::/:/bin/sh\n", 2000 + n))).unwrap();
    std::fs::write(etc.join("shadow"), lines(|n| format!("u{n}:!:1::::::\n"))).unwrap();
    std::fs::write(etc.join("group"), lines(|n| format!("u{n}:x:{}:\n", 2000 + n)) + "all:x:50:\n").unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let machine = System::under(root.path()).with_faults(Arc::new(Counting(Arc::clone(&count))));
    let system = machine.asked_now();
    for n in 0..200 {
        let declared = user(json!({
            "user": format!("u{n}"), "uid": 2000 + n, "group": format!("u{n}"), "locked": true, "create_home": false,
        }));
        assert_eq!(declared.check(&system), Ok(Check::Holds));
        let another = user(json!({"user": format!("u{n}"), "groups": ["all"], "create_home": false}));
        assert!(matches!(another.check(&system), Ok(Check::Needs(_))));
    }
    // passwd, group, shadow.
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[test]
fn what_comes_before_a_user_and_what_is_made_with_it() {
    let home = || Thing::Home("/home/app".parse().unwrap());
    let links = user(json!({"user": "app", "groups": ["docker"]})).links();
    let stands_on = |links: &Links, thing: &Thing| links.stands_on.iter().any(|(one, _)| one == thing);
    for group in ["app", "docker"] {
        assert!(stands_on(&links, &Thing::Group(group.into())), "{group}");
    }
    assert!(stands_on(&links, &Thing::Path("/home".parse().unwrap())));
    assert!(links.provides.contains(&home()));
    // Whose home is not made has none to wait for.
    for none in [json!({"user": "app", "system": true}), json!({"user": "app", "create_home": false})] {
        let links = user(none).links();
        assert_eq!(links.provides, [Thing::User("app".into())]);
        assert!(!stands_on(&links, &Thing::Path("/home".parse().unwrap())));
    }
    let gone = user(json!({"user": "app", "state": "absent"})).links();
    assert!(gone.is_removal && !gone.provides.contains(&home()));
    assert!(
        user(json!({"user": "app", "state": "absent", "remove_home": true}))
            .links()
            .provides
            .contains(&home())
    );
}

#[test]
fn a_hash_is_in_no_debug_output() {
    let shown = format!("{:?}", user(json!({"user": "app", "password_hash": "$6$x$secret"})));
    assert!(shown.contains("app") && !shown.contains("secret"), "{shown}");
}
