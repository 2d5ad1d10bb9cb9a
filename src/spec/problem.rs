//! What is wrong with a spec, told with the excerpt where it is. The only file that names miette.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Display};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    Severity, SourceCode, SourceSpan, SpanContents,
};

use super::at::{Place, Sources};
use crate::redact::hide_in;

/// Above the excerpt of another place that a problem speaks of.
const ELSEWHERE: &str = "… and this belongs to it";

/// Labels that are so many lines apart are in one excerpt: a line of context each.
const ONE_EXCERPT: usize = 3;

/// A line of a file is shown up to so many bytes around what is wrong in it.
const LINE_SHOWN: usize = 120;

/// A message that quotes the file is cut here: what it is about comes first.
const WORDS_SHOWN: usize = 400;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    pub what: String,
    /// The first is where the problem is; the others help to understand it. Empty only where
    /// there is no file to show.
    pub labels: Vec<(Place, String)>,
    /// The way out.
    pub help: Option<String>,
    /// It is allowed, and likely to bite.
    pub is_warning: bool,
}

impl Problem {
    /// A problem that is in no file.
    pub fn new(what: impl Into<String>) -> Problem {
        let mut what: String = what.into();
        if let Some((end, _)) = what.char_indices().nth(WORDS_SHOWN) {
            what.replace_range(end.., "…");
        }
        Problem { what, labels: Vec::new(), help: None, is_warning: false }
    }

    pub fn at(place: Place, what: impl Into<String>) -> Problem {
        Problem { labels: vec![(place, "here".to_owned())], ..Problem::new(what) }
    }

    pub fn warning(place: Place, what: impl Into<String>) -> Problem {
        Problem { is_warning: true, ..Problem::at(place, what) }
    }

    /// What to write under the place itself.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        if let Some((_, first)) = self.labels.first_mut() {
            *first = label.into();
        }
        self
    }

    /// Another place that belongs to it.
    pub fn also(mut self, place: Place, label: impl Into<String>) -> Problem {
        self.labels.push((place, label.into()));
        self
    }

    /// Whether it points into this file.
    pub fn is_in(&self, file: u32) -> bool {
        self.labels.first().is_some_and(|(place, _)| place.file == file)
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong with a spec, and the files it is in.
#[derive(Clone, Default, Debug)]
pub struct Problems {
    list: Vec<Problem>,
    sources: Sources,
}

impl Problems {
    /// In the order of the files; what is said twice (of each host of a group) is said once.
    pub fn new(mut list: Vec<Problem>, sources: Sources) -> Problems {
        let key = |problem: &Problem| problem.labels.first().map(|(place, _)| (place.file, place.start));
        list.sort_by_key(key);
        for problem in &mut list {
            // Before lines are folded: a secret in two lines is not found any more.
            hide_in(&mut problem.what);
            problem.labels.iter_mut().for_each(|(_, label)| hide_in(label));
            problem.help.iter_mut().for_each(hide_in);
        }
        let mut seen = HashSet::new();
        list.retain(|problem| seen.insert((problem.what.clone(), key(problem))));
        Problems { list, sources }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Where a problem is, as in `specs/prod.yaml:27`; an editor jumps there.
    pub fn location(&self, problem: &Problem) -> Option<String> {
        problem.labels.first().map(|(place, _)| self.sources.location(*place))
    }

    /// As it is shown to a person; `width` in columns.
    pub fn render(&self, color: bool, width: usize) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_links(false)
            .with_context_lines(1);
        let mut text = String::new();
        for problem in &self.list {
            for report in Report::of(problem, &self.sources) {
                // Writing to a string does not fail; what miette could not show is told in words.
                if handler.render_report(&mut text, &report).is_err() {
                    text.push_str(&harmless(&problem.what));
                }
                text.truncate(text.trim_end().len());
                text.push_str("\n\n");
            }
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}

/// One line each, for logs and tests.
impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            let what = harmless(&problem.what);
            match self.location(problem) {
                Some(location) => writeln!(f, "{}: {what}", harmless(&location))?,
                None => writeln!(f, "{what}")?,
            }
        }
        Ok(())
    }
}

/// A problem as miette wants it: the excerpt of one file, and one more report for each other
/// place that it speaks of and that would come before it.
#[derive(Debug)]
struct Report<'a> {
    what: Cow<'a, str>,
    is_warning: bool,
    help: Option<Cow<'a, str>>,
    excerpt: Option<Excerpt<'a>>,
    labels: Vec<LabeledSpan>,
}

impl<'a> Report<'a> {
    fn of(problem: &'a Problem, sources: &'a Sources) -> Vec<Report<'a>> {
        let mut by_file: BTreeMap<u32, Vec<&(Place, String)>> = BTreeMap::new();
        for label in &problem.labels {
            by_file.entry(label.0.file).or_default().push(label);
        }
        let first = problem.labels.first().map(|(place, _)| place.file);
        let in_first = first.and_then(|file| by_file.remove(&file)).unwrap_or_default();
        let (shown, above) = from_the_first(in_first, sources);
        let mut reports = vec![Report::one(problem, &problem.what, problem.help.as_deref(), &shown, sources)];
        let elsewhere = (!above.is_empty()).then_some(above).into_iter().chain(by_file.into_values());
        reports.extend(elsewhere.map(|labels| Report::one(problem, ELSEWHERE, None, &labels, sources)));
        reports
    }

    fn one(
        problem: &Problem,
        what: &'a str,
        help: Option<&'a str>,
        labels: &[&'a (Place, String)],
        sources: &'a Sources,
    ) -> Report<'a> {
        let is_warning = problem.is_warning;
        let excerpt = labels.first().map(|(place, _)| Excerpt::of(sources, place.file));
        let labels = labels.iter().enumerate().map(|(number, (place, label))| {
            let place = sources.first_line(*place);
            let span = (place.start as usize, (place.end - place.start) as usize);
            match number {
                0 => LabeledSpan::new_primary_with_span(Some(harmless(label).into_owned()), span),
                _ => LabeledSpan::new_with_span(Some(harmless(label).into_owned()), span),
            }
        });
        let mut labels: Vec<_> = labels.collect();
        // miette puts labels of one excerpt together only where they follow each other.
        labels.sort_by_key(LabeledSpan::offset);
        Report { what: harmless(what), is_warning, help: help.map(harmless), excerpt, labels }
    }
}

type Labels<'a> = Vec<&'a (Place, String)>;

/// The labels of one file, and apart from them those that stand further up than the excerpt of
/// the first: where the problem is comes first, since that is where editors jump.
fn from_the_first<'a>(labels: Labels<'a>, sources: &Sources) -> (Labels<'a>, Labels<'a>) {
    let Some((first, _)) = labels.first() else { return (labels, Vec::new()) };
    let mut lines: Vec<usize> = labels.iter().map(|(place, _)| sources.line(*place)).collect();
    lines.sort_unstable();
    let mut top = sources.line(*first);
    for line in lines.into_iter().rev() {
        if line < top && top - line <= ONE_EXCERPT {
            top = line;
        }
    }
    labels.into_iter().partition(|(place, _)| sources.line(*place) >= top)
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(if self.is_warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn Display + 'b>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// A file to cut excerpts from. miette's own way reads the file from its beginning for every
/// label; this one knows where lines begin, and cuts lines that are far too long.
#[derive(Debug)]
struct Excerpt<'a> {
    name: String,
    text: Cow<'a, str>,
    sources: &'a Sources,
    file: u32,
}

impl<'a> Excerpt<'a> {
    fn of(sources: &'a Sources, file: u32) -> Excerpt<'a> {
        let source = sources.get(file);
        let text = harmless(&source.text);
        let name = harmless(&source.path.display().to_string()).into_owned();
        Excerpt { name, text, sources, file }
    }

    fn contents<'b>(
        &self,
        text: &'b str,
        start: usize,
        line: usize,
        column: usize,
    ) -> Box<dyn SpanContents<'b> + 'b> {
        let (name, span) = (self.name.clone(), (start, text.len()).into());
        let lines = text.lines().count();
        Box::new(MietteSpanContents::new_named(name, text.as_bytes(), span, line, column, lines))
    }

    /// Forth or back to where a character begins.
    fn boundary(&self, mut at: usize) -> usize {
        at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// Without control characters, which a terminal would obey; the same number of bytes.
fn harmless(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let as_spaces = |c: char| if harmful(c) { " ".repeat(c.len_utf8()) } else { c.to_string() };
    Cow::Owned(text.chars().map(as_spaces).collect())
}

impl SourceCode for Excerpt<'_> {
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let (first, last) = (span.offset(), span.offset() + span.len());
        if before == 0 && after == 0 {
            // For the head of the excerpt: `file:line:column`.
            let line = self.sources.lines(self.file, first, last, 0, 0);
            let column = self.text[line.start..first].chars().count();
            let text = &self.text[first..last];
            return Ok(self.contents(text, first, line.first_line, column));
        }
        if last > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let lines = self.sources.lines(self.file, first, last, before, after);
        let line = lines.first_line;
        let line_begin = lines.start;
        let start = self.boundary(lines.start.max(first.saturating_sub(LINE_SHOWN)));
        let end = self.boundary(lines.end.min(last + LINE_SHOWN)).max(last);
        // A line that is cut at its beginning is not preceded by others.
        let start = match self.text[line_begin..first].rfind('\n') {
            Some(newline) if start > line_begin => start.max(line_begin + newline + 1),
            _ => start,
        };
        let line = line + self.text[line_begin..start].matches('\n').count();
        let column = start - self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        Ok(self.contents(&self.text[start..end], start, line, column))
    }
}
