//! `kith sightings`: who was seen when and where.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime, civil};
use serde::Serialize;
use ulid::Ulid;

use super::Common;
use super::terminal::say;
use crate::event::ulid_text;
use crate::gallery::{Gallery, Person};
use crate::paths;
use crate::sightings::{Query, Sightings, Visit, Whose};

/// The arguments of `kith sightings`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  kith sightings                              the last visits, newest first
  kith sightings --since 2h --camera door     of the last two hours at the door
  kith sightings --person alice --since 2026-11-24
  kith sightings forget --until 2026-11-01    older ones, for good

A time is a time ago (2h, 3 days), a day (2026-11-24), or a moment (2026-11-24T18:00)."
)]
pub struct Args {
    /// Which visits
    #[command(flatten)]
    pub filter: Filter,
    /// At most so many, the latest
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// What to do [default: list]
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with visits.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Forget visits, for good
    Forget {
        /// Which
        #[command(flatten)]
        filter: Filter,
        /// All of them
        #[arg(long)]
        all: bool,
        /// JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Which visits.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Visits that lasted until this time or longer
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub since: Option<Timestamp>,
    /// Visits that began before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub until: Option<Timestamp>,
    /// Visits of this person, an id or name
    #[arg(long, value_name = "PERSON", conflicts_with = "unknown")]
    pub person: Option<String>,
    /// Visits of unknown people
    #[arg(long)]
    pub unknown: bool,
    /// Visits at this camera
    #[arg(long, value_name = "CAMERA")]
    pub camera: Option<String>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.person.is_none() && !self.unknown && self.camera.is_none()
    }

    fn query(&self, people: &People, limit: Option<usize>) -> anyhow::Result<Query> {
        let whose = match &self.person {
            Some(person) => Whose::Person(people.find(person)?),
            None if self.unknown => Whose::Unknown,
            None => Whose::Any,
        };
        Ok(Query {
            since: self.since,
            until: self.until,
            whose,
            camera: self.camera.clone(),
            limit,
        })
    }
}

/// Reads a time: a span of time ago, a day, or a moment; in the system's time zone where none is given.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let now = ZonedDateTime::now();
    let local = |time: civil::DateTime| {
        time.to_zoned_datetime(TimeZone::system())
            .map(|zoned| zoned.timestamp())
    };
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    let civil = text.parse::<civil::DateTime>().map_err(|error| error.to_string());
    if let Ok(civil) = civil {
        return local(civil).map_err(|error| error.to_string());
    }
    let span = text.strip_suffix(" ago").unwrap_or(text).parse::<Span>();
    let moment = span.ok().and_then(|span| now.checked_sub(span.abs()).ok());
    moment
        .map(|moment| moment.timestamp())
        .ok_or_else(|| format!("{text:?} is no time; write 2h, \"3 days\", 2026-11-24 or 2026-11-24T18:00"))
}

/// Who has which uid.
pub(super) struct People(HashMap<Ulid, Person>);

impl People {
    /// Everybody in the gallery of the state folder; nobody where there is none.
    pub(super) fn of(state_dir: &Path) -> anyhow::Result<Self> {
        if !Gallery::exists(state_dir) {
            return Ok(Self(HashMap::new()));
        }
        let people = Gallery::open(state_dir)?.people()?;
        Ok(Self(
            people.into_iter().map(|one| (one.person.uid, one.person)).collect(),
        ))
    }

    fn find(&self, wanted: &str) -> anyhow::Result<Ulid> {
        let by_id = self.0.values().find(|person| person.id == wanted);
        let mut by_name = self.0.values().filter(|person| person.name.as_str() == wanted);
        match (by_id, by_name.next(), by_name.next()) {
            (Some(person), ..) | (None, Some(person), None) => Ok(person.uid),
            (None, None, _) => bail!("nobody in the gallery has the id or name {wanted:?}; `kith people` lists them"),
            (None, Some(_), Some(_)) => bail!("several people are called {wanted:?}; say which one by id"),
        }
    }

    fn named(&self, uid: Option<Ulid>) -> Option<PersonEntry<'_>> {
        let uid = uid?;
        let person = self.0.get(&uid);
        Some(PersonEntry {
            id: person.map(|person| person.id.as_str()),
            uid: ulid_text(uid),
            name: person.map(|person| person.name.as_str()),
        })
    }

    /// A visit with names instead of uids, for JSON.
    pub(super) fn line<'a>(&'a self, visit: &'a Visit) -> VisitLine<'a> {
        VisitLine {
            person: self.named(visit.person),
            similar_to: self.named(visit.similar_to),
            visit,
        }
    }
}

/// A person; id and name are `null` for somebody who was removed a moment ago.
#[derive(Serialize)]
pub(super) struct PersonEntry<'a> {
    id: Option<&'a str>,
    uid: String,
    name: Option<&'a str>,
}

/// A visit as `--json` has it.
pub(super) struct VisitLine<'a> {
    visit: &'a Visit,
    person: Option<PersonEntry<'a>>,
    similar_to: Option<PersonEntry<'a>>,
}

impl Serialize for VisitLine<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut value = serde_json::to_value(self.visit).map_err(S::Error::custom)?;
        for (key, person) in [("person", &self.person), ("similar_to", &self.similar_to)] {
            value[key] = serde_json::to_value(person).map_err(S::Error::custom)?;
        }
        value.serialize(serializer)
    }
}

/// Runs `kith sightings`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let state_dir = paths::state_dir(common.state.as_deref());
    let people = People::of(&state_dir)?;
    match &args.action {
        None => list(args, &state_dir, &people)?,
        Some(Action::Forget { filter, all, json }) => {
            if filter.is_empty() && !all {
                bail!("nothing was forgotten: say which visits, or --all");
            }
            if !filter.is_empty() && *all {
                bail!("nothing was forgotten: --all is all of them, so the other options would mean nothing");
            }
            let query = filter.query(&people, None)?;
            let forgotten = if Sightings::exists(&state_dir) {
                Sightings::open(&state_dir)?.forget(&query)?
            } else {
                0
            };
            if *json {
                say(serde_json::json!({ "forgotten": forgotten }))?;
            } else {
                say(format_args!("{} forgotten", count(forgotten, "visit")))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args, state_dir: &Path, people: &People) -> anyhow::Result<()> {
    // Looking makes no database.
    let visits = if Sightings::exists(state_dir) {
        Sightings::open(state_dir)?.visits(&args.filter.query(people, Some(args.limit))?)?
    } else {
        Vec::new()
    };
    if args.json {
        let lines: Vec<VisitLine<'_>> = visits.iter().map(|visit| people.line(visit)).collect();
        say(serde_json::to_string(&lines)?)?;
        return Ok(());
    }
    if visits.is_empty() {
        say(format_args!("no such visit is remembered in {}", state_dir.display()))?;
    }
    let width = visits.iter().map(|visit| visit.camera.len()).max().unwrap_or(0);
    for visit in &visits {
        say(visit_text(visit, people, width))?;
    }
    Ok(())
}

/// A visit in a line.
pub(super) fn visit_text(visit: &Visit, people: &People, camera_width: usize) -> String {
    let sure = visit
        .confidence
        .map(|confidence| format!(" ({} %)", (confidence * 100.0).floor()))
        .unwrap_or_default();
    let who = match visit.person.map(|uid| people.0.get(&uid)) {
        Some(Some(person)) => format!("{}{sure}", person.name),
        Some(None) => "somebody who was removed".to_owned(),
        None => match visit.similar_to.and_then(|uid| people.0.get(&uid)) {
            Some(similar) => format!("unknown{sure}, most like {}", similar.name),
            None => format!("unknown{sure}"),
        },
    };
    let zones = if visit.zones.is_empty() {
        String::new()
    } else {
        format!(", in {}", visit.zones.join(", "))
    };
    format!(
        "{}  {:>8}  {:camera_width$}  {who}{zones}",
        local_text(visit.from),
        if visit.is_open {
            "now".to_owned()
        } else {
            duration_text(visit)
        },
        visit.camera,
    )
}

/// A time as people here write it, to the second.
pub(super) fn local_text(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

fn duration_text(visit: &Visit) -> String {
    let seconds = visit.to.duration_since(visit.from).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of things.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let minutes_ago = |text: &str| {
            let time = parse_time(text).unwrap();
            (Timestamp::now().duration_since(time).as_secs_f64() / 60.0).round()
        };
        for (text, minutes) in [
            ("2h", 120.0),
            ("90 min", 90.0),
            ("3 days ago", 3.0 * 1440.0),
            ("1h 30m", 90.0),
        ] {
            // A day is not always 24 hours long where clocks are changed.
            assert!((minutes_ago(text) - minutes).abs() <= 60.0, "{text}");
        }
        assert_eq!(
            parse_time("2026-11-24T18:00Z").unwrap().to_string(),
            "2026-11-24T18:00:00Z"
        );
        let day = parse_time("2026-11-24").unwrap().to_zoned_datetime(TimeZone::system());
        assert_eq!((day.day(), day.hour(), day.minute()), (24, 0, 0));
        for wrong in ["", "yesterday", "25:00", "2026-13-01", "1"] {
            assert!(parse_time(wrong).is_err(), "{wrong:?}");
        }
    }
}
