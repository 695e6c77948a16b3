//! Walks what was read along the table of keys. Serde would stop at the first mistake; this finds them all.

use std::collections::HashMap;

use config::{Value, ValueKind};
use serde_json::{Map, Value as Json, json};

use super::error::Mistake;
use super::keys::{Key, Kind};
use crate::identify::IdentifyBy;

/// The valid part of `value` as a JSON object; what isn't valid is left out and named in `mistakes`.
pub(super) fn table(keys: &[Key], value: &Value, mistakes: &mut Vec<Mistake>) -> Json {
    match &value.kind {
        ValueKind::Table(entries) => object(keys, entries, "", mistakes),
        _ => Json::Object(Map::new()),
    }
}

fn object(keys: &[Key], entries: &HashMap<String, Value>, above: &str, mistakes: &mut Vec<Mistake>) -> Json {
    let mut valid = Map::new();
    let mut names: Vec<&String> = entries.keys().collect();
    names.sort(); // The map has no order, and a report that changes from run to run is no help.
    for name in names {
        let path = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        let Some(key) = keys.iter().find(|key| key.name == *name) else {
            mistakes.push(Mistake::new(path, unknown(keys, name)));
            continue;
        };
        if let Some(value) = checked(key, &entries[name], &path, mistakes) {
            valid.insert(name.clone(), value);
        }
    }
    Json::Object(valid)
}

/// Says that there is no such key, and which one may have been meant.
fn unknown(keys: &[Key], name: &str) -> String {
    let close = keys
        .iter()
        .map(|key| (strsim::jaro_winkler(key.name, name), key.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let all: Vec<&str> = keys.iter().map(|key| key.name).collect();
    match close {
        Some((_, meant)) => format!("there is no such key; did you mean `{meant}`?"),
        None => format!("there is no such key here; there are {}", all.join(", ")),
    }
}

fn checked(key: &Key, value: &Value, path: &str, mistakes: &mut Vec<Mistake>) -> Option<Json> {
    // The environment knows text only, so a number that arrives as text is fine from there, and only from there.
    let from_environment = value.origin() == Some("the environment");
    let valid = match (key.kind, &value.kind) {
        (Kind::Table(keys), ValueKind::Table(entries)) => Some(object(keys, entries, path, mistakes)),
        (Kind::Tables(keys), ValueKind::Array(items)) => {
            return Some(Json::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| each(keys, item, &format!("{path}[{index}]"), mistakes))
                    .collect(),
            ));
        }
        (Kind::Text | Kind::Path, ValueKind::String(text)) => (!text.trim().is_empty()).then(|| json!(text)),
        (Kind::Choice(words), ValueKind::String(text)) => words.contains(&text.as_str()).then(|| json!(text)),
        (Kind::Polygon, ValueKind::Array(corners)) => polygon(corners),
        (Kind::IdentifyBy, ValueKind::String(text)) => text.parse::<IdentifyBy>().ok().map(|_| json!(text)),
        (Kind::Switch, ValueKind::Boolean(on)) => Some(json!(on)),
        (Kind::Switch, ValueKind::String(text)) if from_environment => text.parse::<bool>().ok().map(|on| json!(on)),
        (Kind::Whole(from, to), kind) => whole(kind, from_environment)
            .filter(|number| (from..=to).contains(number))
            .map(|number| json!(number)),
        (Kind::Number(from, to), kind) => number(kind, from_environment)
            .filter(|number| (from..=to).contains(number))
            .map(|number| json!(number)),
        _ => None,
    };
    if valid.is_none() {
        mistakes.push(Mistake::new(
            path,
            format!("{} is not {}", shown(key, &value.kind), key.kind.valid()),
        ));
    }
    valid
}

fn each(keys: &[Key], item: &Value, path: &str, mistakes: &mut Vec<Mistake>) -> Json {
    if let ValueKind::Table(entries) = &item.kind {
        return object(keys, entries, path, mistakes);
    }
    mistakes.push(Mistake::new(path, "is not a table"));
    Json::Object(Map::new())
}

/// Three or more pairs of fractions.
fn polygon(corners: &[Value]) -> Option<Json> {
    let corner = |corner: &Value| match &corner.kind {
        ValueKind::Array(pair) if pair.len() == 2 => {
            let fraction = |value: &Value| number(&value.kind, false).filter(|number| (0.0..=1.0).contains(number));
            Some([fraction(&pair[0])?, fraction(&pair[1])?])
        }
        _ => None,
    };
    let corners: Option<Vec<[f64; 2]>> = corners.iter().map(corner).collect();
    corners
        .filter(|corners| corners.len() >= 3)
        .map(|corners| json!(corners))
}

fn whole(kind: &ValueKind, from_environment: bool) -> Option<i64> {
    match kind {
        ValueKind::I64(number) => Some(*number),
        ValueKind::U64(number) => i64::try_from(*number).ok(),
        ValueKind::String(text) if from_environment => text.trim().parse().ok(),
        _ => None,
    }
}

fn number(kind: &ValueKind, from_environment: bool) -> Option<f64> {
    match kind {
        ValueKind::Float(number) => Some(*number),
        ValueKind::String(text) if from_environment => text.trim().parse().ok(),
        #[expect(
            clippy::cast_precision_loss,
            reason = "such large numbers are out of every range anyway"
        )]
        other => whole(other, false).map(|number| number as f64),
    }
}

/// The wrong value as it is shown. An address or a password that stands in the wrong place is not repeated.
fn shown(key: &Key, kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) if matches!(key.kind, Kind::Text | Kind::Path) || text.contains("://") => {
            "this text".to_owned()
        }
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        other => format!("`{other}`"),
    }
}
