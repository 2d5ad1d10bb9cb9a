//! `package` with the real apt, dpkg and a package archive of the tests' own.

mod index;
mod odd;
mod others;
mod plan;
mod starts;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;

use crate::agent::{Host, host};
use crate::table::Table;

const REPO: &str = include_str!("repo.sh");

/// No package of the tests is there, none on hold or pinned, and the index is new.
const CLEAR: &str = "rm -f /run/cvg-fail /run/cvg-hang /run/cvg-kill-dpkg /run/cvg-held /run/cvg-spoken /etc/apt/preferences.d/cvg; \
    names=$(dpkg-query -W -f='${binary:Package} ' 'cvg-*' 2>/dev/null); \
    for name in $names; do echo $name deinstall; done | dpkg --set-selections; \
    [ -z \"$names\" ] || dpkg --purge --force-all $names; \
    rm -rf /var/lib/dpkg/updates/* /etc/cvg-* /etc/of-cvg; touch /var/lib/apt/lists";

/// What there is, and when dpkg last changed anything.
const LOOK: &str = "dpkg-query -W -f='${binary:Package} ${Version} ${Status}\\n' 'cvg-*' 2>&1; \
    stat -c '%n %Y %Z' /var/lib/dpkg/status /var/lib/apt/lists; cat /etc/cvg-*/conf 2>&1; true";

/// The host, and apt on it: one test at a time, since there is one dpkg.
pub struct Place {
    pub host: Host,
    _turn: MutexGuard<'static, ()>,
}

pub fn place() -> Option<Place> {
    static TURN: Mutex<()> = Mutex::new(());
    static MADE: OnceLock<()> = OnceLock::new();
    let host = host()?;
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    MADE.get_or_init(|| {
        host.put("/root/cvg-repo.sh", REPO.as_bytes());
        let made_from = converge::attribute::sha256_hex(REPO.as_bytes());
        host.must(&format!("bash /root/cvg-repo.sh {made_from}"));
    });
    host.sh(CLEAR);
    Some(Place { host, _turn: turn })
}

impl Place {
    fn table(&self, declared: Value) -> Table<'_> {
        let (agent, word) = (self.host.agent(), "package");
        Table { host: &self.host, agent, word, declared, clear: CLEAR, look: LOOK }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.host.sh(CLEAR);
    }
}

/// A line that installs with dpkg, without a question. apt sees a change of dpkg's database by its size
/// and the second of its time, so that two in one second may be one to it: its cache goes.
fn dpkg(arguments: &str) -> String {
    format!(
        "rm -f /var/cache/apt/pkgcache.bin; cd /srv/cvg-repo; \
         DEBIAN_FRONTEND=noninteractive dpkg {arguments} >/dev/null"
    )
}

fn install(files: &str) -> String {
    dpkg(&format!("-i --force-confdef --force-confold {files}"))
}
