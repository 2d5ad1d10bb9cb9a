//! `--host` and `--only`: which resources a run is about, and which it only looks at because
//! those stand on them.

use std::collections::HashSet;

use crate::graph::Vertex;
use crate::plan::SavedPlan;
use crate::spec::Spec;

/// `type:name`, `host/type:name`, `host:name`, `tag:web`; `*` and `?` stand for any.
#[derive(Clone, Debug)]
pub struct Selector {
    text: String,
}

/// What a run is about.
#[derive(Clone, Debug)]
pub struct Selection {
    chosen: HashSet<Vertex>,
    /// The chosen ones and all they depend on.
    involved: HashSet<Vertex>,
}

impl Selection {
    pub fn everything(spec: &Spec) -> Selection {
        let all: HashSet<Vertex> = spec.graph.order().iter().copied().collect();
        Selection { chosen: all.clone(), involved: all }
    }

    /// Err: the selectors that match nothing.
    pub fn of(spec: &Spec, hosts: &[String], only: &[Selector]) -> Result<Selection, Vec<String>> {
        if hosts.is_empty() && only.is_empty() {
            return Ok(Selection::everything(spec));
        }
        let mut unmatched = Vec::new();
        for host in hosts {
            if !spec.hosts.iter().any(|declared| glob(host, &declared.name)) {
                unmatched.push(format!("--host {host}"));
            }
        }
        let on_host = |item: usize| {
            let name = &spec.hosts[spec.items[item].host].name;
            hosts.is_empty() || hosts.iter().any(|host| glob(host, name))
        };
        let mut chosen = HashSet::new();
        if only.is_empty() {
            chosen.extend((0..spec.items.len()).filter(|item| on_host(*item)).map(Vertex::Item));
            let named = |host: &usize| hosts.iter().any(|wanted| glob(wanted, &spec.hosts[*host].name));
            chosen.extend((0..spec.hosts.len()).filter(named).map(Vertex::Host));
        }
        for selector in only {
            let matching = selector.items(spec).into_iter();
            let matching: Vec<_> = matching.filter(|item| on_host(*item)).collect();
            if matching.is_empty() {
                unmatched.push(format!("--only {}", selector.text));
            }
            chosen.extend(matching.into_iter().map(Vertex::Item));
        }
        if !unmatched.is_empty() {
            return Err(unmatched);
        }
        let involved = with_dependencies(spec, &chosen);
        Ok(Selection { chosen, involved })
    }

    /// These, and everything they depend on, as if all of them had been selected.
    pub fn with_dependencies(spec: &Spec, items: &[usize]) -> Selection {
        let chosen = with_dependencies(spec, &items.iter().copied().map(Vertex::Item).collect());
        Selection { involved: chosen.clone(), chosen }
    }

    /// What a saved plan is about.
    pub fn planned(spec: &Spec, plan: &SavedPlan) -> Selection {
        let covered = |item: &usize| plan.covers(&spec.id(*item));
        let chosen = (0..spec.items.len()).filter(covered).map(Vertex::Item).collect();
        Selection { involved: with_dependencies(spec, &chosen), chosen }
    }

    pub fn is_chosen(&self, vertex: Vertex) -> bool {
        self.chosen.contains(&vertex)
    }

    pub fn is_involved(&self, vertex: Vertex) -> bool {
        self.involved.contains(&vertex)
    }
}

fn with_dependencies(spec: &Spec, chosen: &HashSet<Vertex>) -> HashSet<Vertex> {
    let mut involved = chosen.clone();
    let mut open: Vec<Vertex> = chosen.iter().copied().collect();
    while let Some(vertex) = open.pop() {
        for (dependency, _) in spec.graph.dependencies(vertex) {
            if involved.insert(dependency) {
                open.push(dependency);
            }
        }
    }
    involved
}

impl From<&str> for Selector {
    fn from(text: &str) -> Self {
        Selector { text: text.to_owned() }
    }
}

impl Selector {
    /// The resources that it matches.
    pub fn items(&self, spec: &Spec) -> Vec<usize> {
        (0..spec.items.len()).filter(|item| self.matches(spec, *item)).collect()
    }

    fn matches(&self, spec: &Spec, index: usize) -> bool {
        let item = &spec.items[index];
        let host = &spec.hosts[item.host];
        if let Some(tag) = self.text.strip_prefix("tag:") {
            return item.tags.iter().chain(&host.tags).any(|there| glob(tag, there));
        }
        if let Some(name) = self.text.strip_prefix("host:") {
            return glob(name, &host.name);
        }
        // `.service` is understood here too.
        let is_unit = item.resource.type_word() == "unit";
        let wanted = self.text.strip_suffix(".service").filter(|_| is_unit).unwrap_or(&self.text);
        glob(wanted, &item.resource.id()) || glob(wanted, &spec.id(index))
    }
}

/// Whether `text` is matched by a pattern of `*` (any run of characters) and `?` (any one).
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns_match_whole_words() {
        for (pattern, text, matches) in [
            ("file:/etc/*", "file:/etc/a/b", true),
            ("file:/etc/*", "file:/var/a", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("unit:*.service", "unit:a.service", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("unit:nginx", "unit:nginx-debug", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} on {text}");
        }
    }
}
