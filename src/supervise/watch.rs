//! The supervisor itself: starts the command, attends to it until it has ended, and starts it
//! again where its policy says so. One thread does all that; signals and probes come as events.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::child::{Child, Job};
use super::health::{Answer, Probe, Pulse};
use super::policy::{Ending, History, Next, Policy};
use crate::attribute::Span;
use crate::system::commands::signal_name;

/// Between two looks at what is being ended: nobody is told when the last of a group goes.
const GLANCE: Duration = Duration::from_millis(20);

/// What does not even go by SIGKILL (it hangs in the kernel, or is a zombie of somebody else's)
/// is waited for no longer than this.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// All that a supervisor is told to do.
pub struct Orders {
    pub job: Job,
    pub policy: Policy,
    /// How long the command may take to end when it is asked to.
    pub grace: Duration,
    pub probe: Option<Probe>,
    /// A command that cannot even be started the first time is a mistake, and told as one; else it
    /// is a failure like others, and tried again.
    pub must_start: bool,
}

/// How far the command is.
#[derive(Clone, PartialEq, Debug)]
pub enum Phase {
    Running {
        pid: u32,
    },
    /// It ended so, and is started again after this.
    Waiting {
        ending: Ending,
        after: Duration,
    },
    /// It is being ended, for good or to be started again.
    Ending {
        pid: u32,
    },
    GaveUp {
        ending: Ending,
    },
    Done {
        ending: Option<Ending>,
    },
}

/// Whoever wants to know: what is told on standard error, what is noted for others.
pub trait Witness {
    fn say(&mut self, what: &str);

    fn phase(&mut self, _phase: &Phase, _restarts: u32) {}

    /// Called now and then: there may be a log that has grown too long.
    fn tick(&mut self) {}

    /// How often that is wanted.
    fn tick_every(&self) -> Option<Duration> {
        None
    }
}

enum Event {
    Signal(i32),
    Probe(Answer),
}

/// How one start ended, and whether the supervisor was asked to end meanwhile.
struct Attended {
    ending: Ending,
    is_last: bool,
}

pub struct Supervisor<'a> {
    orders: Orders,
    witness: &'a mut dyn Witness,
    events: Receiver<Event>,
    history: History,
    restarts: u32,
}

impl<'a> Supervisor<'a> {
    /// From now on signals are events, and the probe is asked.
    pub fn new(orders: Orders, witness: &'a mut dyn Witness) -> io::Result<Supervisor<'a>> {
        let (tell, events) = channel();
        listen(tell.clone())?;
        if let Some(probe) = &orders.probe {
            probe.start(move |answer| tell.send(Event::Probe(answer)).is_ok());
        }
        Ok(Supervisor { orders, witness, events, history: History::default(), restarts: 0 })
    }

    /// Until the command has ended for good. The exit code: the command's own, as a shell tells it.
    pub fn run(mut self) -> u8 {
        loop {
            let begun = Instant::now();
            let attended = match self.orders.job.start() {
                Ok(child) => self.attend(child),
                Err(ending) => Attended { ending, is_last: false },
            };
            let Attended { ending, is_last } = attended;
            self.witness.say(&format!("it {ending}"));
            let is_mistake =
                self.orders.must_start && self.restarts == 0 && matches!(ending, Ending::NotStarted { .. });
            if is_last || is_mistake {
                return self.done(ending);
            }
            let ran = begun.elapsed();
            match self.history.next(&self.orders.policy, &ending, ran, Instant::now()) {
                Next::Done => return self.done(ending),
                Next::GiveUp(limit) => {
                    self.witness.say(&format!("given up after {limit}"));
                    self.witness.phase(&Phase::GaveUp { ending: ending.clone() }, self.restarts);
                    return ending.code();
                }
                Next::Again { after, ordinal } => {
                    self.witness.say(&format!("started again in {} (restart {ordinal})", Span::from(after)));
                    self.witness.phase(&Phase::Waiting { ending, after }, self.restarts);
                    if let Some(signal) = self.pause(after) {
                        self.witness.say(&format!("{} came: it is not started again", signal_name(signal)));
                        self.witness.phase(&Phase::Done { ending: None }, self.restarts);
                        return u8::try_from(128 + signal).unwrap_or(1);
                    }
                    self.restarts = ordinal;
                }
            }
        }
    }

    fn done(&mut self, ending: Ending) -> u8 {
        let code = ending.code();
        self.witness.phase(&Phase::Done { ending: Some(ending) }, self.restarts);
        code
    }

    /// Waits before the next start. A signal that asks for the end is the end.
    fn pause(&mut self, pause: Duration) -> Option<i32> {
        let end = Instant::now() + pause;
        loop {
            match self.next_event(Some(end)) {
                Some(Event::Signal(signal @ (SIGTERM | SIGINT | SIGQUIT))) => return Some(signal),
                Some(_) => {}
                None if Instant::now() >= end => return None,
                None => {}
            }
        }
    }

    /// Until the command, and all that it left in its process group, has ended.
    fn attend(&mut self, child: Child) -> Attended {
        let pid = child.pid();
        self.witness.say(&format!("started (pid {pid})"));
        self.witness.phase(&Phase::Running { pid }, self.restarts);
        let (begun, mut pulse) = (Instant::now(), Pulse::default());
        let (mut ended, mut asked_by, mut unhealthy) = (None, None, None);
        let mut end: Option<Farewell> = None;
        loop {
            ended = ended.or(child.reap());
            if let Some(ending) = &ended {
                if !child.has_group() || end.as_ref().is_some_and(Farewell::is_hopeless) {
                    let ending = unhealthy.map_or_else(|| ending.clone(), Ending::Unhealthy);
                    return Attended { ending, is_last: asked_by.is_some() };
                }
                if end.is_none() {
                    self.witness.say(&format!("it {ending}; what it left behind is ended"));
                    end = Some(Farewell::say(child, Signal::TERM, self.orders.grace));
                }
            }
            if let Some(farewell) = &mut end
                && farewell.insist(child)
            {
                self.witness
                    .say(&format!("not ended within {}: it gets SIGKILL", Span::from(self.orders.grace)));
            }
            let glance = end.as_ref().map(|_| Instant::now() + GLANCE);
            match self.next_event(glance) {
                Some(Event::Signal(signal @ (SIGTERM | SIGINT | SIGQUIT))) => {
                    let is_second = asked_by.replace(signal).is_some();
                    end = Some(self.is_asked_to_end(child, signal, is_second));
                }
                Some(Event::Signal(signal)) if signal != SIGCHLD => child.signal(named(signal)),
                Some(Event::Probe(answer))
                    if answer.asked >= begun && end.is_none() && self.is_lost(&mut pulse, &answer) =>
                {
                    let why = answer.trouble.unwrap_or_default();
                    self.witness.say(&format!("not healthy: {why}"));
                    self.witness.phase(&Phase::Ending { pid }, self.restarts);
                    unhealthy = Some(why);
                    end = Some(Farewell::say(child, Signal::TERM, self.orders.grace));
                }
                _ => {}
            }
        }
    }

    /// Passes on what asks for the end; a second time there is no patience left.
    fn is_asked_to_end(&mut self, child: Child, signal: i32, is_second: bool) -> Farewell {
        let name = signal_name(signal);
        self.witness.phase(&Phase::Ending { pid: child.pid() }, self.restarts);
        if is_second {
            self.witness.say(&format!("{name} came again: it gets SIGKILL"));
            return Farewell::say(child, Signal::KILL, Duration::ZERO);
        }
        self.witness.say(&format!("{name} came, and is passed on"));
        Farewell::say(child, named(signal), self.orders.grace)
    }

    fn is_lost(&self, pulse: &mut Pulse, answer: &Answer) -> bool {
        self.orders.probe.as_ref().is_some_and(|probe| pulse.is_lost(answer, probe))
    }

    /// The next thing that happens; None: it is `until`, or time for a tick.
    fn next_event(&mut self, until: Option<Instant>) -> Option<Event> {
        let tick = self.witness.tick_every();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let wait = match (left, tick) {
            (Some(left), Some(tick)) => left.min(tick),
            (Some(wait), None) | (None, Some(wait)) => wait,
            (None, None) => return self.events.recv().ok(),
        };
        match self.events.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => {
                if tick.is_some_and(|tick| wait >= tick) {
                    self.witness.tick();
                }
                None
            }
            // Its senders live as long as this process.
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(wait);
                None
            }
        }
    }
}

/// The command was asked to end.
struct Farewell {
    /// When it is not asked any more.
    insists: Instant,
    has_insisted: bool,
}

impl Farewell {
    fn say(child: Child, signal: Signal, grace: Duration) -> Farewell {
        child.signal(signal);
        // What is stopped would hear nothing.
        child.signal(Signal::CONT);
        Farewell { insists: Instant::now() + grace, has_insisted: signal == Signal::KILL }
    }

    /// SIGKILL, once, when its time is over: true where that was now.
    fn insist(&mut self, child: Child) -> bool {
        if self.has_insisted || Instant::now() < self.insists {
            return false;
        }
        child.signal(Signal::KILL);
        self.has_insisted = true;
        true
    }

    fn is_hopeless(&self) -> bool {
        self.has_insisted && Instant::now() >= self.insists + LAST_PATIENCE
    }
}

fn named(signal: i32) -> Signal {
    Signal::from_named_raw(signal).unwrap_or(Signal::TERM)
}

/// Signals become events.
fn listen(tell: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            if tell.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
