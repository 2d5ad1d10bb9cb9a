//! What becomes of a text, case by case: each of them at once holds, and stays as it is.

use serde_json::{Value, json};

use super::*;
use crate::resource::text::{Text, Verdict};
use crate::resource::{Action, Change};

fn block(mut attributes: Value) -> Block {
    let map = attributes.as_object_mut().unwrap();
    map.entry("block").or_insert("b".into());
    map.insert("file".into(), "/etc/app.conf".into());
    serde_json::from_value(attributes).unwrap()
}

fn judge(block: &Block, text: &str) -> Result<Option<Verdict>, Failure> {
    block.judge(Some(Text::parse(text.as_bytes())))
}

const BEGIN: &str = "# BEGIN converge: b\n";
const END: &str = "# END converge: b\n";

/// What it is then: in one step, after which it holds.
#[track_caller]
fn becomes(attributes: &Value, before: &[u8], after: &[u8]) {
    let block = block(attributes.clone());
    assert_eq!(block.validate(), [], "{attributes}");
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let verdict = block.judge(Some(Text::parse(before))).unwrap();
    let bytes = verdict.map_or(before.to_vec(), |verdict| {
        assert!(!verdict.changes.is_empty());
        verdict.text.bytes()
    });
    assert_eq!(shown(&bytes), shown(after), "{attributes} from {:?}", shown(before));
    assert_eq!(bytes, after, "{attributes} from {before:?}");
    let again = block.judge(Some(Text::parse(after))).unwrap();
    assert!(again.is_none(), "{attributes}: it holds then\n{}", shown(after));
}

fn text(parts: &[&str]) -> Vec<u8> {
    parts.concat().into_bytes()
}

#[test]
fn a_block_is_added_between_its_markers() {
    let it = json!({"content": "x\ny\n"});
    becomes(&it, b"", &text(&[BEGIN, "x\ny\n", END]));
    becomes(&it, b"a\n", &text(&["a\n", BEGIN, "x\ny\n", END]));
    becomes(&it, b"a", &text(&["a\n", BEGIN, "x\ny\n", END.trim_end()]));
    becomes(&json!({"content": ""}), b"a\n", &text(&["a\n", BEGIN, END]));
    becomes(&json!({"content": "\n"}), b"a\n", &text(&["a\n", BEGIN, "\n", END]));
    // Whether the last line has an end makes no difference.
    becomes(&json!({"content": "x\ny"}), b"", &text(&[BEGIN, "x\ny\n", END]));
    let after = json!({"content": "x\n", "after": "^a"});
    becomes(&after, b"a\nb\n", &text(&["a\n", BEGIN, "x\n", END, "b\n"]));
    let before = json!({"content": "x\n", "before": "^a"});
    becomes(&before, b"a\nb\n", &text(&[BEGIN, "x\n", END, "a\nb\n"]));
}

#[test]
fn what_is_between_the_markers_is_the_blocks_and_all_else_is_not() {
    let it = json!({"content": "x\ny\n"});
    let around = |inner: &str| [b"a\xff\n", text(&[BEGIN, inner, END, "b"]).as_slice()].concat();
    let right = around("x\ny\n");
    becomes(&it, &right, &right);
    for edited in ["x\n", "", "x\nz\n", "y\nx\n", "x\ny\n\n", " x\ny\n"] {
        becomes(&it, &around(edited), &right);
    }
    // It was moved, or indented: it is there.
    let moved = text(&[BEGIN, "x\ny\n", END, "a\n"]);
    becomes(&it, &moved, &moved);
    let indented = text(&["  ", BEGIN, "x\ny\n", "  ", END]);
    becomes(&it, &indented, &indented);
}

#[test]
fn a_block_takes_the_line_ends_of_its_file() {
    let crlf = |parts: &[&str]| parts.concat().replace('\n', "\r\n").into_bytes();
    let it = json!({"content": "x\ny\n"});
    becomes(&it, b"a\r\n", &crlf(&["a\n", BEGIN, "x\ny\n", END]));
    becomes(&it, &crlf(&[BEGIN, "z\n", END, "a\n"]), &crlf(&[BEGIN, "x\ny\n", END, "a\n"]));
    becomes(&json!({"content": "x\r\ny\r\n"}), b"a\n", &text(&["a\n", BEGIN, "x\ny\n", END]));
}

#[test]
fn another_comment_sign_makes_no_other_block() {
    let it = json!({"content": "x\n", "comment": ";"});
    let wanted = b"; BEGIN converge: b\nx\n; END converge: b\n";
    becomes(&it, &text(&[BEGIN, "x\n", END]), wanted);
    becomes(&it, &text(&[BEGIN, "y\n", END]), wanted);
    becomes(&it, b"; BEGIN converge: b\nx\n# END converge: b\n", wanted);
    let html = json!({"content": "x\n", "comment": "<!-- {} -->"});
    becomes(&html, b"", b"<!-- BEGIN converge: b -->\nx\n<!-- END converge: b -->\n");
}

#[test]
fn blocks_are_told_apart_by_their_labels() {
    let other = "# BEGIN converge: bb\nx\n# END converge: bb\n";
    becomes(&json!({"content": "x\n"}), other.as_bytes(), &text(&[other, BEGIN, "x\n", END]));
    becomes(&json!({"state": "absent"}), other.as_bytes(), other.as_bytes());
}

#[test]
fn an_absent_block_is_gone_with_its_markers() {
    let it = json!({"state": "absent"});
    becomes(&it, &text(&["a\n", BEGIN, "x\n", END, "b\n"]), b"a\nb\n");
    becomes(&it, &text(&["a\n", BEGIN, "x\n", END.trim_end()]), b"a");
    becomes(&it, &text(&[BEGIN, END]), b"");
    becomes(&it, b"a\n", b"a\n");
}

#[test]
fn a_marker_that_was_deleted_is_put_back_where_the_content_shows_the_place() {
    let it = json!({"content": "x\ny\n"});
    let whole = text(&["a\n", BEGIN, "x\ny\n", END, "b\n"]);
    becomes(&it, &text(&["a\n", BEGIN, "x\ny\n", "b\n"]), &whole);
    becomes(&it, &text(&["a\n", "x\ny\n", END, "b\n"]), &whole);
    becomes(&it, &text(&["a\n", BEGIN, "x\ny"]), &text(&["a\n", BEGIN, "x\ny\n", END.trim_end()]));
}

#[test]
fn half_a_block_of_which_nobody_knows_the_end_is_a_failure_that_names_the_line() {
    let it = block(json!({"content": "x\ny\n"}));
    let gone = block(json!({"state": "absent"}));
    let says = |block: &Block, parts: &[&str], reason: &str, help: &str| {
        let failure = judge(block, &parts.concat()).err().unwrap();
        assert!(failure.reason.contains(reason), "{}", failure.reason);
        let way_out = failure.help.unwrap();
        assert!(way_out.contains(help), "{way_out}");
    };
    let begins = "line 2 of /etc/app.conf says that the block `b` begins there";
    says(&it, &["a\n", BEGIN, "x\n", "b\n"], begins, "put `# END converge: b` back after its last line");
    says(&it, &["a\n", BEGIN], begins, "remove line 2");
    says(&gone, &["a\n", BEGIN, "x\ny\n"], begins, "remove line 2");
    says(
        &it,
        &["y\n", END],
        "line 2 of /etc/app.conf says that the block `b` ends there",
        "before its first",
    );
    says(&it, &[END], "line 1", "remove line 1");
    let empty = block(json!({"content": ""}));
    says(&empty, &[BEGIN, "x\n"], "line 1", "remove line 1");
    says(&it, &[BEGIN, "x\ny\n", END, BEGIN, "x\ny\n", END], "lines 1, 4, 5, 8", "leave one begin");
    says(&it, &[END, BEGIN], "lines 1, 2", "leave one begin");
    let nested = [BEGIN, "# BEGIN converge: c\n", "# END converge: c\n", END];
    says(&it, &nested, "line 2 of /etc/app.conf is a marker of the block `c`", "out of the other");
    says(&gone, &nested, "inside of the block `b`", "out of the other");
}

#[test]
fn the_plan_shows_what_changes_between_the_markers() {
    let it = block(json!({"content": "x\ny\n"}));
    let verdict = judge(&it, &[BEGIN, "x\nz\n", END].concat()).unwrap().unwrap();
    assert_eq!(verdict.action, Action::Change);
    assert_eq!(verdict.changes[0].old_text.as_deref(), Some("x\nz\n"));
    let verdict = judge(&it, "").unwrap().unwrap();
    assert_eq!(verdict.action, Action::Create);
    let secret = Block { content: it.content.clone().map(Content::with_secret), ..it };
    let verdict = judge(&secret, &[BEGIN, "x\nz\n", END].concat()).unwrap().unwrap();
    assert_eq!(verdict.changes, [Change::from_to("content", "(not shown)", "(holds a secret)")]);
}

#[test]
fn what_would_not_be_known_again_is_refused() {
    let refused = |attributes: Value, attribute: &str| {
        let invalid = block(attributes.clone()).validate();
        assert!(invalid.iter().any(|one| one.attribute == attribute), "{attributes}: {invalid:?}");
    };
    refused(json!({}), "block");
    refused(json!({"block": " b", "content": "x"}), "block");
    refused(json!({"block": "b\nc", "content": "x"}), "block");
    refused(json!({"block": "", "content": "x"}), "block");
    refused(json!({"content": "x", "comment": ""}), "comment");
    refused(json!({"content": "x", "comment": "see"}), "comment");
    refused(json!({"content": "x", "comment": "#\n"}), "comment");
    refused(json!({"block": "a -->", "content": "x"}), "comment");
    refused(json!({"content": "x\n# END converge: c\n"}), "content");
    refused(json!({"content": "x", "after": "a", "before": "b"}), "before");
    refused(json!({"content": "x", "state": "absent"}), "content");
    for comment in ["#", "//", ";", "--", "\"", "<!-- {} -->", "/* {} */", "REM", "dnl ", "{# {} #}"] {
        let it = block(json!({"content": "x", "comment": comment}));
        assert_eq!(it.validate(), [], "{comment}");
    }
}
