//! The YAML parser's errors in words that help the person who wrote the file.

use granit_parser::ErrorKind;

use super::at::{Place, small};
use super::problem::Problem;

/// The parser points at where it stopped reading, which may be before or behind the tab.
pub fn place(kind: &ErrorKind, text: &str, place: Place) -> Place {
    use ErrorKind as Kind;
    let is_tab = matches!(
        kind,
        Kind::TabNotAllowed
            | Kind::TabInBlockIndentation
            | Kind::TabInIndentation
            | Kind::TabAtBlockScalarStart
            | Kind::TabInPlainScalar
    );
    let Some((before, after)) = text.split_at_checked(place.start as usize).filter(|_| is_tab) else {
        return place;
    };
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    let here = before[line..].find('\t').map(|tab| line + tab);
    match here.or_else(|| after.find('\t').map(|tab| before.len() + tab)) {
        Some(tab) => Place { start: small(tab), end: small(tab + 1), ..place },
        None => place,
    }
}

pub fn problem(kind: &ErrorKind, place: Place) -> Problem {
    use ErrorKind as Kind;
    let (what, label, help) = match kind {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabAtBlockScalarStart
        | Kind::TabInPlainScalar => (
            "a tab where YAML wants spaces".to_owned(),
            "a tab",
            "indent with spaces: YAML does not take tabs",
        ),
        Kind::UnclosedQuotedScalar => (
            "a quote is opened and never closed".to_owned(),
            "the text ends here",
            "close it with the quote it began with; inside '…' a quote is written twice",
        ),
        Kind::InvalidQuotedScalarIndent => (
            "a quote that was opened above is not closed".to_owned(),
            "still inside the quote",
            "close the quote on its line; a text of several lines is indented further than its key",
        ),
        Kind::DocumentIndicatorInQuotedScalar => (
            "a quote is not closed before the document ends".to_owned(),
            "the document ends here",
            "close the quote before this line",
        ),
        Kind::UnclosedFlowCollection { open } => {
            (format!("`{open}` is never closed"), "opened here", "add the closing bracket")
        }
        Kind::UnexpectedEofFlowSequence => ("`[` is never closed".to_owned(), "ends here", "add `]`"),
        Kind::UnexpectedEofFlowMapping | Kind::UnexpectedEofImplicitFlowMapping => {
            ("`{` is never closed".to_owned(), "ends here", "add `}`")
        }
        Kind::MismatchedFlowCollectionEnd { open, close } => (
            format!("`{open}` is closed by `{close}`"),
            "the wrong bracket",
            "close each bracket with its own kind",
        ),
        Kind::MisplacedFlowCollectionEnd => (
            "a closing bracket without an opening one".to_owned(),
            "closes nothing",
            "remove it, or quote the text that holds it",
        ),
        Kind::ExpectedFlowSequenceSeparator => (
            "the elements of a list are not separated".to_owned(),
            "a `,` or `]` is missing before this",
            "write [a, b, c]; quote texts that hold brackets or commas",
        ),
        Kind::ExpectedFlowMappingSeparator => (
            "the entries of a mapping are not separated".to_owned(),
            "a `,` or `}` is missing before this",
            "write {a: 1, b: 2}; a template needs quotes: \"{{ name }}\"",
        ),
        Kind::RecursionLimitExceeded => (
            format!("more than {} lists and mappings inside one another", super::yaml::DEPTH),
            "here it becomes too deep",
            "no spec needs this: look for brackets that are not closed",
        ),
        Kind::UnknownAnchor => (
            "this alias names no anchor".to_owned(),
            "`*name` needs a `&name` before it",
            "a text that begins with `*` needs quotes",
        ),
        Kind::MappingValueNotAllowed | Kind::InvalidColonPlacement | Kind::MappingKeyNotAllowed => (
            "a key is not expected here".to_owned(),
            "this `key: value` cannot begin here",
            "line it up with the keys around it; quote a text that holds `: `",
        ),
        Kind::ExpectedBlockMappingKey
        | Kind::ExpectedBlockSequenceEntry
        | Kind::InvalidIndentation
        | Kind::BlockSequenceEntryNotAllowed
        | Kind::UnexpectedEndOfPlainScalar
        | Kind::InvalidFlowScalarIndent
        | Kind::InvalidBlockScalarIndent => (
            "the indentation does not fit".to_owned(),
            "belongs to nothing above it",
            "line it up with the keys or the dashes it belongs to",
        ),
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey => (
            "a key without its `:`".to_owned(),
            "expected `key: value`",
            "write `key: value`, with a space after the colon",
        ),
        Kind::UnexpectedCharacter { character } => (
            format!("`{}` cannot begin a value", character.escape_default()),
            "here",
            "quote the text that begins with it",
        ),
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => (
            "text after a closing quote".to_owned(),
            "the text was over before this",
            "put all of it inside the quotes; inside '…' a quote is written twice",
        ),
        Kind::UnknownQuotedScalarEscape | Kind::InvalidQuotedScalarHexEscape | Kind::InvalidUnicodeEscape => {
            (
                "an escape that YAML does not know".to_owned(),
                "here",
                "inside \"…\" a backslash is written \\\\; inside '…' it is only itself",
            )
        }
        Kind::CommentNotSeparated => {
            ("a comment needs a space before its `#`".to_owned(), "here", "add the space, or quote the text")
        }
        other => (
            format!("this is not YAML: {other}"),
            "here",
            "check quotes, indentation and brackets on this line and the one before",
        ),
    };
    Problem::at(place, what).label(label).help(help)
}
