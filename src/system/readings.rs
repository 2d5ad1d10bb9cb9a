//! What several operations need to read of the machine is read once for all of them: one look at
//! the package database for two hundred packages. Nobody is given what was read before he asked.

use std::any::Any;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::System;
use crate::failure::Failure;

/// What one type reads of the single things that its resources are about, for all of them at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Which database, as in `systemd`.
    pub of: &'static str,
    /// The thing's name in it.
    pub name: String,
}

type Value = Arc<dyn Any + Send + Sync>;

/// What was read, and when that began: all that was so before is in it.
struct Read {
    begun: Instant,
    value: Value,
}

#[derive(Default)]
struct Shelf {
    whole: Option<Read>,
    single: HashMap<String, Read>,
    /// Named by requests that are still to be carried out.
    expected: BTreeSet<String>,
}

/// A database's shelf has a lock of its own: who waits for one holds up nobody at another.
type Shelves = Mutex<HashMap<&'static str, Arc<Mutex<Shelf>>>>;

#[derive(Clone, Default)]
pub(super) struct Readings {
    shelves: Arc<Shelves>,
    turns: Arc<Turns>,
}

#[derive(Default)]
struct Turns {
    taken: Mutex<BTreeSet<Cow<'static, str>>>,
    given_back: Condvar,
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("readings")
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readings {
    fn shelf(&self, of: &'static str) -> Arc<Mutex<Shelf>> {
        Arc::clone(guard(&self.shelves).entry(of).or_default())
    }
}

impl System {
    /// The same machine for a request that came in just now: what others read from now on is new
    /// enough for it. (Without this, as in tests, everything is read anew.)
    #[must_use]
    pub fn asked_now(&self) -> System {
        System { asked: Some(Instant::now()), ..self.clone() }
    }

    /// The same machine after a change of ours: what was read before it is too old.
    #[must_use]
    pub fn anew(&self) -> System {
        System { asked: self.asked.map(|_| Instant::now()), ..self.clone() }
    }

    /// A request that is to be carried out soon will read this: whoever reads first reads it too.
    pub fn expect(&self, reading: Reading) {
        guard(&self.readings.shelf(reading.of)).expected.insert(reading.name);
    }

    /// What `read` finds, or has found for somebody else since this was asked.
    pub fn shared<T: Clone + Send + Sync + 'static>(
        &self,
        of: &'static str,
        read: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(asked) = self.asked else { return read() };
        let shelf = self.readings.shelf(of);
        // Whoever comes while it is read waits here, and finds it.
        let mut shelf = guard(&shelf);
        if let Some(found) = shelf.whole.as_ref().and_then(|there| there.since(asked)) {
            return found;
        }
        let begun = Instant::now();
        let found = read();
        shelf.whole = Some(Read { begun, value: Arc::new(found.clone()) });
        found
    }

    /// The same for one of many things: `read` is given the names of all that are expected, and
    /// finds something for each. What is asked for twice is read anew.
    pub fn shared_of<T: Clone + Send + Sync + 'static>(
        &self,
        reading: &Reading,
        read: impl Fn(&[String]) -> Result<HashMap<String, T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        let only_this = || vec![reading.name.clone()];
        let Some(asked) = self.asked else { return Ok(read(&only_this())?.remove(&reading.name)) };
        let shelf = self.readings.shelf(reading.of);
        let mut shelf = guard(&shelf);
        let there = shelf.single.get(&reading.name);
        if let Some(found) = there.and_then(|there| there.since::<Option<T>>(asked)) {
            return found;
        }
        shelf.expected.insert(reading.name.clone());
        let mut names: Vec<String> = std::mem::take(&mut shelf.expected).into_iter().collect();
        let (limit, begun) = (self.time_left(), Instant::now());
        let mut found = read(&names);
        // One that cannot be read must not take the others with it; a machine that does not
        // answer is asked only once.
        if found.is_err() && names.len() > 1 && begun.elapsed() < limit / 4 {
            names = only_this();
            found = read(&names);
        }
        shelf.single.clear();
        for name in names {
            let one: Result<Option<T>, Failure> = match &found {
                Ok(found) => Ok(found.get(&name).cloned()),
                Err(failure) => Err(failure.clone()),
            };
            shelf.single.insert(name, Read { begun, value: Arc::new(one) });
        }
        Ok(found?.remove(&reading.name))
    }

    /// Waits until nobody else on this machine holds the turn of this name: for what does not
    /// bear company (`dpkg`, `useradd`, daemon-reload). It is given back when the value is dropped.
    pub fn turn(&self, name: impl Into<Cow<'static, str>>) -> Result<Turn, Failure> {
        let name = name.into();
        let turns = Arc::clone(&self.readings.turns);
        let mut taken = guard(&turns.taken);
        while taken.contains(&name) {
            let left = self.time_left();
            if left.is_zero() {
                return Err(Failure::new(format!(
                    "its turn did not come within its timeout: others of this run were busy with {name}"
                ))
                .help("give the resource a longer `timeout`"));
            }
            let pause = left.min(Duration::from_secs(1));
            taken = turns.given_back.wait_timeout(taken, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        taken.insert(name.clone());
        drop(taken);
        Ok(Turn { turns, name })
    }
}

impl Read {
    fn since<T: Clone + Send + Sync + 'static>(&self, asked: Instant) -> Option<Result<T, Failure>> {
        (self.begun >= asked).then(|| self.value.downcast_ref::<Result<T, Failure>>().cloned()).flatten()
    }
}

/// Somebody's turn, while it lasts.
pub struct Turn {
    turns: Arc<Turns>,
    name: Cow<'static, str>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        guard(&self.turns.taken).remove(&self.name);
        self.turns.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn what_many_ask_for_at_once_is_read_once() {
        let (machine, count) = (System::machine().asked_now(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let read = || Ok(count.fetch_add(1, Ordering::Relaxed));
                    assert_eq!(machine.shared("test", read), Ok(0));
                });
            }
        });
        // Who asks later is told nothing old.
        let later = machine.asked_now();
        assert_eq!(later.shared("test", || Ok(count.fetch_add(1, Ordering::Relaxed))), Ok(1));
        assert_eq!(later.anew().shared("test", || Ok(7usize)), Ok(7));
        assert_eq!(System::machine().shared("test", || Ok(9usize)), Ok(9));
    }

    #[test]
    fn a_failed_reading_fails_all_who_asked_for_it() {
        let machine = System::machine().asked_now();
        let broken = || Err::<u8, _>(Failure::new("broken"));
        assert_eq!(machine.shared("test", broken), Err(Failure::new("broken")));
        assert_eq!(machine.shared("test", || Ok(1u8)), Err(Failure::new("broken")));
    }

    #[test]
    fn single_things_are_read_with_all_that_are_expected() {
        let system = System::machine();
        let named = |name: &str| Reading { of: "test", name: name.to_owned() };
        for name in ["a", "b", "c"] {
            system.expect(named(name));
        }
        let asked = system.asked_now();
        let count = AtomicUsize::new(0);
        let read = |names: &[String]| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(names.iter().filter(|name| *name != "c").map(|name| (name.clone(), name.len())).collect())
        };
        assert_eq!(asked.shared_of(&named("b"), read), Ok(Some(1)));
        assert_eq!(asked.shared_of(&named("a"), read), Ok(Some(1)));
        assert_eq!(asked.shared_of(&named("c"), read), Ok(None));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(asked.anew().shared_of(&named("a"), read), Ok(Some(1)));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn one_that_cannot_be_read_takes_no_other_with_it() {
        let system = System::machine();
        let named = |name: &str| Reading { of: "test", name: name.to_owned() };
        for name in ["a", "bad"] {
            system.expect(named(name));
        }
        let asked = system.asked_now();
        let read = |names: &[String]| match names.iter().any(|name| name == "bad") {
            true => Err(Failure::new("bad")),
            false => Ok(names.iter().map(|name| (name.clone(), name.len())).collect()),
        };
        assert_eq!(asked.shared_of(&named("a"), read), Ok(Some(1)));
        assert_eq!(asked.shared_of(&named("bad"), read), Err(Failure::new("bad")));
    }

    #[test]
    fn turns_are_taken_one_after_the_other_and_not_waited_for_forever() {
        let system = System::machine();
        let turn = system.turn("dpkg").unwrap();
        let hurried = system.within(Duration::from_millis(20));
        assert!(hurried.turn("dpkg").is_err());
        assert!(hurried.turn("useradd").is_ok());
        drop(turn);
        assert!(hurried.turn("dpkg").is_ok());
    }
}
