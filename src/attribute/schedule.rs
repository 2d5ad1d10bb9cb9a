//! When cron runs something: five fields, or `@reboot` and its kin, as crontab(5) has them.

use std::fmt;
use std::str::FromStr;

/// The words that stand for five fields.
const WORDS: [&str; 8] =
    ["@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// A schedule, its fields apart by one space each.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Schedule(String);

struct Field {
    what: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", low: 0, high: 59, names: &[] },
    Field { what: "hour", low: 0, high: 23, names: &[] },
    Field { what: "day of the month", low: 1, high: 31, names: &[] },
    Field {
        what: "month",
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    // 7 is Sunday too.
    Field {
        what: "day of the week",
        low: 0,
        high: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl Schedule {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Cuts the schedule off a line of a crontab; None where it has none.
    pub fn cut(line: &str) -> Option<(Schedule, &str)> {
        let mut rest = line.trim_start();
        let mut fields = Vec::new();
        let wanted = if rest.starts_with('@') { 1 } else { FIELDS.len() };
        for _ in 0..wanted {
            let (field, after) = rest.split_once([' ', '\t'])?;
            fields.push(field);
            rest = after.trim_start();
        }
        fields.join(" ").parse().ok().map(|schedule| (schedule, rest))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let schedule = || Schedule(fields.join(" "));
        match fields[..] {
            [] => Err("the schedule is empty: write five fields, as in 30 4 * * *".to_owned()),
            [word] if WORDS.contains(&word) => Ok(schedule()),
            [word] if word.starts_with('@') => {
                Err(format!("cron knows no `{word}`: write one of {}", WORDS.join(", ")))
            }
            [minute, hour, day, month, weekday] => {
                let given = [minute, hour, day, month, weekday];
                for (number, (field, text)) in FIELDS.iter().zip(given).enumerate() {
                    field.judge(text).map_err(|(what, way_out)| {
                        format!("field {} of the schedule, the {}, {what}: {way_out}", number + 1, field.what)
                    })?;
                }
                Ok(schedule())
            }
            _ => {
                let hint = match fields.len() {
                    6 => " (cron counts no seconds, and `user` says who it runs as)",
                    _ => "",
                };
                Err(format!(
                    "a schedule has five fields, and this has {}{hint}: write minute, hour, day of the month, month and day of the week, as in 30 4 * * *",
                    fields.len()
                ))
            }
        }
    }
}

impl Field {
    /// What is wrong with it, and the way out.
    fn judge(&self, text: &str) -> Result<(), (String, String)> {
        text.split(',').try_for_each(|part| self.judge_part(part, text))
    }

    fn judge_part(&self, part: &str, whole: &str) -> Result<(), (String, String)> {
        if part.is_empty() {
            let what = format!("is `{whole}`, a list with nothing between two commas");
            return Err((what, "take the comma out".to_owned()));
        }
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let ends = range.split_once(['-', '~']);
        if let Some(step) = step {
            match step.parse::<u32>() {
                Ok(number) if number >= 1 && number <= self.high.max(1) => {}
                _ => {
                    let what = format!("cannot go in steps of `{step}`");
                    return Err((
                        what,
                        format!("a step is 1 to {}, as in */{}", self.high, self.high.min(5)),
                    ));
                }
            }
            if range != "*" && ends.is_none() {
                let what = format!("is `{part}`, a step without a range");
                return Err((what, format!("write {range}-{}/{step}, or */{step}", self.high)));
            }
        }
        match ends {
            _ if range == "*" => Ok(()),
            None => self.number(range).map(drop),
            Some((first, last)) => {
                let (low, high) = (self.number(first)?, self.number(last)?);
                if low <= high {
                    return Ok(());
                }
                if last.eq_ignore_ascii_case("sun") {
                    let what = format!("is `{range}`, and to cron Sunday begins the week");
                    return Err((what, format!("write {first}-7")));
                }
                let what = format!("is `{range}`, which ends before it begins");
                // Sunday begins the rest of a week.
                let end = if self.high == 7 { 6 } else { self.high };
                Err((what, format!("write {first}-{end},{}-{last}", self.low)))
            }
        }
    }

    fn number(&self, text: &str) -> Result<u32, (String, String)> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(number) = named.and_then(|at| u32::try_from(at).ok()) {
            return Ok(number + self.low);
        }
        let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(number) if is_number && (self.low..=self.high).contains(&number) => Ok(number),
            _ => {
                let names = match self.names {
                    [first, .., last] => format!(", or {first} to {last}"),
                    _ => String::new(),
                };
                Err((format!("cannot be `{text}`"), format!("it is {} to {}{names}", self.low, self.high)))
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

super::text_form!(Schedule);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cron_takes_is_taken() {
        for good in [
            "* * * * *",
            "30 4 * * *",
            "  0\t3 1,15  * mon-fri ",
            "*/5 0-23/2 * JAN,feb 0-7",
            "0~59 * * * *",
            "59 23 31 12 7",
            "@reboot",
            "@daily",
        ] {
            assert!(good.parse::<Schedule>().is_ok(), "{good}: {:?}", good.parse::<Schedule>());
        }
        assert_eq!(" 0\t3 *  * * ".parse::<Schedule>().unwrap().as_str(), "0 3 * * *");
    }

    #[test]
    fn the_field_that_is_wrong_is_named_with_a_way_out() {
        for (bad, words) in [
            ("60 * * * *", "field 1 of the schedule, the minute, cannot be `60`: it is 0 to 59"),
            ("* 24 * * *", "field 2 of the schedule, the hour, cannot be `24`: it is 0 to 23"),
            ("* * 0 * *", "field 3 of the schedule, the day of the month, cannot be `0`: it is 1 to 31"),
            ("* * * 13 *", "the month, cannot be `13`: it is 1 to 12, or jan to dec"),
            ("* * * * funday", "the day of the week, cannot be `funday`: it is 0 to 7, or sun to sat"),
            ("+5 * * * *", "cannot be `+5`"),
            ("-5 * * * *", "cannot be ``"),
            ("1, * * * *", "nothing between two commas: take the comma out"),
            ("5/10 * * * *", "a step without a range: write 5-59/10, or */10"),
            ("*/0 * * * *", "cannot go in steps of `0`: a step is 1 to 59"),
            ("*/100 * * * *", "cannot go in steps of `100`"),
            ("* 22-4 * * *", "is `22-4`, which ends before it begins: write 22-23,0-4"),
            ("* * * * fri-sun", "Sunday begins the week: write fri-7"),
            ("0 3 * *", "has five fields, and this has 4: write"),
            ("0 0 3 * * *", "and this has 6 (cron counts no seconds"),
            ("@Reboot", "cron knows no `@Reboot`: write one of @reboot"),
            ("daily", "has five fields, and this has 1"),
            ("", "the schedule is empty: write five fields"),
            ("0 3 ? * *", "cannot be `?`"),
        ] {
            let error = bad.parse::<Schedule>().expect_err(bad);
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    #[test]
    fn a_schedule_is_cut_off_its_line() {
        let cut = |line: &str| Schedule::cut(line).map(|(schedule, rest)| format!("{schedule}|{rest}"));
        assert_eq!(cut("0 3 * * *  echo  a b").as_deref(), Some("0 3 * * *|echo  a b"));
        assert_eq!(cut("  */5\t* * * * root true").as_deref(), Some("*/5 * * * *|root true"));
        assert_eq!(cut("@reboot true").as_deref(), Some("@reboot|true"));
        for none in ["", "# a comment", "MAILTO=root", "0 3 * *", "@fortnightly true", "61 * * * * true"] {
            assert_eq!(cut(none), None, "{none}");
        }
    }
}
