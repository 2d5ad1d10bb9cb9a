//! The reference as plain text, for `converge explain`.

use super::{Attribute, Manual, Type};

/// Columns.
const WIDTH: usize = 90;

/// The types, one a line.
pub fn list(manual: &Manual) -> String {
    let widest = manual.types.iter().map(|one| one.word.len()).max().unwrap_or(0);
    let mut text = String::new();
    for one in &manual.types {
        let word = format!("{:widest$}  ", one.word);
        text.push_str(&wrapped(one.summary(), &word, &" ".repeat(widest + 2)));
    }
    text.push_str("\n`converge explain TYPE` says all about one, `converge explain TYPE.ATTRIBUTE` about an attribute.\n");
    text
}

/// All about a type.
pub fn whole(manual: &Manual, one: &Type) -> String {
    let mut text = format!("{}\n\n", one.word);
    text.push_str(&paragraphs(&one.docs, ""));
    text.push_str("\nAttributes\n");
    for attribute in &one.attributes {
        text.push_str(&entry(manual, attribute));
    }
    for (part, of_each) in manual.parts(one) {
        text.push_str(&format!("\nEach of {}\n", part.name));
        for attribute in &of_each {
            text.push_str(&entry(manual, attribute));
        }
    }
    text.push_str("\nIt takes these too, as others do\n");
    for attribute in manual.common_of(one) {
        text.push_str(&entry(manual, attribute));
    }
    text.push_str("\nExample\n\n");
    for line in one.example.lines() {
        text.push_str(format!("  {line}").trim_end());
        text.push('\n');
    }
    text
}

/// All about one attribute. `path` is how it was asked for, as in `http.steps.form`.
pub fn attribute(manual: &Manual, path: &str, attribute: &Attribute) -> String {
    let facts = attribute.facts(&manual.kind(attribute));
    let mut text = wrapped(&format!("{path} ({facts})"), "", "  ");
    text.push('\n');
    text.push_str(&paragraphs(&attribute.docs, ""));
    if let Some(spelling) = manual.spelling(attribute) {
        text.push('\n');
        text.push_str(&wrapped(spelling, "", ""));
    }
    text
}

fn entry(manual: &Manual, attribute: &Attribute) -> String {
    let head = format!("{} ({})", attribute.name, attribute.facts(&manual.kind(attribute)));
    format!("\n{}{}", wrapped(&head, "  ", "    "), paragraphs(&attribute.docs, "      "))
}

fn paragraphs(docs: &[String], indent: &str) -> String {
    docs.iter().map(|one| wrapped(one, indent, indent)).collect::<Vec<_>>().join("\n")
}

/// The words, no line longer than `WIDTH` where it can be.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let (mut lines, mut line, mut is_empty) = (String::new(), first.to_owned(), true);
    for word in words(text) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = rest.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

/// What stands between backticks is one word: nobody can copy half of it.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match words.last_mut().filter(|last| last.matches('`').count() % 2 == 1) {
            Some(last) => *last = format!("{last} {word}"),
            None => words.push(word.to_owned()),
        }
    }
    words
}
