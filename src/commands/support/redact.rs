//! Takes secrets and people out of texts: what is known to be a secret or a name is replaced wherever it stands, whatever
//! wrote it there.

use std::collections::BTreeSet;
use std::fs;

use data_encoding::{BASE64, HEXLOWER};
use url::Url;

use crate::camera::percent_decoded;
use crate::commands::check::Context;
use crate::config::secret_files;
use crate::gallery::Gallery;
use crate::model::Catalogue;
use crate::paths;

/// Shorter secrets are only replaced where they stand alone: elsewhere they would tear every text apart.
const SHORTEST_ANYWHERE: usize = 4;
/// What stands for a secret.
const HIDDEN: &str = "***";

/// Replaces what must not be seen.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// The longest first, so that a part of one doesn't keep the rest from being found.
    words: Vec<Word>,
    /// Whether people and secrets are known, so that what may hold them can be shown.
    pub(super) knows_all: bool,
}

#[derive(Debug)]
struct Word {
    text: String,
    becomes: String,
    /// Only where no letter or digit is beside it.
    alone: bool,
}

impl Redactor {
    /// Learns the secrets of the configuration and the people of the gallery.
    pub(super) fn new(context: &Context) -> Self {
        let mut redactor = Self::default();
        let secrets = redactor.learn_secrets(context);
        redactor.knows_all = redactor.learn_people(context).is_some() && secrets;
        redactor.sort();
        redactor
    }

    /// Returns whether all of them could be read.
    fn learn_secrets(&mut self, context: &Context) -> bool {
        let mut all = true;
        for secret in secret_files(&context.file) {
            let Ok(text) = fs::read_to_string(&secret.path) else {
                // One that isn't there is no secret.
                all &= matches!(secret.path.try_exists(), Ok(false));
                continue;
            };
            // Of a key in PEM, each line.
            let lines = text.lines().filter(|line| !line.starts_with("-----"));
            lines.for_each(|line| self.secret(line.trim()));
        }
        if let Ok(settings) = &context.loaded
            && let Some((user, _)) = &settings.mqtt.login
        {
            self.user(user);
        }
        let text = fs::read_to_string(&context.file).unwrap_or_default();
        // Not only the addresses that are in use: one in a comment has a password too.
        for address in text.split(['"', '\'', ' ', '\n', '\t']) {
            if let Ok(url) = Url::parse(address.strip_prefix("snapshot:").unwrap_or(address)) {
                self.address(&url);
            }
        }
        all
    }

    /// The parts of an address that may be secrets.
    fn address(&mut self, url: &Url) {
        let Some(host) = url.host_str() else { return };
        self.user(&percent_decoded(url.username()));
        self.secret(url.password().unwrap_or_default());
        for (_, value) in url.query_pairs().filter(|(_, value)| may_be_secret(value)) {
            self.secret(&value);
        }
        self.secret(url.query().unwrap_or_default());
        let path = url.path().trim_matches('/');
        // `rtsp` and `http` only: the path of `file:` is a place, and a topic is a topic.
        if !host.is_empty() && url.scheme() != "mqtt" && path.len() >= 8 {
            self.secret(path);
        }
        // `user=admin&password=…` in a path.
        let values = path.split(['&', '/', ';']).filter_map(|part| part.split_once('='));
        for (_, value) in values.filter(|(_, value)| may_be_secret(value)) {
            self.secret(value);
        }
    }

    /// A login. Not our own name, which says nothing and stands in every line.
    fn user(&mut self, name: &str) {
        if !name.is_empty() && name != "kith" {
            self.words.push(Word {
                text: name.to_owned(),
                becomes: HIDDEN.to_owned(),
                alone: true,
            });
        }
    }

    /// `text` is a secret, in whatever way it is written.
    pub(super) fn secret(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let plain = percent_decoded(text);
        let encoded: String = url::form_urlencoded::byte_serialize(plain.as_bytes()).collect();
        let mut in_url = Url::parse("rtsp://user@host/").ok();
        if let Some(url) = &mut in_url {
            // Fails for addresses without a host only.
            let _ = url.set_password(Some(&plain));
        }
        let in_url = in_url.and_then(|url| url.password().map(str::to_owned));
        let escaped = plain.escape_debug().to_string();
        let json = serde_json::to_string(&plain).unwrap_or_default();
        let ways = [
            text.to_owned(),
            BASE64.encode(plain.as_bytes()),
            HEXLOWER.encode(plain.as_bytes()),
            encoded,
            escaped,
            json.trim_matches('"').to_owned(),
            plain,
        ];
        let ways: BTreeSet<String> = ways.into_iter().chain(in_url).collect();
        for text in ways.into_iter().filter(|text| !text.is_empty()) {
            let alone = text.len() < SHORTEST_ANYWHERE;
            self.words.push(Word {
                text,
                becomes: HIDDEN.to_owned(),
                alone,
            });
        }
    }

    /// Learns names and ids of everybody who is enrolled, and of whom the installed heads tell apart. `None` when there
    /// is no gallery to read: nobody knows then whom the log names.
    fn learn_people(&mut self, context: &Context) -> Option<()> {
        let mut people: Vec<Vec<String>> = Vec::new();
        let gallery = Gallery::look_at(&context.state).ok()??;
        for one in gallery.people().ok()? {
            let person = one.person;
            people.push(vec![person.id, person.name.to_string(), person.uid.to_string()]);
        }
        if let Ok(settings) = &context.loaded {
            let runtime = &settings.runtime;
            let (catalogue, _) = Catalogue::gather(
                &paths::models_dir(runtime.models.as_deref()),
                &paths::models_d(runtime.models_d.as_deref()),
            );
            people.extend(
                catalogue
                    .models()
                    .flat_map(|model| model.classes.iter().map(|class| vec![class.clone()])),
            );
        }
        for (index, words) in people.into_iter().enumerate() {
            self.person(index + 1, words);
        }
        Some(())
    }

    fn person(&mut self, number: usize, words: Vec<String>) {
        for text in words.into_iter().filter(|text| !text.trim().is_empty()) {
            self.words.push(Word {
                text,
                becomes: format!("person-{number}"),
                alone: true,
            });
        }
    }

    fn sort(&mut self) {
        self.words.sort_by_key(|word| std::cmp::Reverse(word.text.len()));
    }

    /// `text` without anything that is known to be a secret or a person.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = homes(text);
        for word in &self.words {
            text = replace(&text, word);
        }
        FIELDS.iter().fold(text, |text, field| without_values(&text, field))
    }
}

/// A part of a query or path that is worth hiding wherever it stands: `channel=1` and `subtype=main` are not, and would
/// take these words from every line. The whole query is hidden in any case.
fn may_be_secret(value: &str) -> bool {
    value.len() >= 6 && !value.bytes().all(|byte| byte.is_ascii_digit())
}

/// Fields of the log that say who somebody is. Somebody who was removed is in no gallery any more, but is in old lines.
const FIELDS: [&str; 2] = ["person", "uid"];

/// `text` without the values of `field`, in `person=ada`, `person="Ada L"` and `"person":"ada"`. A person who has a number
/// keeps it.
fn without_values(text: &str, field: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(field) {
        let (before, after) = rest.split_at(at + field.len());
        let touches = before[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        clean.push_str(before);
        rest = after;
        let sign = ["=\"", "=", "\":\"", "\": \""]
            .into_iter()
            .find(|sign| after.starts_with(sign));
        let Some(sign) = sign.filter(|_| !touches) else {
            continue;
        };
        clean.push_str(sign);
        let value = &after[sign.len()..];
        let end = if sign.ends_with('"') {
            quoted_end(value)
        } else {
            value.find([' ', ',', '\n', '}']).unwrap_or(value.len())
        };
        let is_number = value[..end]
            .strip_prefix("person-")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
        clean.push_str(if is_number { &value[..end] } else { HIDDEN });
        rest = &value[end..];
    }
    clean.push_str(rest);
    clean
}

/// Where the closing quote of `value` stands, which is not one behind a backslash.
fn quoted_end(value: &str) -> usize {
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            '"' if !escaped => return at,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    value.len()
}

/// Replaces `word` in `text`, in upper and lower case alike where it is ASCII.
fn replace(text: &str, word: &Word) -> String {
    let (small, wanted) = (text.to_ascii_lowercase(), word.text.to_ascii_lowercase());
    let mut clean = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = small[at..].find(&wanted).map(|found| at + found) {
        let end = found + wanted.len();
        let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let touches = letter(small[..found].chars().next_back()) || letter(small[end..].chars().next());
        clean.push_str(&text[at..found]);
        if word.alone && touches {
            clean.push_str(&text[found..end]);
        } else {
            clean.push_str(&word.becomes);
        }
        at = end;
    }
    clean.push_str(&text[at..]);
    clean
}

/// `/home/ada/…` names a person too.
fn homes(text: &str) -> String {
    let mut parts = text.split("/home/");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .unwrap_or(part.len());
        clean.push_str("/home/");
        clean.push_str(if name == 0 { "" } else { HIDDEN });
        clean.push_str(&part[name..]);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        redactor.secret("p@ss/w\"ord+1&2");
        redactor.secret("abc");
        redactor.address(&Url::parse("rtsp://u:s%40cret@cam/user=admin&password=pathword?token=t0kenT0ken").unwrap());
        redactor.person(1, vec!["ada-lovelace".to_owned(), "Ada Lovelace".to_owned()]);
        redactor.sort();
        redactor
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let redactor = redactor();
        for (text, clean) in [
            ("password p@ss/w\"ord+1&2 there", "password *** there"),
            ("rtsp://u:p%40ss%2Fw%22ord+1&2@cam", "rtsp://***:***@cam"),
            ("p%40ss%2Fw%22ord%2B1%262", "***"),
            (r#"{"password":"p@ss/w\"ord+1&2"}"#, r#"{"password":"***"}"#),
            ("cEBzcy93Im9yZCsxJjI=", "***"),
            ("s@cret or s%40cret", "*** or ***"),
            ("DESCRIBE /user=admin&password=pathword failed", "DESCRIBE /*** failed"),
            ("only pathword", "only ***"),
            ("?token=t0kenT0ken", "?***"),
            ("abc abcd (abc)", "*** abcd (***)"),
        ] {
            assert_eq!(redactor.clean(text), clean, "{text}");
        }
    }

    #[test]
    fn a_channel_is_no_secret() {
        let mut redactor = Redactor::default();
        redactor.address(&Url::parse("rtsp://cam/live?channel=1&subtype=0").unwrap());
        redactor.sort();
        assert_eq!(redactor.clean("1 frame of 10, exit 0"), "1 frame of 10, exit 0");
        assert_eq!(redactor.clean("/live?channel=1&subtype=0"), "/live?***");
    }

    #[test]
    fn whoever_the_log_names_is_hidden() {
        let redactor = redactor();
        for (line, clean) in [
            (
                "removed person=joe-biden uid=\"01KA\"",
                "removed person=*** uid=\"***\"",
            ),
            (
                r#"{"camera":"door","person":"joe-biden","level":"INFO"}"#,
                r#"{"camera":"door","person":"***","level":"INFO"}"#,
            ),
            (r#"person="Joe \"Jo\" B" next=1"#, r#"person="***" next=1"#),
            (
                "recognized person=ada-lovelace camera=door",
                "recognized person=person-1 camera=door",
            ),
            ("hostname=box a person came", "hostname=box a person came"),
        ] {
            assert_eq!(redactor.clean(line), clean);
        }
    }

    #[test]
    fn people_become_numbers() {
        let redactor = redactor();
        assert_eq!(
            redactor.clean("recognized person=ada-lovelace, ADA LOVELACE, adalovelace"),
            "recognized person=person-1, person-1, adalovelace"
        );
        assert_eq!(
            redactor.clean("/home/ada/kith.toml:/home/"),
            "/home/***/kith.toml:/home/"
        );
    }
}
