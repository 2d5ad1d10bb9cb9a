//! What becomes of a text, case by case: each of them at once holds, and stays as it is.

use serde_json::{Value, json};

use super::*;
use crate::resource::text::{Text, Verdict};
use crate::resource::{Action, Change};

fn line(mut attributes: Value) -> Line {
    let map = attributes.as_object_mut().unwrap();
    map.insert("line".into(), "it".into());
    map.insert("file".into(), "/etc/app.conf".into());
    serde_json::from_value(attributes).unwrap()
}

fn judge(line: &Line, bytes: &[u8]) -> Result<Option<Verdict>, Failure> {
    line.judge(Some(Text::parse(bytes)))
}

/// What it is then: in one step, after which it holds.
#[track_caller]
fn becomes(attributes: &Value, before: &[u8], after: &[u8]) {
    let line = line(attributes.clone());
    assert_eq!(line.validate(), [], "{attributes}");
    let verdict = judge(&line, before).unwrap();
    let bytes = verdict.map_or(before.to_vec(), |verdict| {
        assert!(!verdict.changes.is_empty());
        verdict.text.bytes()
    });
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(shown(&bytes), shown(after), "{attributes} from {:?}", shown(before));
    assert_eq!(bytes, after, "{attributes} from {before:?}");
    assert!(judge(&line, after).unwrap().is_none(), "{attributes}: it holds then\n{}", shown(after));
}

#[test]
fn a_line_without_match_is_there_once_wherever_it_stands() {
    let it = json!({"text": "new"});
    for (before, after) in [
        (&b""[..], &b"new\n"[..]),
        (b"a\n", b"a\nnew\n"),
        (b"a", b"a\nnew"),
        (b"a\r\nb\r\n", b"a\r\nb\r\nnew\r\n"),
        (b"a\r\nb", b"a\r\nb\r\nnew"),
        (b"\xff\xfe\x80\n", b"\xff\xfe\x80\nnew\n"),
        (b"\xef\xbb\xbfnew\n", b"\xef\xbb\xbfnew\n"),
        (b"new", b"new"),
        (b"new\r\na\r\n", b"new\r\na\r\n"),
        (b"new\nnew\n", b"new\nnew\n"),
        (b" new\nnew \n", b" new\nnew \nnew\n"),
        (b"a\n\n\n", b"a\n\n\nnew\n"),
    ] {
        becomes(&it, before, after);
    }
}

#[test]
fn the_line_that_match_finds_is_replaced() {
    let it = json!({"text": "Port 2222", "match": r"^#?\s*Port\b"});
    for (before, after) in [
        (&b"a\n#Port 22\nb\n"[..], &b"a\nPort 2222\nb\n"[..]),
        (b"a\r\nPort 22\r\nb\r\n", b"a\r\nPort 2222\r\nb\r\n"),
        (b"a\nPort 22", b"a\nPort 2222"),
        (b"Port \xff\xfe\na\xff\n", b"Port 2222\na\xff\n"),
        (b"Port 2222\n", b"Port 2222\n"),
        (b"GatewayPorts no\n", b"GatewayPorts no\nPort 2222\n"),
    ] {
        becomes(&it, before, after);
    }
}

#[test]
fn a_match_that_does_not_find_the_text_ends_as_well() {
    let it = json!({"text": "Listen 8080", "match": "^Listen 80$"});
    becomes(&it, b"Listen 80\n", b"Listen 8080\n");
    becomes(&it, b"Listen 8080\n", b"Listen 8080\n");
    becomes(&it, b"a\n", b"a\nListen 8080\n");
    // It is there: what it replaces is not needed beside it.
    becomes(&it, b"Listen 80\nListen 8080\n", b"Listen 8080\n");
    becomes(&it, b"Listen 8080\na\nListen 80", b"Listen 8080\na");
    let all = json!({"text": "Listen 8080", "match": "^Listen 80$", "occurrence": "all"});
    becomes(&all, b"Listen 80\nListen 80\n", b"Listen 8080\nListen 8080\n");
}

#[test]
fn which_of_several_is_said_by_occurrence() {
    let it = |occurrence| json!({"text": "x = 2", "match": "^x *=", "occurrence": occurrence});
    let before = b"x = 1\na\nx=3\nx =4\n";
    becomes(&it("first"), before, b"x = 2\na\nx=3\nx =4\n");
    becomes(&it("last"), before, b"x = 1\na\nx=3\nx = 2\n");
    becomes(&it("all"), before, b"x = 2\na\nx = 2\nx = 2\n");
    for occurrence in ["first", "last", "all", "only"] {
        becomes(&it(occurrence), b"a\n", b"a\nx = 2\n");
        becomes(&it(occurrence), b"x=1", b"x = 2");
    }
}

#[test]
fn several_that_match_are_a_failure_that_lists_them() {
    let several = b"#Port 22\nHost a\nPort 23\n";
    let it = line(json!({"text": "Port 2222", "match": r"^#?\s*Port\b"}));
    let failure = judge(&it, several).err().unwrap();
    assert_eq!(
        failure.reason,
        r"`^#?\s*Port\b` finds 2 lines of /etc/app.conf, and one is to be replaced: 1, 3"
    );
    assert_eq!(failure.details[0].text, "1: #Port 22\n3: Port 23");
    assert!(failure.help.unwrap().contains("`occurrence: first`"));
    // Even where one of them is right, nobody said that the other may stay.
    assert!(judge(&it, b"Port 2222\nPort 22\n").is_err());
    let gone = line(json!({"match": "Port", "state": "absent"}));
    assert!(judge(&gone, several).err().unwrap().help.unwrap().contains("`occurrence: all`"));
    let many = "Port\n".repeat(30);
    let failure = judge(&it, many.as_bytes()).err().unwrap();
    assert!(failure.reason.ends_with("9, 10, …"), "{}", failure.reason);
    assert_eq!(failure.details[0].text.lines().count(), 10);
}

#[test]
fn a_new_line_goes_where_after_and_before_say() {
    let after = json!({"text": "new", "after": r"^\[a\]"});
    becomes(&after, b"[a]\nx\n", b"[a]\nnew\nx\n");
    becomes(&after, b"[a]\nx\n[a]\ny\n", b"[a]\nx\n[a]\nnew\ny\n");
    becomes(&after, b"[a]", b"[a]\nnew");
    becomes(&after, b"x\n", b"x\nnew\n");
    // What is there is not moved.
    becomes(&after, b"new\n[a]\n", b"new\n[a]\n");
    let before = json!({"text": "new", "before": "^exit"});
    becomes(&before, b"x\nexit 0\nexit 1\n", b"x\nnew\nexit 0\nexit 1\n");
    becomes(&before, b"exit 0", b"new\nexit 0");
    becomes(&before, b"x", b"x\nnew");
    let replaces = json!({"text": "new", "match": "^old", "after": "^a"});
    becomes(&replaces, b"old\na\n", b"new\na\n");
}

#[test]
fn an_absent_line_is_gone_and_no_other() {
    let text = json!({"text": "x", "state": "absent"});
    becomes(&text, b"a\nx\nb\nx\nx y\n", b"a\nb\nx y\n");
    becomes(&text, b"x", b"");
    becomes(&text, b"a\nx", b"a");
    becomes(&text, b"a\r\nx\r\n", b"a\r\n");
    becomes(&text, b"a\xff\n", b"a\xff\n");
    let found = json!({"match": "^x", "state": "absent"});
    becomes(&found, b"a\nxyz\n", b"a\n");
    let all = json!({"match": "^x", "state": "absent", "occurrence": "all"});
    becomes(&all, b"xa\nb\nxc", b"b");
    // As it is when `state: absent` is added to a line that was declared.
    let both = json!({"text": "y 1", "match": "^x", "state": "absent"});
    becomes(&both, b"y 1\nx\ny 2\n", b"y 2\n");
}

#[test]
fn what_is_in_a_block_is_the_blocks() {
    let block = "# BEGIN converge: b\nx = 1\nnew\n# END converge: b\n";
    let before = format!("a\n{block}");
    becomes(&json!({"text": "new"}), before.as_bytes(), format!("a\n{block}new\n").as_bytes());
    let it = json!({"text": "x = 2", "match": "^x"});
    becomes(&it, before.as_bytes(), format!("a\n{block}x = 2\n").as_bytes());
    becomes(&json!({"text": "x = 1", "state": "absent"}), before.as_bytes(), before.as_bytes());
    // Of half a block nothing is known.
    becomes(
        &json!({"text": "x", "match": "^x"}),
        b"# BEGIN converge: b\nx = 1\n",
        b"# BEGIN converge: b\nx\n",
    );
}

#[test]
fn the_plan_says_from_what_to_what() {
    let said = |attributes, bytes: Option<&[u8]>| {
        let verdict = line(attributes).judge(bytes.map(Text::parse)).unwrap().unwrap();
        (verdict.action, verdict.changes[0].clone())
    };
    let it = json!({"text": "Port 2222", "match": "Port"});
    let (action, change) = said(it.clone(), Some(b"#Port 22\n"));
    assert_eq!((action, change), (Action::Change, Change::from_to("text", "#Port 22", "Port 2222")));
    let (action, change) = said(it.clone(), Some(b""));
    assert_eq!((action, change), (Action::Create, Change::new("text", None, Some("Port 2222".into()))));
    let (action, change) = said(it, None);
    assert_eq!((action, change), (Action::Create, Change::new("text", None, Some("Port 2222".into()))));
    let (_, change) = said(json!({"text": "x", "create": true}), None);
    assert_eq!(change, Change::from_to("text", "(no file)", "x"));
    let all = json!({"text": "x", "match": "Port", "occurrence": "all"});
    let (_, change) = said(all, Some(b"Port 1\nPort 2\n"));
    assert_eq!(change, Change::from_to("text", "2 lines", "x"));
    let gone = json!({"text": "x", "state": "absent"});
    let (action, change) = said(gone, Some(b"x\n"));
    assert_eq!((action, change), (Action::Remove, Change::new("text", Some("x".into()), None)));
}

#[test]
fn neither_a_secret_nor_what_it_replaces_is_shown() {
    let mut it = line(json!({"text": "password = new", "match": "^password"}));
    it.text = it.text.map(Content::with_secret);
    let change = judge(&it, b"password = old\n").unwrap().unwrap().changes.remove(0);
    assert_eq!(change, Change::from_to("text", "(not shown)", "(holds a secret)"));
    let failure = judge(&it, b"password = old\npassword = older\n").err().unwrap();
    assert!(!format!("{failure:?}").contains("old"), "{failure:?}");
}

#[test]
fn what_cannot_be_held_true_is_refused() {
    let refused = |attributes: Value, attribute: &str| {
        let invalid = line(attributes.clone()).validate();
        assert!(invalid.iter().any(|one| one.attribute == attribute), "{attributes}: {invalid:?}");
    };
    refused(json!({}), "line");
    refused(json!({"match": "a"}), "line");
    refused(json!({"state": "absent"}), "line");
    refused(json!({"text": ""}), "text");
    refused(json!({"text": "a\n"}), "text");
    refused(json!({"text": "a\rb"}), "text");
    refused(json!({"text": "# BEGIN converge: a"}), "text");
    refused(json!({"text": "a", "after": "a", "before": "b"}), "before");
    refused(json!({"text": "a", "occurrence": "all"}), "occurrence");
    refused(json!({"text": "a", "match": "b", "occurrence": "first"}), "match");
    refused(json!({"text": "a", "match": "b", "occurrence": "last"}), "match");
    refused(json!({"match": "b", "state": "absent", "occurrence": "first"}), "occurrence");
    for place in [json!({"after": "b"}), json!({"before": "b"}), json!({"create": true})] {
        let mut attributes = json!({"text": "a", "state": "absent"});
        attributes.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        refused(attributes, place.as_object().unwrap().keys().next().unwrap());
    }
}
