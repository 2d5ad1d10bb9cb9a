//! What a `port` is named by: `8080`, `host:8080`, `[::1]:8080`, `unix:/run/x.sock`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attribute::AbsPath;

/// Where to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// This host, by its loopback addresses.
    Local(u16),
    /// A name, or an address (IPv6 without its brackets).
    Remote(String, u16),
    Unix(AbsPath),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Endpoint::Unix(path.parse()?));
        }
        if text.starts_with('/') {
            return Err(format!("`{text}` is a path: for a Unix socket write unix:{text}"));
        }
        if text.contains("://") {
            return Err(format!("`{text}` is a URL: a port is written host:8080, and `http` checks URLs"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return number(text).map(Endpoint::Local);
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(format!("`{text}`: an IPv6 address stands in brackets, as in [::1]:8080"));
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Err(format!("`{text}` has no host: write {port} for this one, or host:{port}"));
        }
        if bare.is_some() && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!(
                "`{host}` is no IPv6 address: only those stand in brackets, as in [::1]:8080"
            ));
        }
        if host.contains(|c: char| c.is_whitespace() || "/@".contains(c)) {
            return Err(format!("`{host}` is no host's name or address: write it as in host:8080"));
        }
        Ok(Endpoint::Remote(host.to_owned(), number(port)?))
    }
}

fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(0) => Err("port 0 is none that anything can listen on: ports are 1 to 65535".to_owned()),
        Ok(port) if digits => Ok(port),
        _ if digits => Err(format!("{text} is no port: ports are 1 to 65535")),
        _ => Err(format!("`{text}` is no port: write a number, as in 8080, host:8080 or unix:/run/x.sock")),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Local(port) => write!(f, "{port}"),
            Endpoint::Remote(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Remote(host, port) => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From text, or from the bare number that `port: 8080` is to YAML.
impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Endpoint;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, as in 8080, host:8080 or unix:/run/x.sock")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Endpoint, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, port: u64) -> Result<Endpoint, E> {
                self.visit_str(&port.to_string())
            }

            fn visit_i64<E: serde::de::Error>(self, port: i64) -> Result<Endpoint, E> {
                self.visit_str(&port.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

crate::attribute::described!(Endpoint, "endpoint", {
    "title": "port",
    "type": ["string", "integer"],
    "pattern": r"^\s*(0*[1-9][0-9]{0,4}|(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/@]+):0*[1-9][0-9]{0,4}|unix:/[\s\S]*)\s*$",
    "patternErrorMessage": "No port: write it as in 8080, host:8080, [::1]:8080 or unix:/run/x.sock.",
    "minimum": 1,
    "maximum": 65535
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_contract_are_read_and_written_alike() {
        for text in ["8080", "host:8080", "[::1]:8080", "10.0.0.1:22", "unix:/run/x.sock", "65535"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!(serde_json::from_str::<Endpoint>("8080").unwrap(), Endpoint::Local(8080));
        assert_eq!("unix://run//x.sock".parse::<Endpoint>().unwrap().to_string(), "unix:/run/x.sock");
    }

    #[test]
    fn what_is_no_port_says_how_to_write_one() {
        let table = [
            ("0", "ports are 1 to 65535"),
            ("70000", "ports are 1 to 65535"),
            ("host:0", "ports are 1 to 65535"),
            ("host:99999999999", "ports are 1 to 65535"),
            ("http", "write a number"),
            ("host:http", "write a number"),
            ("+80", "write a number"),
            ("-80", "write a number"),
            ("", "write a number"),
            ("host:", "write a number"),
            (":80", "has no host"),
            ("::1:80", "in brackets"),
            ("[host]:80", "only those stand in brackets"),
            ("http://host:80", "`http` checks URLs"),
            ("/run/x.sock", "write unix:/run/x.sock"),
            ("unix:run/x.sock", "no absolute path"),
            ("a b:80", "no host's name"),
        ];
        for (text, said) in table {
            let error = text.parse::<Endpoint>().expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Endpoint>("70000").is_err());
        assert!(serde_json::from_str::<Endpoint>("-1").is_err());
        assert!(serde_json::from_str::<Endpoint>("80.5").is_err());
    }
}
