//! What controller and agent say to each other: frames of JSON, each after its length. Requests
//! that are made together come in one frame, so that their host knows of all of them before it begins with the
//! first. A request has an id; replies come in any order, each in a frame of its own.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attribute::{AbsPath, CommandLine, Span};
use crate::failure::{Detail, Failure};
use crate::lock::{Holder, LockRefusal};
use crate::resource::{AnyResource, Check, Needed};
use crate::system::System;
use crate::system::facts::Facts;

/// The agent's first bytes. Whatever a login shell prints comes before them.
pub const MAGIC: &[u8] = b"\x01CONVERGE-AGENT\x02\n";

/// No frame is longer: a length beyond it is a broken stream.
pub const FRAME_CAP: usize = 256 * 1024 * 1024;

/// The most requests in one frame.
const TOGETHER: usize = 1000;

/// An empty frame: a sign of life. The controller sends it, and the agent sends it back.
pub const HEARTBEAT: [u8; 4] = [0; 4];

/// The agent's first frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub hostname: String,
    /// From /etc/machine-id: locks belong to a machine, whatever name it is reached by.
    pub machine_id: String,
    /// The user it runs as.
    pub user: String,
    /// What the spec calls `facts`.
    pub facts: Facts,
}

impl Hello {
    /// Of the machine and the process that say it.
    pub fn of_this_machine() -> Hello {
        let system = System::machine();
        let facts = Facts::gather(&system);
        let machine_id = Hello::machine_id();
        let user = system.user_name(rustix::process::geteuid().as_raw());
        Hello { hostname: facts.hostname.clone(), machine_id, user, facts }
    }

    /// Of this machine; empty where it has none.
    pub fn machine_id() -> String {
        std::fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned()
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request {
    pub id: u64,
    pub operation: Operation,
    pub timeout: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Check(AnyResource),
    /// Make these changes, then check again.
    Apply(AnyResource, Needed),
    /// What there is to show about a resource that failed.
    Explain(AnyResource, Vec<Evidence>),
    /// Take the machine's lock until the agent ends.
    Lock(Holder),
    /// The run that holds the machine's lock is over, though its agent does not know it yet: let it
    /// end. `Locked` says then that it is ending.
    EndLock(Holder),
}

/// What an item's `evidence` asks for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Evidence {
    Tail(AbsPath),
    Run(CommandLine),
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reply {
    pub id: u64,
    pub outcome: Outcome,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer to `Check`; to `Apply`, what the check after it found.
    Checked(Result<Check, Failure>),
    Explained(Vec<Detail>),
    /// Ok: the lock is ours now.
    Locked(Result<(), LockRefusal>),
}

impl Request {
    pub fn new(id: u64, operation: Operation, timeout: Duration) -> Self {
        Request { id, operation, timeout: timeout.into() }
    }
}

/// Requests that are sent together, as they go into frames: all in one, or in several where they
/// are many, so that their host can begin.
pub fn batches(mut requests: Vec<Request>) -> Vec<Vec<Request>> {
    let mut batches = Vec::new();
    while requests.len() > TOGETHER {
        let rest = requests.split_off(TOGETHER);
        batches.push(std::mem::replace(&mut requests, rest));
    }
    batches.push(requests);
    batches
}

/// The frame's bytes, length first.
pub fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let length = u32::try_from(length).ok().filter(|_| length <= FRAME_CAP);
    let length = length.ok_or_else(|| io::Error::other("the message is larger than a frame may be"))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    to.write_all(&frame(message)?)?;
    to.flush()
}

/// The next frame; None at the stream's end.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut buffer = FrameBuffer::default();
    let mut block = [0; 4];
    loop {
        let wanted = buffer.wanted();
        let mut large;
        let target = if wanted <= 4 {
            &mut block[..wanted]
        } else {
            large = vec![0; wanted.min(64 * 1024)];
            &mut large[..]
        };
        match from.read(target)? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => buffer.extend(&target[..count]),
        }
        if let Some(message) = buffer.take_frame()? {
            return Ok(Some(message));
        }
    }
}

/// Bytes as they come, taken out as frames.
#[derive(Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    taken: usize,
    heartbeats: usize,
}

impl FrameBuffer {
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    fn length(&self) -> Option<usize> {
        let head: [u8; 4] = self.bytes.get(self.taken..self.taken + 4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(head)).ok()
    }

    /// How many bytes the current frame still lacks, as far as is known.
    fn wanted(&self) -> usize {
        let have = self.bytes.len() - self.taken;
        self.length().map_or(4, |length| length.min(FRAME_CAP) + 4).saturating_sub(have).max(1)
    }

    /// How many heartbeats were among the frames since the last call.
    pub fn take_heartbeats(&mut self) -> usize {
        std::mem::take(&mut self.heartbeats)
    }

    pub fn take_frame<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        while self.length() == Some(0) {
            self.taken += HEARTBEAT.len();
            self.heartbeats += 1;
        }
        let Some(length) = self.length() else { return Ok(None) };
        if length > FRAME_CAP {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stream is not converge's"));
        }
        let start = self.taken + 4;
        let Some(body) = self.bytes.get(start..start + length) else { return Ok(None) };
        let message = serde_json::from_slice(body)?;
        self.taken = start + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let holder = Holder {
            run: "r".into(),
            user: "root".into(),
            host: "ctl".into(),
            pid: 7,
            since: "2026-01-01T00:00:00Z".into(),
            spec: "prod.yaml".into(),
            ..Holder::default()
        };
        Request::new(1, Operation::Lock(holder), Duration::from_secs(60))
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let mut bytes = frame(&request()).unwrap();
        bytes.extend(frame(&request()).unwrap());
        for size in [1, 3, 4, 5, bytes.len()] {
            let (mut buffer, mut seen) = (FrameBuffer::default(), 0);
            for piece in bytes.chunks(size) {
                buffer.extend(piece);
                while let Some(message) = buffer.take_frame::<Request>().unwrap() {
                    assert_eq!(message, request());
                    seen += 1;
                }
            }
            assert_eq!(seen, 2);
        }
        let mut stream = &bytes[..];
        assert_eq!(receive::<Request>(&mut stream).unwrap(), Some(request()));
        assert_eq!(receive::<Request>(&mut stream).unwrap(), Some(request()));
        assert_eq!(receive::<Request>(&mut stream).unwrap(), None);
        let cut = receive::<Request>(&mut &bytes[..9]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn heartbeats_are_counted_and_skipped() {
        let mut buffer = FrameBuffer::default();
        let bytes = [&HEARTBEAT[..], &frame(&request()).unwrap(), &HEARTBEAT, &HEARTBEAT].concat();
        buffer.extend(&bytes);
        assert_eq!(buffer.take_frame::<Request>().unwrap(), Some(request()));
        assert_eq!(buffer.take_frame::<Request>().unwrap(), None);
        assert_eq!((buffer.take_heartbeats(), buffer.take_heartbeats()), (3, 0));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_length_beyond_the_cap_is_an_error_and_no_allocation() {
        let mut buffer = FrameBuffer::default();
        buffer.extend(b"\xff\xff\xff\xff");
        assert!(buffer.take_frame::<Request>().is_err());
    }
}
