//! `database` against a real PostgreSQL, MariaDB and SQLite.

mod starts;

use std::sync::{Mutex, MutexGuard, PoisonError};

use converge::resource::{Check, Waiting};
use serde_json::{Value, json};

use crate::agent::{Agent, Host, host, resource};

/// There is one server of a kind, which a test may stop: one test at a time. It begins with a server
/// that answers.
fn server(host: &Host, engine: &str) -> MutexGuard<'static, ()> {
    static POSTGRES: Mutex<()> = Mutex::new(());
    static MARIADB: Mutex<()> = Mutex::new(());
    let (turn, up) = match engine {
        "postgres" => (&POSTGRES, POSTGRES_UP),
        _ => (&MARIADB, MARIADB_UP),
    };
    let turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    host.must(up);
    turn
}

/// The server runs and answers, or its unit says why not.
const POSTGRES_UP: &str = "cd /; systemctl start postgresql postgresql@$(ls /etc/postgresql)-main; \
    until su postgres -c pg_isready >/dev/null 2>&1; do \
    systemctl is-active -q postgresql@$(ls /etc/postgresql)-main || { journalctl -n 20 -u 'postgresql@*'; exit 1; }; \
    sleep 0.1; done";
/// What Debian calls `postgresql` is stopped before its servers are.
const POSTGRES_DOWN: &str = "systemctl stop postgresql@$(ls /etc/postgresql)-main";
const MARIADB_UP: &str = "systemctl start mariadb; until mysqladmin ping >/dev/null 2>&1; do \
    systemctl is-active -q mariadb || { journalctl -n 20 -u mariadb; exit 1; }; sleep 0.1; done";

fn check(agent: &mut Agent, engine: &str, connection: &str, more: Value) -> Check {
    let mut item = json!({"database": "it answers", "engine": engine, "connection": connection});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    agent.check(&resource("database", item.clone())).unwrap_or_else(|failure| panic!("{item}: {failure:?}"))
}

/// What it waits for, and the way out.
#[track_caller]
fn waits(agent: &mut Agent, engine: &str, connection: &str, more: Value, words: &str) -> Waiting {
    match check(agent, engine, connection, more) {
        Check::Waits(waiting) => {
            assert!(waiting.reason.contains(words), "it says {:?}, and not {words:?}", waiting.reason);
            assert!(!waiting.passing && !waiting.reason.contains('\n'), "{waiting:?}");
            waiting
        }
        other => panic!("it does not wait: {other:?}"),
    }
}

fn sql(host: &Host, client: &str, lines: &str) {
    host.must(&format!("cd /; {client} <<'E'\n{lines}\nE"));
}

/// Nothing that only looks may write, and nothing secret is on a command line.
fn looks_only(agent: &mut Agent, engine: &str, connection: &str, writes: &[&str]) {
    for query in writes {
        let waiting = waits(agent, engine, connection, json!({"query": query}), "");
        assert!(
            waiting.help.as_ref().is_some_and(|help| help.contains("a check changes nothing")),
            "{query}: {waiting:?}"
        );
    }
}

#[test]
fn postgres_is_asked_read_only_by_socket_and_by_network() {
    let Some(host) = host() else { return };
    let _turn = server(&host, "postgres");
    sql(
        &host,
        "su postgres -c psql",
        "drop database if exists cvg_app; drop role if exists cvg_me;
        create role cvg_me login password 'sécret:@/'; create database cvg_app owner cvg_me;",
    );
    let mut agent = host.agent();
    let local = "postgres://postgres@/cvg_app";
    let net = "postgres://cvg_me:s%C3%A9cret%3A%40%2F@127.0.0.1:5432/cvg_app";
    sql(
        &host,
        "su postgres -c 'psql cvg_app'",
        "create table t (a int, b text, c bool); insert into t values (1, 'one', true), (2, null, false); grant all on t to cvg_me;",
    );
    for connection in [
        local,
        net,
        "postgresql://postgres@%2Fvar%2Frun%2Fpostgresql/cvg_app",
        "postgres://postgres@/cvg_app?host=/var/run/postgresql",
    ] {
        for (query, result) in [
            (None, None),
            (Some("select count(*) from t"), Some("2")),
            (Some("select * from t order by a;"), Some("1|one|t")),
            (Some("select * from t order by a desc -- the last one"), Some("2||f")),
            (Some("select E'two\\nlines'"), Some("two\nlines")),
            (Some("select null"), Some("")),
            (Some("select 1 where false"), None),
        ] {
            let more = json!({"query": query, "result": result});
            assert_eq!(
                check(&mut agent, "postgres", connection, more),
                Check::Holds,
                "{connection} {query:?}"
            );
        }
        looks_only(
            &mut agent,
            "postgres",
            connection,
            &[
                "insert into t values (3)",
                "create table u (a int)",
                "delete from t",
                "select 1; drop table t",
            ],
        );
    }
    let rows = waits(
        &mut agent,
        "postgres",
        local,
        json!({"query": "select a from t order by a", "result": "2"}),
        "the query gave `1`, wanted `2`",
    );
    assert_eq!(rows.details[0].text, "`1`\n`2`");
    waits(
        &mut agent,
        "postgres",
        local,
        json!({"query": "select 1 where false", "result": "1"}),
        "the query gave no row, wanted `1`",
    );
    waits(
        &mut agent,
        "postgres",
        local,
        json!({"query": "select * from none"}),
        "psql: ERROR: relation \"none\" does not exist",
    );
    waits(&mut agent, "postgres", local, json!({"query": "selec"}), "syntax error");
    waits(
        &mut agent,
        "postgres",
        "postgres://postgres@/cvg_none",
        json!({}),
        "database \"cvg_none\" does not exist",
    );
    let role =
        waits(&mut agent, "postgres", "postgres:///cvg_app", json!({}), "role \"root\" does not exist");
    assert!(role.help.unwrap().contains("postgres://postgres@/app"));
    let refused =
        waits(&mut agent, "postgres", "postgres://me@127.0.0.1:1/a", json!({}), "Connection refused");
    assert!(refused.help.unwrap().contains("is the server running"));
    let wrong = waits(
        &mut agent,
        "postgres",
        "postgres://cvg_me:wrong@127.0.0.1/cvg_app",
        json!({}),
        "authentication failed",
    );
    assert!(wrong.help.unwrap().contains("correct user and password"));
    waits(&mut agent, "postgres", "postgres://cvg_me@127.0.0.1/cvg_app", json!({}), "no password supplied");
    waits(
        &mut agent,
        "postgres",
        "postgres://me@no-such-host.invalid/a",
        json!({}),
        "could not translate host name",
    );
    // A query that hangs is ended, on the server too.
    agent.timeout = std::time::Duration::from_secs(3);
    let asked = resource(
        "database",
        json!({"database": "x", "engine": "postgres", "connection": local, "query": "select pg_sleep(60) /* cvg */"}),
    );
    let ended = format!("{:?}", agent.check(&asked));
    assert!(
        ended.contains("statement timeout") || ended.contains("did not end within its timeout"),
        "{ended}"
    );
    let left = "select count(*) from pg_stat_activity where query like '%pg_sleep(60) /* cvg%' and pid <> pg_backend_pid() and state = 'active'";
    host.must(&format!("cd /; for i in $(seq 600); do test \"$(su postgres -c \"psql -Atc \\\"{left}\\\"\")\" = 0 && exit; sleep 0.1; done; exit 1"));
    sql(&host, "su postgres -c psql", "drop database cvg_app; drop role cvg_me;");
}

#[test]
fn mariadb_is_asked_read_only_by_socket_and_by_network() {
    let Some(host) = host() else { return };
    let _turn = server(&host, "mysql");
    sql(&host, "mysql", "create or replace database cvg_app; create or replace user cvg_me@'127.0.0.1' identified by 'sécret:@/'; grant all on cvg_app.* to cvg_me@'127.0.0.1';
        use cvg_app; create table t (a int, b text); insert into t values (1, 'one'), (2, null), (3, 'tab\tand\\nline');");
    let mut agent = host.agent();
    let net = "mysql://cvg_me:s%C3%A9cret%3A%40%2F@127.0.0.1:3306/cvg_app";
    for connection in [
        "mysql:///cvg_app",
        "mariadb://root@localhost/cvg_app",
        net,
        "mysql:///cvg_app?socket=/run/mysqld/mysqld.sock",
    ] {
        for (query, result) in [
            (None, None),
            (Some("select count(*) from t"), Some("3")),
            (Some("select * from t order by a;"), Some("1|one")),
            (Some("select * from t where a = 2 -- the second"), Some("2|NULL")),
            (Some("select b from t where a = 3"), Some("tab\tand\nline")),
            (Some("show tables"), Some("t")),
        ] {
            let more = json!({"query": query, "result": result});
            assert_eq!(check(&mut agent, "mysql", connection, more), Check::Holds, "{connection} {query:?}");
        }
        looks_only(
            &mut agent,
            "mysql",
            connection,
            &["insert into t values (4, 'x')", "create table u (a int)", "drop table t"],
        );
    }
    waits(
        &mut agent,
        "mysql",
        net,
        json!({"query": "select 1 from none"}),
        "Table 'cvg_app.none' doesn't exist",
    );
    waits(&mut agent, "mysql", "mysql:///cvg_none", json!({}), "Unknown database 'cvg_none'");
    waits(
        &mut agent,
        "mysql",
        "mysql://me@127.0.0.1:1/a",
        json!({}),
        "Can't connect to server on '127.0.0.1'",
    );
    let wrong =
        waits(&mut agent, "mysql", "mysql://cvg_me:wrong@127.0.0.1/cvg_app", json!({}), "Access denied");
    assert!(wrong.help.unwrap().contains("correct user and password"));
    waits(
        &mut agent,
        "mysql",
        "mysql:///a?socket=/run/none.sock",
        json!({}),
        "Can't connect to local server",
    );
    sql(&host, "mysql", "drop database cvg_app; drop user cvg_me@'127.0.0.1';");
}

#[test]
fn sqlite_is_read_as_its_owner_and_nothing_is_left_beside_the_file() {
    let Some(host) = host() else { return };
    let mut agent = host.agent();
    let (directory, file) = ("/var/tmp/cvg-sqlite", "/var/tmp/cvg-sqlite/a b.db");
    for mode in ["delete", "wal"] {
        host.must(&format!("rm -rf {directory}; install -d -o www-data {directory}"));
        let line = format!(
            "pragma journal_mode={mode}; create table t (a, b); insert into t values (1, null), (2, 'two'), (3, 'a' || char(10) || 'b');"
        );
        host.must(&format!("setpriv --reuid www-data --clear-groups sqlite3 '{file}' \"{line}\""));
        let look = || host.must(&format!("cd {directory}; stat -c '%n %U %a %Y %Z %s' *; sha256sum *"));
        let was = look();
        for connection in [file.to_owned(), "sqlite:///var/tmp/cvg-sqlite/a%20b.db".to_owned()] {
            for (query, result) in [
                (None, None),
                (Some("select count(*) from t"), Some("3")),
                (Some("select * from t;"), Some("1|")),
                (Some("select b from t where a = 3 -- two lines"), Some("a\nb")),
                (Some("pragma journal_mode"), Some(mode)),
            ] {
                let more = json!({"query": query, "result": result});
                let found = check(&mut agent, "sqlite", &connection, more);
                // Of what nobody may change the engine says `delete`.
                assert!(
                    found == Check::Holds || query == Some("pragma journal_mode"),
                    "{mode} {query:?}: {found:?}"
                );
            }
            looks_only(
                &mut agent,
                "sqlite",
                &connection,
                &["insert into t values (4, 4)", "create table u (a)", "drop table t"],
            );
        }
        assert_eq!(look(), was, "{mode}");
    }
    // While the application has it open, what is in its log counts.
    host.must(&format!(
        "rm -f /run/cvg-sqlite.said; cd {directory}; (echo 'insert into t values (4, 4); select 7;'; sleep 80) | \
         setpriv --reuid www-data --clear-groups sqlite3 'a b.db' >/run/cvg-sqlite.said 2>&1 & \
         echo $! > /run/cvg-sqlite.pid; \
         for i in $(seq 1200); do grep -q 7 /run/cvg-sqlite.said && exit; sleep 0.05; done; cat /run/cvg-sqlite.said; exit 1"
    ));
    assert_eq!(
        check(&mut agent, "sqlite", file, json!({"query": "select count(*) from t", "result": "4"})),
        Check::Holds
    );
    assert_eq!(host.must(&format!("stat -c %U {directory}/* | sort -u")), "www-data\n");
    waits(
        &mut agent,
        "sqlite",
        "/var/tmp/cvg-sqlite/none.db",
        json!({}),
        "there is no /var/tmp/cvg-sqlite/none.db",
    );
    waits(&mut agent, "sqlite", file, json!({"query": "select * from none"}), "no such table: none");
    host.must(&format!("echo 'some text, and some more of it' > {directory}/text"));
    waits(
        &mut agent,
        "sqlite",
        "/var/tmp/cvg-sqlite/text",
        json!({"query": "select * from t"}),
        "file is not a database",
    );
    assert_eq!(host.sh(&format!("ls {directory}/none.db")).0, 2);
    host.sh(&format!("kill $(cat /run/cvg-sqlite.pid); rm -rf {directory} /run/cvg-sqlite.pid"));
}

#[test]
fn a_missing_client_is_named_with_the_package_that_has_it() {
    let Some(host) = host() else { return };
    let hide =
        "for i in psql mysql mariadb sqlite3; do mount --bind /dev/null $(readlink -f /usr/bin/$i); done";
    let mut agent = host.agent_with(&format!("exec unshare -m sh -c '{hide}; exec \"$0\"'"));
    for (engine, connection, program, package) in [
        ("postgres", "postgres:///a", "psql", "postgresql-client"),
        ("mysql", "mysql:///a", "mysql", "mariadb-client"),
        ("sqlite", "/a.db", "sqlite3", "sqlite3"),
    ] {
        let asked =
            resource("database", json!({"database": "x", "engine": engine, "connection": connection}));
        let failure = agent.check(&asked).unwrap_err();
        assert_eq!(failure.reason, format!("`{program}` is not installed here"));
        assert!(failure.help.unwrap().contains(&format!("- package: {package}`")));
    }
}

#[test]
fn a_password_of_a_database_is_on_no_command_line() {
    let Some(host) = host() else { return };
    // Programs that write down how they were called.
    let place = "/var/tmp/cvg-database-bin";
    host.must(&format!("mkdir -p {place}; printf '#!/bin/sh\\necho \"$0 $*\" >> {place}/log; cat > /dev/null\\n' > {place}/psql; cp {place}/psql {place}/mysql; chmod 755 {place}/*"));
    let mut agent = host.agent_with(&format!("PATH={place}:/usr/bin:/bin"));
    for (engine, scheme) in [("postgres", "postgres"), ("mysql", "mysql")] {
        let connection = format!("{scheme}://me:sesame@db.example/app");
        let more = json!({"query": "select 'sesame'", "result": "sesame"});
        waits(&mut agent, engine, &connection, more, "the query gave no row");
    }
    let log = host.must(&format!("cat {place}/log; rm -r {place}"));
    assert!(
        log.contains("psql --no-psqlrc") && log.contains("--host=db.example") && !log.contains("sesame"),
        "{log}"
    );
}
