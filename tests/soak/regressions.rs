//! What the soak has found once, each in its smallest form, judged as in a round, and (where all
//! is well in the end) with every kind of fault.

use crate::generate::Case;
use crate::round::{self, Place, Round};
use crate::{Tally, faults, number};

fn judge(name: &str, tree: &[&str], items: &[&str]) {
    if !rustix::process::geteuid().is_root() || number("SOAK_SEED").is_some() {
        return;
    }
    let place = Place::new(name);
    let case = Case {
        tree: tree.iter().map(|line| line.to_string()).collect(),
        items: items.iter().map(|item| format!("  - {}\n", item.replace('\n', "\n    "))).collect(),
    };
    // Some orders of what may come in any, and some changes by hand between two runs.
    for seed in 0..48 {
        let end = match round::round(&place, &case, seed, &Tally::default()) {
            Err(wrong) => panic!("{wrong}\n{}", case.shown()),
            Ok(Round::Whole { end }) => end,
            Ok(_) => continue,
        };
        if seed >= 8 {
            continue;
        }
        let kind = faults::KINDS[seed as usize % faults::KINDS.len()];
        if let Err(wrong) = faults::all(&place, &case, &end, kind) {
            panic!("{wrong}\n{}", case.shown());
        }
    }
}

/// A plan and an apply that both fail agree: that this one does not fail is told here.
#[test]
fn what_lies_in_a_directory_goes_before_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new("removal");
    let case = Case {
        tree: vec!["d 755 0:0 /t/a".into(), "f 644 0:0 /t/a/f|x".into()],
        items: ["directory: /t/a", "file: /t/a/f"].map(|it| format!("  - {it}\n    state: absent\n")).into(),
    };
    let round = round::round(&place, &case, 1, &Tally::default()).unwrap();
    assert!(matches!(round, Round::Whole { .. }), "it holds in the end");
}

macro_rules! regressions {
    ($($name:ident: [$($tree:literal),*], [$($item:literal),*];)*) => {
        $(#[test] fn $name() { judge(stringify!($name), &[$($tree),*], &[$($item),*]); })*
    };
}

regressions! {
    // seed 39
    a_file_whose_parent_a_directory_beside_it_makes_is_made_in_the_same_run:
        [], ["file: /t/.e/a", "directory: /t/.e/.e"];
    // seed 28
    parents_that_are_declared_are_not_told_twice: [], ["directory: /t/a", "directory: '/t/a/c d/b'"];
    // seed 41
    a_parent_that_nobody_makes_fails_in_the_plan_too: [], ["directory: /t/b", "file: '/t/b/c d/b'"];
    // seed 408
    a_file_does_not_depend_on_what_lies_deeper_beside_it:
        ["f 750 0:0 /t/b|text"],
        ["directory: '/t/c d/b'", "symlink: '/t/c d'\ntarget: /t/b/a", "file: /t/a"];
    // seed 51
    what_a_file_says_itself_goes_before_recurse:
        [], ["directory: /t/b\nmode: 644\nrecurse: true", "file: /t/b/b\nmode: 755"];
    a_new_file_and_its_parents_are_as_recurse_says_at_once:
        ["d 700 0:0 /t/b", "f 755 0:0 /t/b/x|x", "d 700 0:0 /t/b/d", "f 600 0:0 /t/b/d/y|y"],
        [
            "directory: /t/b\nowner: web\nmode: 750\nrecurse: true",
            "file: /t/b/new\ncontent: new",
            "directory: /t/b/one/two",
            "directory: /t/b/d\ngroup: db\nrecurse: true",
            "file: /t/b/d/y\ncontent: z",
            "symlink: /t/b/l\ntarget: x"
        ];
    // seed 3
    nothing_lies_below_a_file: [], ["file: /t/c", "file: /t/c/b"];
    // seed 4
    parents_behind_a_link_are_not_known_before_it_is_there:
        [], ["symlink: /t/b\ntarget: /t/a", "directory: /t/b/b/.e"];
    // seed 454
    what_a_link_leads_to_may_be_made_by_its_other_name:
        ["l - 0:0 /t/.e|/t/a"], ["file: /t/.e/a/.e", "directory: /t/.e/a/b"];
    // seed 6435
    a_directory_in_place_of_a_link_is_not_looked_at_through_it:
        ["l - 0:0 /t/b|../keep/d"], ["directory: /t/b\nforce: true", "file: /t/b/a"];
    nothing_is_removed_through_a_link_that_is_to_be_a_directory:
        ["l - 0:0 /t/b|../keep"],
        [
            "directory: /t/b\nforce: true",
            "directory: /t/b/d\nstate: absent\nforce: true",
            "file: /t/b/d/a\nstate: absent"
        ];
    // seed 1504
    below_a_file_everything_is_absent:
        ["f 644 0:0 /t/.e|text"],
        [
            "directory: /t/.e\nforce: true",
            "symlink: '/t/.e/c d/a'\nstate: absent",
            "directory: '/t/.e/c d'\nstate: absent"
        ];
    // seed 877
    a_directory_is_empty_only_when_all_in_it_goes:
        ["d 750 0:0 /t/.e", "d 755 0:0 /t/.e/c", "p 600 1002:0 /t/.e/.e"],
        ["directory: /t/.e\nstate: absent", "file: /t/.e/.e\nforce: true\nstate: absent"];
    purge_keeps_backups_of_what_is_declared_and_what_commands_create:
        ["d 755 0:0 /t/a", "f 644 0:0 /t/a/f|old", "f 644 0:0 /t/a/g|goes"],
        [
            "directory: /t/a\npurge: true",
            "file: /t/a/f\ncontent: new\nbackup: true",
            "command: \"touch 'ROOT/t/a/made0'\"\ncreates: /t/a/made0"
        ];
    // seed 128689
    a_backup_keeps_its_mode_below_recurse:
        ["d 750 0:0 /t/c", "f 644 1002:0 /t/c/b|old"],
        ["directory: /t/c\nmode: 1777\nrecurse: true", "file: /t/c/b\ncontent: new\nbackup: true"];
    // seed 512
    a_line_without_create_is_planned_as_it_is_made:
        [], ["line: a\nfile: /t/f\ntext: part 1", "line: b\nfile: /t/f\ntext: part 2\ncreate: true"];
    // seed 665
    nothing_lies_below_a_file_that_is_edited:
        [], ["block: b\nfile: /t/c\ncontent: part\ncreate: true", "directory: /t/c/d"];
    // seed 109363
    nothing_lies_below_a_file_that_a_line_is_to_be_gone_from:
        [], ["line: a\nfile: /t/b\nmatch: x\nstate: absent", "directory: /t/b/.e/.e"];
    lines_and_blocks_of_one_file_with_every_fault:
        [
            "d 2775 1001:1001 /t/d",
            "f 4751 1002:1001 /t/d/f|one\\x0d\\x0a#k = 0\\x0d\\x0a\\xff\\x0d\\x0aend"
        ],
        [
            "line: a\nfile: /t/d/f\ntext: part a\nafter: ^one",
            "line: k\nfile: /t/d/f\ntext: part k\nmatch: '^#?k'",
            "block: b\nfile: /t/d/f\ncontent: |\n  part x\n  part y\nbefore: ^end",
            "line: gone\nfile: /t/d/f\ntext: one\nstate: absent"
        ];
    // seed 2212
    links_in_a_circle_lead_to_nothing:
        [], ["symlink: /t/b\ntarget: b", "command: \"rm -f 'ROOT/t/b/a/old0'\"\nremoves: /t/b/a/old0"];
    // seed 1009777
    what_lies_behind_two_links_waits_for_both:
        [],
        [
            "directory: /t/b",
            "symlink: /t/a\ntarget: /t/b/a",
            "symlink: /t/b/a\ntarget: /keep/d",
            "file: /t/a/a"
        ];
    // seed 2000040
    what_a_command_makes_in_a_directory_comes_before_what_watches_that:
        ["d 644 0:0 /t/a"],
        [
            "command: \"touch 'ROOT/t/made1'\"\non_change_of: /t/a",
            "command: \"touch 'ROOT/t/a/made0'\"\ncreates: /t/a/made0",
            "file: /t/a/f\ncontent: x"
        ];
    // seed 280
    a_file_is_no_directory_to_run_a_command_in:
        [],
        ["file: /t/b", "command: \"rm -f 'ROOT/t/b/a/old0'\"\ndirectory: /t/b\nonly_if: \"test -e 'ROOT/t/b/a/old0'\""];
    // seed 5000000 and some
    parts_of_a_file_that_nobody_makes_do_not_await_each_other:
        [],
        [
            "line: l0\nfile: /t/d/f\ntext: one",
            "block: b1\nfile: /t/d/f\ncontent: two",
            "line: l2\nfile: /t/d/f\ntext: three"
        ];
    links_that_lead_to_each_other_end_like_any_other:
        [],
        ["symlink: /t/a\ntarget: /t/b/x", "symlink: /t/b\ntarget: /t/a/y", "file: /t/a/f", "file: /t/b/f"];
    // seed 20003735
    the_order_of_lines_is_no_other_end_for_who_has_noted_their_file:
        ["d 750 0:0 /t/d", "f 600 1001:1001 /t/d/f|"],
        [
            "line: l0\nfile: /t/d/f\ntext: part 0",
            "line: l1\nfile: /t/d/f\ntext: part k1",
            "command: \"touch 'ROOT/t/made0'\"\non_change_of: /t/d/f\ncreates: /t/made0"
        ];
    // seed 30003187
    a_file_of_which_a_line_is_to_go_is_not_purged:
        ["d 2775 1002:0 /t/b", "f 1777 1001:1001 /t/b/a|one\\x0aend\\x0a"],
        [
            "directory: /t/b\npurge: true",
            "line: l0\nfile: /t/b/a\nmatch: \"^(one|part x)\"\nstate: absent"
        ];
    // seed 30007002
    what_a_command_creates_behind_a_link_that_was_changed_by_hand_is_not_known:
        ["d 755 0:0 /t/keep", "d 755 0:0 /t/other", "f 644 0:0 /t/keep/made0|", "l - 0:0 /t/a|other"],
        ["symlink: /t/a\ntarget: keep", "command: \"touch 'ROOT/t/a/made0'\"\ncreates: /t/a/made0"];
    // seed 40032435
    what_is_owed_for_a_link_may_be_paid_where_it_leads:
        ["f 644 0:0 /t/made0|"],
        [
            "symlink: /t/l\ntarget: b",
            "file: /t/b\ncontent: x",
            "command: \"touch 'ROOT/t/made0'\"\non_change_of: /t/l\ncreates: /t/made0"
        ];
    // seed 50070078
    what_lies_in_a_directory_that_is_declared_absent_is_told_though_something_below_goes:
        ["d 755 0:0 /t/a", "d 755 0:0 /t/a/b", "d 755 0:0 /t/a/b/c"],
        ["directory: /t/a/b/c\nstate: absent", "directory: /t/a\nstate: absent"];
    // seed 50067250
    links_below_links_make_declared_paths_meet_and_no_end_is_asked_of_them:
        ["d 755 0:0 /t/k"],
        ["symlink: /t/b\ntarget: /t/k", "symlink: /t/b/b\ntarget: /t/k", "file: /t/b/b/b\nforce: true"];
    // seed 60056003
    what_lies_behind_two_links_of_which_one_was_changed_by_hand_is_not_known:
        ["d 755 0:0 /t/k", "d 755 0:0 /t/k/x", "d 755 0:0 /t/other", "l - 0:0 /t/a|other", "l - 0:0 /t/e|/t/a"],
        ["symlink: /t/e\ntarget: /t/a", "directory: /t/e/x", "symlink: /t/a\ntarget: k"];
    // seed 70031803
    who_watches_a_link_comes_after_what_is_made_behind_it_by_another_name:
        ["d 755 0:0 /t/d"],
        [
            "symlink: /t/b\ntarget: a",
            "symlink: /t/a\ntarget: d",
            "line: l\nfile: /t/b/f\ntext: part\ncreate: true",
            "command: \"touch 'ROOT/t/made0'\"\non_change_of: /t/a\ncreates: /t/made0"
        ];
    // seed 70015103
    a_directory_that_is_purged_has_what_is_made_in_it_through_a_link:
        ["d 700 1001:1001 /t/b", "f 750 0:0 /t/b/a|"],
        ["directory: /t/b\npurge: true", "directory: '/t/c d/b/a'", "symlink: '/t/c d'\ntarget: /t/b/a"];
    // seed 80096871
    a_link_on_the_way_to_what_is_declared_is_not_purged:
        ["d 4755 0:0 /t/e", "l - 0:0 /t/e/b|/keep/d"], ["directory: /t/e/b/a", "directory: /t/e\npurge: true"];
    // seed 100017919
    what_a_guard_says_in_a_directory_that_is_made_as_a_parent_is_not_known_before:
        [],
        ["directory: /t/b/e", "command: \"touch 'ROOT/t/b/made1'\"\ndirectory: /t/b\nunless: \"test -e 'ROOT/t/b/made1'\""];
    // seed 100017919, too
    a_line_that_goes_takes_no_file_along:
        ["d 755 0:0 /t/c", "f 644 0:0 /t/c/b|one"],
        ["directory: /t/c\nstate: absent", "line: l\nfile: /t/c/b\nmatch: ^one\nstate: absent"];
    // seed 100104961
    what_somebody_makes_of_whom_nothing_is_known_is_not_known:
        ["d 755 1001:1001 /t/e", "l - 0:0 /t/e/l|nowhere"],
        [
            "directory: /t/e\nowner: '0'",
            "block: a\nfile: /t/e/l/b\ncontent: one\ncreate: true",
            "block: b\nfile: /t/e/l/b\ncontent: two"
        ];
    // seed 120138219
    who_makes_the_topmost_missing_directory_behind_a_link_does_not_make_those_below_it:
        ["l - 0:0 /t/c|/t/b/a"], ["directory: /t/b/b/b", "symlink: /t/c/e\ntarget: a"];
    // Two threads made the same missing parent.
    directories_with_a_parent_in_common_are_made_side_by_side:
        [], ["directory: /t/p/q/a", "directory: /t/p/q/b", "directory: /t/p/q/c", "directory: /t/p/q/d"];
}
