//! A web server on the test's host, for the types that fetch.

use crate::agent::Host;

/// Serves what lies in its directory, and much that goes wrong: see web.py.
pub struct Web<'a> {
    pub host: &'a Host,
    pub port: u16,
    /// What it serves as /plain/.
    pub directory: String,
    unit: String,
}

impl<'a> Web<'a> {
    /// Each test has a port of its own.
    pub fn start(host: &'a Host, port: u16) -> Web<'a> {
        Web::start_with(host, port, "")
    }

    /// With a certificate for localhost; its CA is ca.pem in its directory.
    pub fn start_tls(host: &'a Host, port: u16) -> Web<'a> {
        let directory = format!("/var/tmp/cvg-web-{port}");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        host.must(&format!(
            "mkdir -p {directory}; cd {directory}; exec 2>&1; set -e; \
             openssl req -x509 {key} -days 2 -subj '/CN=ca of tests' -keyout ca.key -out ca.pem; \
             openssl req -new {key} -subj /CN=localhost -keyout key.pem -out request.pem; \
             echo subjectAltName=DNS:localhost > names; \
             openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out own.pem"
        ));
        Web::start_with(host, port, &format!("{directory}/own.pem {directory}/key.pem"))
    }

    fn start_with(host: &'a Host, port: u16, more: &str) -> Web<'a> {
        let unit = format!("cvg-web-{port}");
        let web = Web { host, port, directory: format!("/var/tmp/{unit}"), unit };
        host.sh(&format!("systemctl stop {}", web.unit));
        host.put(&format!("{}/web.py", web.directory), include_bytes!("web.py"));
        host.must(&format!(
            "systemd-run -q --collect --unit={} python3 {}/web.py {port} {} {more}",
            web.unit, web.directory, web.directory
        ));
        host.must(&format!(
            "bash -c 'for i in $(seq 1200); do (: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null && exit; sleep 0.05; done; exit 1'"
        ));
        web
    }

    /// Puts a file into its directory; its sha256.
    pub fn serve(&self, name: &str, content: &[u8]) -> String {
        self.host.put(&format!("{}/{name}", self.directory), content);
        converge::attribute::sha256_hex(content)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}/{path}", self.port)
    }

    /// How many requests it has answered so far.
    pub fn requests(&self) -> usize {
        self.host
            .sh(&format!("cat {}/requests", self.directory))
            .1
            .lines()
            .filter(|line| line.starts_with('/'))
            .count()
    }
}

impl Drop for Web<'_> {
    fn drop(&mut self) {
        self.host.sh(&format!("systemctl stop {}; rm -rf {}", self.unit, self.directory));
    }
}
