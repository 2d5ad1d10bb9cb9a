//! YAML text to a tree of nodes, each with its place. The only file that names the YAML crate.
//!
//! Plain scalars keep their spelling (a mode `0755` arrives as that text); what they mean is
//! decided by who reads them. Aliases are expanded here, under caps, so nothing behind this
//! file has to fear their size or a cycle.

use std::collections::HashMap;
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::at::{At, Place, small};
use super::problem::Problem;
use super::yaml_words;

/// Collections inside one another. Nothing that a spec says needs a tenth of it.
pub const DEPTH: usize = 64;

/// Nodes after aliases are expanded: a hundred times what 10,000 resources take.
pub const NODES: usize = 2_000_000;

/// A value in a YAML file.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    pub value: Value,
    pub place: Place,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// In the order of the file. No key is there twice.
    Mapping(Vec<(At<String>, Node)>),
}

#[derive(Clone, PartialEq)]
pub struct Scalar {
    pub text: String,
    pub style: Style,
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Style::Secret => f.write_str("(secret)"),
            style => write!(f, "{style:?} {:?}", self.text),
        }
    }
}

/// How a scalar is written, which decides whether it may be other than a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Plain,
    Quoted,
    /// After `|` or `>`.
    Block,
    /// A template gave it: a text, and a number or boolean where one is wanted.
    Rendered,
    /// The same, and a secret had a part in it.
    Secret,
}

impl Node {
    pub fn scalar(text: impl Into<String>, style: Style, place: Place) -> Node {
        Node { value: Value::Scalar(Scalar { text: text.into(), style }), place }
    }

    pub fn list(items: Vec<Node>, place: Place) -> Node {
        Node { value: Value::Sequence(items), place }
    }

    pub fn as_mapping(&self) -> Option<&[(At<String>, Node)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.iter().find(|(name, _)| name.value == key).map(|(_, value)| value)
    }

    /// Nothing, or an explicit null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar)
            if scalar.style == Style::Plain && super::scalar::core(&scalar.text) == super::scalar::Core::Null)
    }

    /// Where the first secret in it is.
    pub fn secret(&self) -> Option<Place> {
        match &self.value {
            Value::Scalar(scalar) => (scalar.style == Style::Secret).then_some(self.place),
            Value::Sequence(items) => items.iter().find_map(Node::secret),
            Value::Mapping(entries) => entries.iter().find_map(|(_, value)| value.secret()),
        }
    }

    /// The same value, made from a secret.
    pub fn made_secret(self) -> Node {
        let place = self.place;
        let value = match self.value {
            Value::Scalar(_) if self.is_null() => self.value,
            Value::Scalar(Scalar { text, .. }) => Value::Scalar(Scalar { text, style: Style::Secret }),
            Value::Sequence(items) => Value::Sequence(items.into_iter().map(Node::made_secret).collect()),
            Value::Mapping(entries) => {
                Value::Mapping(entries.into_iter().map(|(key, value)| (key, value.made_secret())).collect())
            }
        };
        Node { value, place }
    }

    /// How many values it holds, itself included.
    pub fn size(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 1,
            Value::Sequence(items) => items.iter().map(Node::size).sum::<usize>() + 1,
            Value::Mapping(entries) => entries.iter().map(|(_, value)| value.size()).sum::<usize>() + 1,
        }
    }

    /// The same value as it appears somewhere else.
    pub fn moved_to(&self, place: Place) -> Node {
        let value = match &self.value {
            Value::Scalar(scalar) => Value::Scalar(scalar.clone()),
            Value::Sequence(items) => {
                Value::Sequence(items.iter().map(|item| item.moved_to(place)).collect())
            }
            Value::Mapping(entries) => Value::Mapping(
                entries
                    .iter()
                    .map(|(key, value)| (At::new(key.value.clone(), place), value.moved_to(place)))
                    .collect(),
            ),
        };
        Node { value, place }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        use super::scalar::{Core, core};
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) if scalar.style == Style::Plain => match core(&scalar.text) {
                Core::Null if scalar.text.is_empty() => "nothing",
                Core::Null => "null",
                Core::Bool(_) => "a boolean",
                Core::Int(_) | Core::Float(_) => "a number",
                Core::Text => "a text",
            },
            Value::Scalar(_) => "a text",
        }
    }
}

/// Reads the one document of a file; `file` is all of it. None: there is nothing in it.
pub fn parse(text: &str, file: Place) -> Result<Option<Node>, Problem> {
    let options = granit_parser::options! { flow_nesting_limit: DEPTH, block_nesting_limit: DEPTH };
    let events = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { events, text, file, anchors: HashMap::new(), nodes: 0 };
    let mut document = None;
    loop {
        let (event, place, _) = builder.next()?;
        match event {
            Event::StreamEnd => return Ok(document.filter(|node: &Node| !is_nothing(node))),
            Event::DocumentStart(..) if document.is_some() => {
                return Err(Problem::at(place, "a spec is one YAML document, and here a second one begins")
                    .label("the second document")
                    .help("put it into a file of its own, and name that under `include`"));
            }
            Event::DocumentStart(..) => {
                let (event, place, span) = builder.next()?;
                document = Some(builder.node(event, place, &span, 0)?.0);
            }
            _ => {}
        }
    }
}

fn is_nothing(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.style == Style::Plain && scalar.text.is_empty())
}

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    text: &'a str,
    file: Place,
    /// Finished nodes with an anchor: how deep they are and how many nodes they hold. None:
    /// begun, and not finished.
    anchors: HashMap<usize, Option<(Node, Size)>>,
    nodes: usize,
}

#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    nodes: usize,
}

impl Size {
    fn holds(&mut self, child: Size) {
        self.depth = self.depth.max(child.depth + 1);
        self.nodes += child.nodes;
    }
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place, Span), Problem> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                let place = self.place(&span);
                Ok((event, place, span))
            }
            Some(Err(error)) => {
                let start = small(error.marker().byte_offset().unwrap_or(0));
                let place = Place { start, end: start, ..self.file };
                Err(yaml_words::problem(error.kind(), yaml_words::place(error.kind(), self.text, place)))
            }
            None => Err(Problem::at(self.file.begin(), "the file ends too early")),
        }
    }

    fn place(&self, span: &Span) -> Place {
        let range = span.byte_range().unwrap_or(0..0);
        Place { start: small(range.start), end: small(range.end), ..self.file }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        place: Place,
        span: &Span,
        depth: usize,
    ) -> Result<(Node, Size), Problem> {
        if let Some(tag) = span.tag_span() {
            return Err(Problem::at(self.place(&tag), "tags are not part of the spec language")
                .label("a tag")
                .help("remove it: the attribute decides whether it takes a text, a number or a list"));
        }
        if depth > DEPTH {
            return Err(too_deep(place));
        }
        let anchor = event.anchor_id().filter(|id| *id != 0);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, None);
        }
        self.count(1, place)?;
        let (node, size) = match event {
            Event::Scalar(text, style, ..) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    _ => Style::Quoted,
                };
                // The parser writes `~` where nothing is written.
                let text = if style == Style::Plain && place.is_empty() { "".into() } else { text };
                (Node::scalar(text, style, place), Size { depth: 0, nodes: 1 })
            }
            Event::SequenceStart(..) => self.sequence(place, depth)?,
            Event::MappingStart(..) => self.mapping(place, depth)?,
            Event::Alias(id) => return self.alias(id, place, depth),
            _ => return Err(Problem::at(place, "converge does not understand this YAML")),
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Some((node.clone(), size)));
        }
        Ok((node, size))
    }

    fn sequence(&mut self, place: Place, depth: usize) -> Result<(Node, Size), Problem> {
        let (mut items, mut size) = (Vec::new(), Size { depth: 0, nodes: 1 });
        loop {
            let (event, at, span) = self.next()?;
            if let Event::SequenceEnd = event {
                let place = place.to(items.last().map_or(at, |last: &Node| last.place.to(at)));
                return Ok((Node { value: Value::Sequence(items), place }, size));
            }
            let (item, item_size) = self.node(event, at, &span, depth + 1)?;
            size.holds(item_size);
            items.push(item);
        }
    }

    fn mapping(&mut self, place: Place, depth: usize) -> Result<(Node, Size), Problem> {
        let mut entries: Vec<(At<String>, Node)> = Vec::new();
        let mut places: HashMap<String, Place> = HashMap::new();
        let (mut merged, mut size) = (Vec::new(), Size { depth: 0, nodes: 1 });
        loop {
            let (event, at, span) = self.next()?;
            if let Event::MappingEnd = event {
                merge(&mut entries, &places, merged);
                let place = place.to(entries.last().map_or(at, |(_, last)| last.place));
                return Ok((Node { value: Value::Mapping(entries), place }, size));
            }
            let (key, key_size) = self.node(event, at, &span, depth + 1)?;
            let (key, is_plain) = key_text(key)?;
            let (event, at, span) = self.next()?;
            let (value, value_size) = self.node(event, at, &span, depth + 1)?;
            size.holds(key_size);
            size.holds(value_size);
            if key.value == "<<" && is_plain {
                merged.extend(mappings_to_merge(value, key.place)?);
                continue;
            }
            if let Some(first) = places.insert(key.value.clone(), key.place) {
                return Err(Problem::at(key.place, format!("`{}` is there twice", key.value))
                    .label("and here again")
                    .also(first, "first here")
                    .help("keep one of them"));
            }
            entries.push((key, value));
        }
    }

    fn alias(&mut self, id: usize, place: Place, depth: usize) -> Result<(Node, Size), Problem> {
        let Some(Some((node, size))) = self.anchors.get(&id) else {
            return Err(Problem::at(place, "this alias stands inside the node that it names")
                .label("refers to what it is part of")
                .help("write the value out"));
        };
        if depth + size.depth > DEPTH {
            return Err(too_deep(place));
        }
        let (node, size) = (node.clone(), *size);
        self.count(size.nodes, place)?;
        Ok((node, size))
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Problem> {
        self.nodes += nodes;
        if self.nodes <= NODES {
            return Ok(());
        }
        Err(Problem::at(place, format!("the spec holds more than {NODES} values, its aliases written out"))
            .label("here it becomes too many")
            .help("aliases that name nodes full of aliases multiply: write less of them"))
    }
}

fn too_deep(place: Place) -> Problem {
    Problem::at(place, format!("more than {DEPTH} lists and mappings inside one another"))
        .label("here it becomes too deep")
        .help("no spec needs this: look for brackets that are not closed")
}

fn key_text(key: Node) -> Result<(At<String>, bool), Problem> {
    match key.value {
        Value::Scalar(scalar) => Ok((At::new(scalar.text, key.place), scalar.style == Style::Plain)),
        _ => Err(Problem::at(key.place, "a key must be a text")
            .label(format!(
                "this is {}",
                if matches!(key.value, Value::Sequence(_)) { "a list" } else { "a mapping" }
            ))
            .help("a template as a value needs quotes: write \"{{ name }}\"")),
    }
}

/// What follows `<<`: a mapping, or a list of them.
fn mappings_to_merge(value: Node, place: Place) -> Result<Vec<(At<String>, Node)>, Problem> {
    let wrong = || {
        Problem::at(place, "`<<` takes a mapping, or a list of mappings")
            .label("is given neither")
            .help("name one with an alias, as in `<<: *defaults`")
    };
    match value.value {
        Value::Mapping(entries) => Ok(entries),
        Value::Sequence(items) => {
            let mut all = Vec::new();
            for item in items {
                let Value::Mapping(entries) = item.value else { return Err(wrong()) };
                all.extend(entries);
            }
            Ok(all)
        }
        Value::Scalar(_) => Err(wrong()),
    }
}

/// A mapping's own keys win, then the merged mapping that comes first.
fn merge(
    entries: &mut Vec<(At<String>, Node)>,
    own: &HashMap<String, Place>,
    merged: Vec<(At<String>, Node)>,
) {
    let mut taken = std::collections::HashSet::new();
    for (key, value) in merged {
        if !own.contains_key(&key.value) && taken.insert(key.value.clone()) {
            entries.push((key, value));
        }
    }
}
