//! The reference as Markdown, for docs/resources.

use std::fmt::Write;

use super::{Attribute, Manual, Type};

const WRITTEN: &str =
    "<!-- Written from the doc comments in src/resource by `UPDATE_DOCS=1 cargo test --test docs`. -->";

/// The page of a type.
pub fn page(manual: &Manual, one: &Type) -> String {
    let mut page = format!("{WRITTEN}\n# {}\n\n", one.word);
    for paragraph in &one.docs {
        let _ = write!(page, "{paragraph}\n\n");
    }
    let _ = write!(page, "```yaml\n{}```\n\n## Attributes\n\n", one.example);
    page.push_str(&table(manual, &one.attributes.iter().collect::<Vec<_>>()));
    for (attribute, of_each) in manual.parts(one) {
        let _ = write!(page, "\n### Each of `{}`\n\n", attribute.name);
        page.push_str(&table(manual, &of_each.iter().collect::<Vec<_>>()));
    }
    let common: Vec<String> =
        manual.common_of(one).map(|attribute| format!("[`{0}`](README.md#{0})", attribute.name)).collect();
    let _ = write!(page, "\nIt takes {} too.\n", common.join(", "));
    page
}

/// The page that lists the types, with what all of them take.
pub fn index(manual: &Manual) -> String {
    let mut page = format!("{WRITTEN}\n# Resources\n\n");
    page.push_str(
        "The first key of an item is its type, the value of that key its name. `converge explain TYPE` shows \
         these pages in a terminal; [../schema.json](../schema.json) shows them in editors that know JSON \
         Schema, where a spec begins with\n\n\
         ```yaml\n# yaml-language-server: $schema=../docs/schema.json\n```\n\n\
         | type | |\n| --- | --- |\n",
    );
    for one in &manual.types {
        let _ = writeln!(page, "| [`{0}`]({0}.md) | {1} |", one.word, cell(one.summary()));
    }
    page.push_str("\n## Attributes of every resource\n");
    for attribute in &manual.common {
        let _ = write!(page, "\n### {}\n\n", attribute.name);
        let _ = write!(
            page,
            "*{}*\n\n{}\n",
            attribute.facts(&manual.kind(attribute)),
            attribute.docs.join("\n\n")
        );
    }
    page.push_str("\n## Attributes of a host\n\n");
    page.push_str(&table(manual, &manual.host.iter().collect::<Vec<_>>()));
    page
}

fn table(manual: &Manual, attributes: &[&Attribute]) -> String {
    let mut table = "| attribute | value | meaning |\n| --- | --- | --- |\n".to_owned();
    for attribute in attributes {
        let facts = attribute.facts(&manual.kind(attribute));
        let docs = cell(&attribute.docs.join("<br><br>"));
        let _ = writeln!(table, "| `{}` | {} | {docs} |", attribute.name, cell(&facts));
    }
    table
}

fn cell(text: &str) -> String {
    text.replace('|', r"\|")
}
