//! `database`: what a query gives. A check with no apply: it waits.

mod client;
mod connection;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Check, Failure, Invalid, Links, Needed, Resource, Thing, Waiting};
use crate::system::System;
use client::Answer;
use connection::Connection;

/// No more of an answer is shown.
const SHOWN: usize = 200;
const SHOWN_ROWS: usize = 5;

/// Asked where no query is declared: that it is answered is enough.
const ANY_QUERY: &str = "select 1";

/// What a database answers to a query.
///
/// It is a check with no apply. Where it does not hold, it is asked again for as long as `wait`
/// says, and is a failure when that is over, or at once without a `wait`. It is asked by the
/// engine's own client on the host it is declared on: `psql`, `mysql` (or `mariadb`), `sqlite3`.
///
/// The query is asked in a transaction that cannot write. It reaches the client by its standard input, and the
/// password by its environment: neither is on a command line. What the client reads of its own (`~/.pgpass`, `~/.my.cnf`)
/// counts where the connection says nothing.
///
/// Over a local socket, where servers ask the system who is there, root asks as the login that the
/// connection names, where there is one: `postgres://postgres@/app` works without a password. A file of
/// SQLite is read as its owner.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// A label: what is to be true, as in `the schema is at version 42`.
    #[serde(rename = "database")]
    pub name: String,

    /// What kind of database it is; `mysql` is MariaDB too.
    pub engine: Engine,

    /// Where it is. `postgres://user:password@host:5432/database`,
    /// `mysql://user:password@host:3306/database`; what is left out is the client's to choose: without a
    /// host it is the local socket. What a URL cannot hold is written as in `%40`. After a `?` may stand `sslmode`, `sslrootcert` and
    /// `host` (the directory of the socket), or for MySQL `ssl-ca` and `socket`. For SQLite it is the absolute path of the
    /// file.
    pub connection: Secret,

    /// The query, in the engine's SQL. Without it, that the database answers at all is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Secret>,

    /// What the first row must be, as the client prints it: its columns joined by `|`, as in `3` or `ready|42`. A
    /// boolean of PostgreSQL is `t` or `f`. NULL is empty, in MySQL `NULL`. Without it, a query that is answered holds, whatever it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Secret>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Postgres,
    Mysql,
    Sqlite,
}

/// A text that may hold a secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "controller", schemars(inline))]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Engine {
    fn word(self) -> &'static str {
        match self {
            Engine::Postgres => "postgres",
            Engine::Mysql => "mysql",
            Engine::Sqlite => "sqlite",
        }
    }

    fn client(self) -> &'static str {
        match self {
            Engine::Postgres => "psql",
            Engine::Mysql => "mysql",
            Engine::Sqlite => "sqlite3",
        }
    }

    /// What a line begins with that the client takes for a command of its own.
    fn own_commands(self) -> char {
        if self == Engine::Sqlite { '.' } else { '\\' }
    }
}

impl Database {
    pub const SECRETS: &'static [&'static str] = &["connection", "query", "result"];

    pub const EXAMPLE: &'static str = "\
- database: the schema is at version 42
  engine: sqlite
  connection: /var/lib/app/app.db
  query: select max(version) from migrations
  result: 42
  wait: 30s
";

    fn connection(&self) -> Result<Connection, Failure> {
        Connection::parse(self.engine, &self.connection.0)
            .map_err(|(what, help)| Failure::new(what).help(help))
    }

    fn judge(&self, rows: &[String]) -> Check {
        let Some(wanted) = &self.result else { return Check::Holds };
        let reason = match rows.first() {
            Some(first) if *first == wanted.0 => return Check::Holds,
            Some(first) => format!("the query gave {}, wanted {}", shown(first), shown(&wanted.0)),
            None => format!("the query gave no row, wanted {}", shown(&wanted.0)),
        };
        let mut waiting = Waiting::new(reason);
        if rows.len() > 1 {
            let mut lines: Vec<String> = rows.iter().take(SHOWN_ROWS).map(|row| shown(row)).collect();
            if rows.len() > SHOWN_ROWS {
                lines.push(format!("and {} rows more", rows.len() - SHOWN_ROWS));
            }
            let text = lines.join("\n");
            waiting.details.push(super::Detail { title: "rows".to_owned(), text });
            waiting.help = Some("only the first row is compared".to_owned());
        }
        Check::Waits(waiting)
    }
}

/// On one line, and not all of it where it is long.
fn shown(row: &str) -> String {
    let line: String = row.chars().take(SHOWN).collect::<String>().replace('\n', "\\n");
    if row.chars().count() > SHOWN { format!("`{line}…`") } else { format!("`{line}`") }
}

impl Resource for Database {
    fn name(&self) -> String {
        self.name.trim().to_owned()
    }

    fn links(&self) -> Links {
        match self.engine {
            Engine::Postgres => client::PSQL.link(Links::default()),
            // Its client comes in one of several packages.
            Engine::Mysql => Links::default(),
            Engine::Sqlite => {
                let links = client::SQLITE.link(Links::default());
                match self.connection().ok().and_then(|connection| connection.file) {
                    Some(file) => links.stands_on(Thing::Path(file), "the file it looks into"),
                    None => links,
                }
            }
        }
    }

    fn check(&self, system: &System) -> Result<Check, Failure> {
        let query = self.query.as_ref().map_or(ANY_QUERY, |query| query.0.trim());
        Ok(match client::ask(system, self.engine, &self.connection()?, query)? {
            Answer::Rows(rows) => self.judge(&rows),
            Answer::Trouble { reason, help, said } => {
                let mut waiting = Waiting { help, ..Waiting::new(reason) };
                if said.lines().count() > 1 {
                    waiting.details.push(super::Detail { title: "stderr".to_owned(), text: said });
                }
                Check::Waits(waiting)
            }
        })
    }

    fn apply(&self, system: &System, _: &Needed) -> Result<(), Failure> {
        match self.check(system)? {
            Check::Waits(waiting) => Err(waiting.into_failure()),
            _ => Ok(()),
        }
    }

    fn validate(&self) -> Vec<Invalid> {
        let mut invalid = Vec::new();
        if let Err((what, help)) = Connection::parse(self.engine, &self.connection.0) {
            invalid.push(Invalid::new("connection", what, help));
        }
        match (&self.query, &self.result) {
            (None, Some(_)) => invalid.push(Invalid::lack(
                "result",
                "`result` says what a query gives, and there is no `query`",
                "add `query`, or leave `result` out where any answer will do",
            )),
            (Some(query), _) if query.0.trim().is_empty() => {
                let help = "write it in SQL, or leave `query` out where any answer will do";
                invalid.push(Invalid::new("query", "the query is empty", help));
            }
            (Some(query), _) => {
                let own = self.engine.own_commands();
                if query.0.lines().any(|line| line.trim_start().starts_with(own)) {
                    let what =
                        format!("a line that begins with `{own}` is a command of the client, and no SQL");
                    invalid.push(Invalid::new("query", what, "write the query in SQL"));
                }
            }
            (None, None) => {}
        }
        invalid
    }

    fn is_probe(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn database(attributes: serde_json::Value) -> Database {
        let mut item = json!({"database": "it answers", "engine": "sqlite", "connection": "/a.db"});
        item.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
        let database: Database = serde_json::from_value(item).unwrap();
        assert_eq!(database, serde_json::from_str(&serde_json::to_string(&database).unwrap()).unwrap());
        database
    }

    #[test]
    fn the_first_row_is_compared_and_told() {
        let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        let wanted = database(json!({"query": "q", "result": "3|a"}));
        assert_eq!(wanted.judge(&rows(&["3|a", "x"])), Check::Holds);
        let reason = |found: &[&str]| match wanted.judge(&rows(found)) {
            Check::Waits(waiting) => (waiting.reason, waiting.details.len()),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&["4|a"]), ("the query gave `4|a`, wanted `3|a`".to_owned(), 0));
        assert_eq!(reason(&[]), ("the query gave no row, wanted `3|a`".to_owned(), 0));
        assert_eq!(reason(&["", "3|a"]), ("the query gave ``, wanted `3|a`".to_owned(), 1));
        assert_eq!(reason(&["a\nb"]).0, "the query gave `a\\nb`, wanted `3|a`");
        assert!(reason(&["x".repeat(1000).as_str()]).0.len() < 300);
        assert_eq!(database(json!({})).judge(&[]), Check::Holds);
        assert_eq!(database(json!({"query": "q", "result": ""})).judge(&rows(&[""])), Check::Holds);
    }

    #[test]
    fn what_needs_each_other_is_told_with_a_way_out() {
        for (attributes, about) in [
            (json!({}), None),
            (json!({"result": "1"}), Some("result")),
            (json!({"query": " "}), Some("query")),
            (json!({"query": ".shell reboot"}), Some("query")),
            (json!({"query": "select '\\d'"}), None),
            (
                json!({"engine": "postgres", "connection": "postgres://a@/b", "query": "select 1;\n \\! reboot"}),
                Some("query"),
            ),
            (json!({"engine": "postgres"}), Some("connection")),
            (json!({"connection": "app.db"}), Some("connection")),
        ] {
            let said = database(attributes.clone()).validate();
            assert_eq!(said.first().map(|invalid| invalid.attribute), about, "{attributes}");
        }
    }
}
