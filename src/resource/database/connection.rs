//! How to reach a database: read from one text, which may hold a password.

use crate::attribute::AbsPath;
use crate::resource::fetch::unescape;

use super::Engine;

/// What a connection names; what it leaves out is the client's to choose.
#[derive(Clone, Default, PartialEq)]
pub struct Connection {
    /// Of SQLite: the file, and nothing else.
    pub file: Option<AbsPath>,
    pub host: Option<String>,
    /// A Unix socket: of PostgreSQL the directory it lies in.
    pub socket: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: Option<String>,
    /// What stands after the `?` besides.
    pub more: Vec<(&'static str, String)>,
}

/// What is wrong, and the way out.
pub type Wrong = (String, &'static str);

impl Engine {
    fn schemes(self) -> &'static [&'static str] {
        match self {
            Engine::Postgres => &["postgres", "postgresql"],
            Engine::Mysql => &["mysql", "mariadb"],
            Engine::Sqlite => &["sqlite"],
        }
    }

    fn help(self) -> &'static str {
        match self {
            Engine::Postgres => {
                "write it as in postgres://user:password@host:5432/database; without a host it is the local socket: postgres://postgres@/app"
            }
            Engine::Mysql => {
                "write it as in mysql://user:password@host:3306/database; without a host it is the local socket: mysql://root@/app"
            }
            Engine::Sqlite => "write the file's absolute path, as in /var/lib/app/app.db",
        }
    }

    /// What may stand after the `?` of a URL.
    fn known(self) -> &'static [&'static str] {
        match self {
            Engine::Postgres => &["host", "sslmode", "sslrootcert"],
            Engine::Mysql => &["socket", "ssl-ca"],
            Engine::Sqlite => &[],
        }
    }
}

impl Connection {
    /// Nothing of the text is in a complaint: it may be the password.
    pub fn parse(engine: Engine, text: &str) -> Result<Connection, Wrong> {
        let wrong = |what: &str| (format!("`connection` {what}"), engine.help());
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return match (engine, text.parse()) {
                (Engine::Sqlite, Ok(path)) => Ok(Connection { file: Some(path), ..Connection::default() }),
                (Engine::Sqlite, Err(_)) => Err(wrong("is no absolute path of a file")),
                _ => Err(wrong("is no URL")),
            };
        };
        if !engine.schemes().contains(&scheme) {
            return Err(wrong(&format!("is not of the engine `{}`", engine.word())));
        }
        if engine == Engine::Sqlite {
            let path = unescape(rest).and_then(|path| path.parse().ok());
            let file = Some(path.ok_or_else(|| wrong("names no absolute path of a file"))?);
            return Ok(Connection { file, ..Connection::default() });
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, database) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
        let (login, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let plain = |text: &str| {
            let plain = unescape(text).filter(|plain| !plain.contains(['\0', '\n']));
            plain.ok_or_else(|| wrong("holds what cannot be read: `%` stands before two digits"))
        };
        let given = |text: &str| Ok((!text.is_empty()).then_some(plain(text)?));
        let mut connection = Connection { database: given(database)?, ..Connection::default() };
        if let Some(login) = login {
            let (user, password) =
                login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
            connection.user = given(user)?;
            connection.password = password.map(plain).transpose()?;
        }
        let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').or((!port.is_empty()).then_some("x"))),
            None => host.rsplit_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().ok().filter(|port| *port != 0)).map(|port| port.ok_or(()));
        connection.port =
            port.transpose().map_err(|()| wrong("names no port that there is: they are 1 to 65535"))?;
        connection.at(given(host)?);
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known = engine.known();
            let Some(name) = known.iter().find(|known| **known == name) else {
                return Err((
                    format!("after `?` only these are known here: {}", known.join(", ")),
                    "leave the others out",
                ));
            };
            match *name {
                "host" | "socket" => connection.at(given(value)?),
                other => connection.more.push((other, plain(value)?)),
            }
        }
        let options = [&connection.host, &connection.socket, &connection.user, &connection.database];
        if options.into_iter().flatten().any(|text| text.starts_with('-')) {
            return Err(wrong("holds a name that begins with `-`"));
        }
        Ok(connection)
    }

    fn at(&mut self, host: Option<String>) {
        match host {
            Some(socket) if socket.starts_with('/') => self.socket = Some(socket),
            Some(host) => self.host = Some(host),
            None => {}
        }
    }

    /// On the host itself, by a socket: then the server asks the system who is there.
    pub fn is_local(&self, engine: Engine) -> bool {
        match &self.host {
            None => true,
            // To MySQL's clients this name is the socket.
            Some(host) => engine == Engine::Mysql && host == "localhost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(engine: Engine, text: &str) -> Connection {
        Connection::parse(engine, text).unwrap()
    }

    #[test]
    fn a_connection_is_read_from_a_url() {
        let whole = of(Engine::Postgres, "postgres://me:p%40s:s@db.example:5433/app?sslmode=verify-full");
        assert_eq!(whole.user.as_deref(), Some("me"));
        assert_eq!(whole.password.as_deref(), Some("p@s:s"));
        assert_eq!((whole.host.as_deref(), whole.port), (Some("db.example"), Some(5433)));
        assert_eq!(whole.database.as_deref(), Some("app"));
        assert_eq!(whole.more, [("sslmode", "verify-full".to_owned())]);
        let local = of(Engine::Postgres, "postgresql://postgres@/app");
        assert!(local.is_local(Engine::Postgres) && local.host.is_none() && local.password.is_none());
        let socket = of(Engine::Postgres, "postgres://me@%2Frun%2Fpg/app");
        assert_eq!(socket.socket.as_deref(), Some("/run/pg"));
        assert_eq!(of(Engine::Postgres, "postgres:///app?host=/run/pg").socket.as_deref(), Some("/run/pg"));
        assert_eq!(of(Engine::Postgres, "postgres://[::1]:5/").host.as_deref(), Some("::1"));
        let mysql = of(Engine::Mysql, "mariadb://root@localhost/app?socket=/run/x.sock");
        assert!(mysql.is_local(Engine::Mysql) && mysql.socket.is_some());
        assert!(of(Engine::Mysql, "mysql://") == Connection::default());
        for text in ["/var/lib/a b.db", "sqlite:///var/lib/a%20b.db"] {
            assert_eq!(of(Engine::Sqlite, text).file.unwrap().as_str(), "/var/lib/a b.db");
        }
    }

    #[test]
    fn what_is_no_connection_says_so_without_showing_it() {
        for (engine, text) in [
            (Engine::Postgres, "host=secret dbname=app"),
            (Engine::Postgres, "mysql://secret@host/app"),
            (Engine::Postgres, "postgres://me:secret@host:port/app"),
            (Engine::Postgres, "postgres://me:secret@host:0/app"),
            (Engine::Postgres, "postgres://me:secret%@host/app"),
            (Engine::Postgres, "postgres://host/app?options=secret"),
            (Engine::Postgres, "postgres://-secret@host/app"),
            (Engine::Postgres, "postgres://[::1]5/secret"),
            (Engine::Mysql, "mysql://host/app?sslmode=secret"),
            (Engine::Mysql, "secret"),
            (Engine::Sqlite, "secret.db"),
            (Engine::Sqlite, "sqlite://secret.db"),
            (Engine::Sqlite, ""),
        ] {
            let (what, help) = Connection::parse(engine, text).err().expect(text);
            assert!(!what.contains("secret") && !help.is_empty(), "{text}: {what}");
        }
    }
}
