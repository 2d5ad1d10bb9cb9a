//! Asking a database by its own command-line client, on the host: read-only, without a prompt, and
//! with nothing that may be secret on a command line.

use std::io::Read;

use super::Engine;
use super::connection::Connection;
use crate::attribute::AbsPath;
use crate::resource::Failure;
use crate::resource::tool::Tool;
use crate::system::System;
use crate::system::commands::{Invocation, Output};
use crate::system::files::{Kind, Seen};
use crate::system::users::Account;

pub const PSQL: Tool = Tool("psql");
const MYSQL: Tool = Tool("mysql");
/// By its newer name.
const MARIADB: Tool = Tool("mariadb");
pub const SQLITE: Tool = Tool("sqlite3");

/// What a client would take from the environment, and is to take from the connection alone.
const PG_VARIABLES: [&str; 14] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSERVICE",
    "PGOPTIONS",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGAPPNAME",
    "PGCLIENTENCODING",
    "PGTARGETSESSIONATTRS",
    "PGDATESTYLE",
];
const MYSQL_VARIABLES: [&str; 4] = ["MYSQL_HOST", "MYSQL_PWD", "MYSQL_TCP_PORT", "MYSQL_UNIX_PORT"];

/// What came of a query.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The rows, columns joined by `|`.
    Rows(Vec<String>),
    /// There was none: what the client said.
    Trouble { reason: String, help: Option<String>, said: String },
}

/// Asks, within the operation's time.
pub fn ask(system: &System, engine: Engine, connection: &Connection, query: &str) -> Result<Answer, Failure> {
    match engine {
        Engine::Postgres => postgres(system, connection, query),
        Engine::Mysql => mysql(system, connection, query),
        Engine::Sqlite => sqlite(system, connection, query),
    }
}

fn postgres(system: &System, connection: &Connection, query: &str) -> Result<Answer, Failure> {
    must_be_there(system, PSQL)?;
    let argv = [
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--no-align",
        "--tuples-only",
        "--record-separator-zero",
        "--no-password",
    ];
    let argv = argv.into_iter().chain(["--field-separator=|", "--set=ON_ERROR_STOP=1"]);
    let mut invocation = Invocation::new(argv).env("PGAPPNAME", "converge").env("PGCONNECT_TIMEOUT", "10");
    for name in PG_VARIABLES {
        invocation = invocation.unset(name);
    }
    let port = connection.port.map(|port| port.to_string());
    let host = connection.socket.as_ref().or(connection.host.as_ref());
    for (name, value) in [
        ("PGHOST", host),
        ("PGPORT", port.as_ref()),
        ("PGUSER", connection.user.as_ref()),
        ("PGPASSWORD", connection.password.as_ref()),
        ("PGDATABASE", connection.database.as_ref()),
    ] {
        if let Some(value) = value {
            invocation = invocation.env(name, value);
        }
    }
    for (name, value) in &connection.more {
        invocation = invocation.env(format!("PG{}", name.to_uppercase()), value);
    }
    // A client that is killed leaves its query running: the server has to end it by itself.
    let limit = system.time_left().as_millis().max(1);
    let script = format!("BEGIN READ ONLY;\nSET LOCAL statement_timeout = {limit};\n{query}\n;\nROLLBACK;\n");
    let output = run(system, Engine::Postgres, connection, invocation.stdin(script))?;
    if !output.succeeded() {
        return Ok(trouble(Engine::Postgres, &output));
    }
    let rows = output.stdout.split_terminator('\0');
    Ok(Answer::Rows(rows.map(str::to_owned).collect()))
}

fn mysql(system: &System, connection: &Connection, query: &str) -> Result<Answer, Failure> {
    let tool = if MYSQL.is_missing(system) && !MARIADB.is_missing(system) { MARIADB } else { MYSQL };
    must_be_there(system, tool)?;
    let mut argv: Vec<String> =
        [tool.0, "--batch", "--skip-column-names", "--connect-timeout=10"].map(str::to_owned).to_vec();
    let port = connection.port.map(|port| port.to_string());
    for (option, value) in [
        ("host", connection.host.as_ref()),
        ("port", port.as_ref()),
        ("socket", connection.socket.as_ref()),
        ("user", connection.user.as_ref()),
        ("database", connection.database.as_ref()),
    ] {
        argv.extend(value.map(|value| format!("--{option}={value}")));
    }
    argv.extend(connection.more.iter().map(|(name, value)| format!("--{name}={value}")));
    let mut invocation = Invocation::new(argv);
    for name in MYSQL_VARIABLES {
        invocation = invocation.unset(name);
    }
    if let Some(password) = &connection.password {
        invocation = invocation.env("MYSQL_PWD", password);
    }
    // Without the first, what makes and drops tables would end the transaction, and be done.
    let script = format!("SET SESSION TRANSACTION READ ONLY;\nSTART TRANSACTION;\n{query}\n;\nROLLBACK;\n");
    let output = run(system, Engine::Mysql, connection, invocation.stdin(script))?;
    if !output.succeeded() {
        return Ok(trouble(Engine::Mysql, &output));
    }
    Ok(Answer::Rows(output.stdout.lines().map(of_batch).collect()))
}

/// A row as `--batch` prints it: columns between tabs, and what would break a line escaped.
fn of_batch(line: &str) -> String {
    let (mut row, mut letters) = (String::with_capacity(line.len()), line.chars());
    while let Some(letter) = letters.next() {
        row.push(match letter {
            '\t' => '|',
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    row
}

fn sqlite(system: &System, connection: &Connection, query: &str) -> Result<Answer, Failure> {
    must_be_there(system, SQLITE)?;
    let Some(file) = &connection.file else { return Err(Failure::new("the connection names no file")) };
    let absent = match system.see(file)? {
        Seen::There(there) if there.kind == Kind::File => None,
        Seen::There(there) if there.kind == Kind::Symlink => {
            is_dangling(system, file).then(|| format!("{file} is a link to nothing"))
        }
        Seen::There(there) => return Err(Failure::new(format!("{file} is {}, and no database", there.kind))),
        Seen::Absent | Seen::NoParent(_) => Some(format!("there is no {file}")),
    };
    if let Some(reason) = absent {
        let help = "it is made by the application, or by a `command`: what makes it comes first".to_owned();
        return Ok(Answer::Trouble { reason, help: Some(help), said: String::new() });
    }
    let name = match is_closed_wal(system, file)? {
        true => format!("file:{}?immutable=1", escaped(&system.locate(file).display().to_string())),
        false => system.locate(file).display().to_string(),
    };
    let invocation = Invocation::new([
        "sqlite3",
        "-batch",
        "-bail",
        "-readonly",
        "-init",
        "/dev/null",
        "-noheader",
        "-ascii",
        &name,
    ]);
    // Somebody may be writing: then it waits, but not longer than the operation may take.
    let patience = (system.time_left() / 2).as_millis().min(10_000);
    let script = format!(".timeout {patience}\n{query}\n;\n");
    let output = run(system, Engine::Sqlite, connection, invocation.stdin(script))?;
    if !output.succeeded() {
        return Ok(trouble(Engine::Sqlite, &output));
    }
    let rows = output.stdout.split_terminator('\u{1e}');
    Ok(Answer::Rows(rows.map(|row| row.replace('\u{1f}', "|")).collect()))
}

fn is_dangling(system: &System, link: &AbsPath) -> bool {
    let behind = std::fs::metadata(system.locate(link));
    behind.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// A database with a write-ahead log that nobody has open: to look into it, sqlite would make its files
/// for the log, and leave them there. (The file format of SQLite, section 1.3.)
fn is_closed_wal(system: &System, file: &AbsPath) -> Result<bool, Failure> {
    let told = |error: std::io::Error| Failure::io(format!("reading {file}"), &error);
    let mut head = Vec::new();
    let opened = std::fs::File::open(system.locate(file)).map_err(told)?;
    opened.take(20).read_to_end(&mut head).map_err(told)?;
    let log = format!("{}-wal", system.locate(file).display());
    Ok(head.get(18..20) == Some(&[2, 2]) && !std::path::Path::new(&log).exists())
}

/// As a path stands in a URL.
fn escaped(path: &str) -> String {
    let letter = |byte: u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    path.bytes().map(letter).collect()
}

fn must_be_there(system: &System, tool: Tool) -> Result<(), Failure> {
    tool.missing(system).map_or(Ok(()), Err)
}

fn run(
    system: &System,
    engine: Engine,
    connection: &Connection,
    invocation: Invocation,
) -> Result<Output, Failure> {
    let account = account(system, engine, connection)?;
    let invocation = invocation.directory("/");
    system.run(&match account {
        Some(account) => invocation.user(account),
        None => invocation,
    })
}

/// Who asks. Root becomes whom the socket wants to see (the login of the same name, where there is
/// one), or whose file it is: what a client makes beside a file then belongs to its owner.
fn account(system: &System, engine: Engine, connection: &Connection) -> Result<Option<Account>, Failure> {
    let me = rustix::process::geteuid().as_raw();
    let of_uid = |uid: u32| system.account(&system.user_name(uid));
    if me != 0 {
        return of_uid(me);
    }
    if let Some(file) = &connection.file {
        let owner = std::fs::metadata(system.locate(file)).ok();
        let owner = owner.map(|meta| std::os::unix::fs::MetadataExt::uid(&meta));
        return of_uid(owner.unwrap_or(me));
    }
    if let Some(user) = connection.user.as_ref().filter(|_| connection.is_local(engine))
        && let Some(account) = system.account(user)?
    {
        return Ok(Some(account));
    }
    of_uid(me)
}

fn trouble(engine: Engine, output: &Output) -> Answer {
    let said = output.stderr.trim();
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_of_it =
        |line: &&str| ["ERROR", "FATAL", "rror:", "rror near"].iter().any(|word| line.contains(word));
    let line = lines().find(is_of_it).or_else(|| lines().next()).unwrap_or_default();
    let line = line.strip_prefix("psql: error: ").unwrap_or(line);
    // `psql:<stdin>:3: ERROR:  …`: the line of a script that nobody has seen.
    let line = line
        .strip_prefix("psql:<stdin>:")
        .and_then(|rest| rest.split_once(": "))
        .map_or(line, |(_, rest)| rest);
    let reason = match line {
        "" => format!("{}: {}", engine.client(), output.ending()),
        line => format!("{}: {}", engine.client(), line.replace(":  ", ": ")),
    };
    Answer::Trouble { help: way_out(engine, said), reason, said: said.to_owned() }
}

fn way_out(engine: Engine, said: &str) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    let as_login = "over the local socket the server asks the system who is there: root asks as the login that the connection names, as in postgres://postgres@/app";
    Some(if says(&["read-only transaction", "READ ONLY transaction", "readonly database"]) {
        "a check changes nothing: what changes a database is a `command`".to_owned()
    } else if says(&["Connection refused", "No such file or directory", "Can't connect", "could not connect"])
    {
        "is the server running, and does it listen there? `depends_on` its unit, and give it a `wait`"
            .to_owned()
    } else if says(&["role \"", "Peer authentication failed"]) && engine == Engine::Postgres {
        as_login.to_owned()
    } else if says(&["authentication failed", "no password supplied", "Access denied"]) {
        "correct user and password in `connection`, as in postgres://user:{{ secrets.db }}@host/app"
            .to_owned()
    } else if says(&["timeout expired", "statement timeout"]) {
        "if it may take longer, give the resource a longer `timeout`".to_owned()
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn reason(engine: Engine, stderr: &str) -> (String, bool) {
        let status = std::process::ExitStatus::from_raw(2 << 8);
        let output = Output { status, stdout: String::new(), stderr: stderr.to_owned() };
        match trouble(engine, &output) {
            Answer::Trouble { reason, help, .. } => (reason, help.is_some()),
            Answer::Rows(rows) => panic!("{rows:?}"),
        }
    }

    #[test]
    fn what_a_client_says_is_told_in_one_line() {
        use Engine::{Mysql, Postgres, Sqlite};
        // As PostgreSQL 15, MariaDB 10.11 and SQLite 3.40 were seen to say it.
        for (engine, stderr, told, has_help) in [
            (
                Postgres,
                "psql: error: connection to server at \"127.0.0.1\", port 1 failed: Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?\n",
                "psql: connection to server at \"127.0.0.1\", port 1 failed: Connection refused",
                true,
            ),
            (
                Postgres,
                "psql: error: connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: FATAL:  role \"root\" does not exist\n",
                "psql: connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: FATAL: role \"root\" does not exist",
                true,
            ),
            (
                Postgres,
                "psql:<stdin>:3: ERROR:  relation \"x\" does not exist\nLINE 1: select * from x\n",
                "psql: ERROR: relation \"x\" does not exist",
                false,
            ),
            (
                Mysql,
                "--------------\nselect * from nodb.x\n--------------\n\nERROR 1146 (42S02) at line 1: Table 'nodb.x' doesn't exist\n",
                "mysql: ERROR 1146 (42S02) at line 1: Table 'nodb.x' doesn't exist",
                false,
            ),
            (
                Mysql,
                "ERROR 1045 (28000): Access denied for user 'nobody'@'localhost' (using password: YES)\n",
                "mysql: ERROR 1045 (28000): Access denied for user 'nobody'@'localhost' (using password: YES)",
                true,
            ),
            (
                Sqlite,
                "Runtime error near line 1: attempt to write a readonly database (8)\n",
                "sqlite3: Runtime error near line 1: attempt to write a readonly database (8)",
                true,
            ),
            (Sqlite, "", "sqlite3: exit 2", false),
        ] {
            assert_eq!(reason(engine, stderr), (told.to_owned(), has_help));
        }
    }

    #[test]
    fn rows_of_mysql_are_read_with_their_escapes() {
        for (line, row) in
            [("1\tNULL\ta\\nb\tx\\ty", "1|NULL|a\nb|x\ty"), ("a\\\\n", "a\\n"), ("", ""), ("\t", "|")]
        {
            assert_eq!(of_batch(line), row);
        }
        assert_eq!(escaped("/a b/c?d"), "/a%20b/c%3fd");
    }
}
