//! `converge graph`: every edge with its reason, as text, for Graphviz and for Mermaid.

use std::fmt::Write;

use super::{Reason, Vertex};
use crate::spec::Spec;

fn name(spec: &Spec, vertex: Vertex) -> String {
    match vertex {
        Vertex::Host(host) => format!("host:{}", spec.hosts[host].name),
        Vertex::Item(item) => spec.id(item),
    }
}

/// In the order of a run: each vertex, and below it what comes first and why.
pub fn text(spec: &Spec) -> String {
    let mut text = String::new();
    for vertex in spec.graph.order() {
        text.push_str(&one_line(&name(spec, *vertex)));
        text.push('\n');
        for (before, reason) in spec.graph.dependencies(*vertex) {
            line(&mut text, format_args!("  after {}  ({reason})", one_line(&name(spec, before))));
        }
    }
    text
}

/// The graph in Graphviz' language: `dot -Tsvg`.
pub fn dot(spec: &Spec) -> String {
    let mut text =
        "digraph converge {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n".to_owned();
    for vertex in spec.graph.order() {
        let name = escaped(&name(spec, *vertex));
        let shape = if let Vertex::Host(_) = vertex { ", shape=ellipse" } else { "" };
        line(&mut text, format_args!("  {} [label=\"{name}\"{shape}];", id(*vertex)));
    }
    for (before, after, reason) in edges(spec) {
        let style = if let Reason::Declared { .. } = reason { "" } else { ", style=dashed" };
        let reason = escaped(&reason.to_string());
        line(&mut text, format_args!("  {} -> {} [label=\"{reason}\"{style}];", id(before), id(after)));
    }
    text + "}\n"
}

/// The graph in Mermaid's language, as GitHub and GitLab show it.
pub fn mermaid(spec: &Spec) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for vertex in spec.graph.order() {
        let name = entities(&name(spec, *vertex));
        match vertex {
            Vertex::Host(_) => line(&mut text, format_args!("  {}([\"{name}\"])", id(*vertex))),
            Vertex::Item(_) => line(&mut text, format_args!("  {}[\"{name}\"]", id(*vertex))),
        }
    }
    for (before, after, reason) in edges(spec) {
        let arrow = if let Reason::Declared { .. } = reason { "-->" } else { "-.->" };
        let reason = entities(&reason.to_string());
        line(&mut text, format_args!("  {} {arrow}|\"{reason}\"| {}", id(before), id(after)));
    }
    text
}

fn edges(spec: &Spec) -> impl Iterator<Item = (Vertex, Vertex, &Reason)> {
    let graph = &spec.graph;
    graph.order().iter().flat_map(move |after| {
        graph.dependencies(*after).map(move |(before, reason)| (before, *after, reason))
    })
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

fn id(vertex: Vertex) -> String {
    match vertex {
        Vertex::Host(host) => format!("h{host}"),
        Vertex::Item(item) => format!("r{item}"),
    }
}

/// Names may hold anything (a command of several lines); a line of output may not.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn escaped(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}

fn entities(text: &str) -> String {
    let mut safe = String::new();
    for c in one_line(text).chars() {
        match c {
            '"' => safe.push_str("#quot;"),
            '#' => safe.push_str("#35;"),
            '<' => safe.push_str("#lt;"),
            '>' => safe.push_str("#gt;"),
            '&' => safe.push_str("#amp;"),
            '`' => safe.push_str("#96;"),
            c => safe.push(c),
        }
    }
    safe
}
