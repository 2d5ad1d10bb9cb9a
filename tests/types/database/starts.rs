//! What a database is asked, from every start: it holds or is waited for, and nothing is touched.

use serde_json::{Value, json};

use super::{MARIADB_UP, POSTGRES_DOWN, POSTGRES_UP, server};
use crate::agent::host;
use crate::table::Table;

/// Of version 42 in the table `migrations`, unless the row says otherwise.
fn declared(engine: &str, connection: &str, more: Value) -> Value {
    let mut item = json!({"database": "the schema is at version 42", "engine": engine, "connection": connection,
        "query": "select version from migrations order by version desc", "result": "42"});
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

#[test]
fn postgres_from_every_start() {
    let Some(host) = host() else { return };
    let _turn = server(&host, "postgres");
    let clear = format!(
        "pkill -xf 'sleep 31370'; rm -f /run/cvg-row.open; {POSTGRES_UP}; su postgres -c 'dropdb --if-exists -f cvg_row; dropuser --if-exists cvg_row' 2>&1"
    );
    let look = "cd /; systemctl show -p ActiveState,InvocationID 'postgresql@*'; \
        su postgres -c \"psql -Atc 'select datname, datconnlimit from pg_database; select rolname, rolpassword from pg_authid'\" 2>&1; \
        su postgres -c \"psql -At cvg_row -c 'select version, xmin from migrations'\" 2>&1; true";
    let connection = "postgres://cvg_row:sesame@127.0.0.1/cvg_row";
    let is = declared("postgres", connection, json!({}));
    let agent = host.agent();
    let mut table = Table { host: &host, agent, word: "database", declared: is, clear: &clear, look };
    let sql = |database: &str, lines: &str| {
        format!("cd /; su postgres -c 'psql -qv ON_ERROR_STOP=1 {database}' <<'E'\n{lines}\nE")
    };
    let role = sql("", "create role cvg_row login password 'sesame';");
    let empty = format!("{role}\n{}", sql("", "create database cvg_row owner cvg_row;"));
    let with = |lines: &str| {
        let made = "set role cvg_row; create table migrations (version int); reset role;";
        format!("{empty}\n{}", sql("cvg_row", &format!("{made} {lines}")))
    };
    let right = with("insert into migrations values (41), (42);");
    table.row("right", &right, &[]);
    table.waits("no such role", "true", "authentication failed for user \"cvg_row\"");
    table.waits("no such database", &role, "database \"cvg_row\" does not exist");
    table.waits(
        "a role that may not log in",
        &format!("{right}\n{}", sql("", "alter role cvg_row nologin;")),
        "is not permitted to log in",
    );
    table.waits(
        "another password",
        &format!("{right}\n{}", sql("", "alter role cvg_row password 'other';")),
        "authentication failed for user \"cvg_row\"",
    );
    table.waits(
        "a database that takes no connections",
        &format!("{right}\n{}", sql("", "alter database cvg_row allow_connections false;")),
        "not currently accepting connections",
    );
    table.waits("half made: no table", &empty, "relation \"migrations\" does not exist");
    table.waits("half made: an empty table", &with(""), "gave no row, wanted `42`");
    table.waits(
        "half made: in a transaction that nobody has ended",
        &format!(
            "{}\n(echo \"begin; insert into migrations values (42); select 'cvg' || '-open';\"; sleep 31370) | \
             setsid su postgres -c 'psql -qAt cvg_row' >/run/cvg-row.open 2>&1 & \
             until grep -q cvg-open /run/cvg-row.open; do sleep 0.1; done",
            with("insert into migrations values (41);")
        ),
        "gave `41`, wanted `42`",
    );
    table.waits("an older version", &with("insert into migrations values (41);"), "gave `41`, wanted `42`");
    table.waits(
        "a table of somebody else's",
        &format!("{right}\n{}", sql("cvg_row", "alter table migrations owner to postgres;")),
        "permission denied for table migrations",
    );
    table.waits(
        "of another kind: a column of that name is a text",
        &format!(
            "{empty}\n{}",
            sql("cvg_row", "set role cvg_row; create view migrations as select 'x' as version;")
        ),
        "gave `x`, wanted `42`",
    );
    table.waits("the server is down", &format!("{right}\n{POSTGRES_DOWN}"), "Connection refused");
    table.declared = declared("postgres", "postgres://postgres@/cvg_row", json!({}));
    table.row("right, by its socket and as another role", &right, &[]);
    table.waits("the server is down, by its socket", POSTGRES_DOWN, "No such file or directory");
    drop(table);
    host.must(POSTGRES_UP);
}

#[test]
fn mariadb_from_every_start() {
    let Some(host) = host() else { return };
    let _turn = server(&host, "mysql");
    let clear = format!(
        "{MARIADB_UP}; mysql -e \"drop database if exists cvg_row; drop user if exists cvg_row@'127.0.0.1'\""
    );
    let look = "systemctl show -p ActiveState,InvocationID mariadb; \
        mysql -e 'show databases; select user, host, authentication_string from mysql.user; checksum table cvg_row.migrations' 2>&1; true";
    let connection = "mysql://cvg_row:sesame@127.0.0.1/cvg_row";
    let is = declared("mysql", connection, json!({}));
    let agent = host.agent();
    let mut table = Table { host: &host, agent, word: "database", declared: is, clear: &clear, look };
    let sql = |lines: &str| format!("mysql <<'E'\n{lines}\nE");
    let user = "create user cvg_row@'127.0.0.1' identified by 'sesame';";
    let empty = format!(
        "{user} create database cvg_row; grant all on cvg_row.* to cvg_row@'127.0.0.1'; use cvg_row;"
    );
    let made = format!("{empty} create table migrations (version int);");
    let right = format!("{made} insert into migrations values (41), (42);");
    table.row("right", &sql(&right), &[]);
    table.waits("no such user", "true", "Access denied for user 'cvg_row'");
    table.waits("no such database", &sql(user), "Access denied for user 'cvg_row'");
    table.waits(
        "another password",
        &sql(&format!("{right} alter user cvg_row@'127.0.0.1' identified by 'other';")),
        "Access denied for user 'cvg_row'",
    );
    table.waits(
        "a locked account",
        &sql(&format!("{right} alter user cvg_row@'127.0.0.1' account lock;")),
        "this account is locked",
    );
    table.waits(
        "a database of somebody else's",
        &sql(&format!("{right} revoke all on cvg_row.* from cvg_row@'127.0.0.1';")),
        "Access denied for user 'cvg_row'",
    );
    table.waits("half made: no table", &sql(&empty), "Table 'cvg_row.migrations' doesn't exist");
    table.waits("half made: an empty table", &sql(&made), "gave no row, wanted `42`");
    table.waits(
        "an older version",
        &sql(&format!("{made} insert into migrations values (41);")),
        "gave `41`, wanted `42`",
    );
    table.waits("the server is down", &format!("{}\nsystemctl stop mariadb", sql(&right)), "Can't connect");
    table.declared = declared("mysql", "mysql:///cvg_row", json!({}));
    table.row("right, by its socket and as another user", &sql(&right), &[]);
    table.waits("no such database, by its socket", "true", "Unknown database 'cvg_row'");
    table.waits("the server is down, by its socket", "systemctl stop mariadb", "Can't connect");
    drop(table);
    host.must(MARIADB_UP);
}

#[test]
fn sqlite_from_every_start() {
    let Some(host) = host() else { return };
    let file = "/var/tmp/cvg-row/app.db";
    let clear =
        "test ! -e /run/cvg-row.pid || kill $(cat /run/cvg-row.pid); rm -rf /run/cvg-row.* /var/tmp/cvg-row";
    let look = "cd /var/tmp/cvg-row 2>&1 && stat -c '%n %F %i %U %a %Y %Z %s' . * && sha256sum * 2>&1; true";
    let is = declared("sqlite", file, json!({}));
    let agent = host.agent();
    let mut table = Table { host: &host, agent, word: "database", declared: is, clear, look };
    let made = "install -d -o www-data /var/tmp/cvg-row; cd /var/tmp/cvg-row; \
        as() { setpriv --reuid www-data --clear-groups \"$@\"; }; ";
    let with = |lines: &str| format!("{made} as sqlite3 app.db '{lines}'");
    let right = with("create table migrations (version); insert into migrations values (41), (42);");
    let at = |line: &str| format!("{right}; {line}");
    table.row("right", &right, &[]);
    table.row("right, for its owner alone", &at("chmod 600 app.db; chmod 700 ."), &[]);
    table.row("right, and read-only", &at("chmod 400 app.db"), &[]);
    table.waits("no directory", "true", "there is no /var/tmp/cvg-row/app.db");
    table.waits("absent", made, "there is no /var/tmp/cvg-row/app.db");
    table.waits("an empty file", &format!("{made} touch app.db"), "no such table: migrations");
    table.waits("half made: no table", &with("create table t (a)"), "no such table: migrations");
    table.waits(
        "half made: an empty table",
        &with("create table migrations (version)"),
        "gave no row, wanted `42`",
    );
    table.waits(
        "an older version",
        &with("create table migrations (version); insert into migrations values (41);"),
        "gave `41`, wanted `42`",
    );
    table.waits("another column", &with("create table migrations (number)"), "no such column: version");
    table.waits(
        "some text",
        &format!("{made} echo 'some text, and some more of it' > app.db"),
        "not a database",
    );
    table.waits("half a file", &at("truncate -s 2000 app.db"), "malformed");
    table.refused("a directory", &format!("{made} mkdir app.db"), "is a directory, and no database");
    table.waits("a dangling link", &format!("{made} ln -s nowhere app.db"), "app.db is a link to nothing");
    table.row("a link to what is right", &at("mv app.db real.db; ln -s real.db app.db"), &[]);
}
