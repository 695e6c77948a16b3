//! The keys of `[mqtt]` and `[home_assistant]`, made into what the publisher relies on.

use std::path::Path;

use url::Url;

use super::error::Mistake;
use super::raw;
use super::secret::Secret;
use super::settings::password;

/// How to reach the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttSettings {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it is spoken to over TLS, verified.
    pub tls: bool,
    /// PEM text of the authority to trust instead of the system's.
    pub authority_pem: Option<Vec<u8>>,
    /// PEM text of our own certificate and its key, if the broker asks for one.
    pub client_pem: Option<(Vec<u8>, Secret)>,
    /// The name that the broker's certificate has to be for, if it isn't the host's.
    pub server_name: Option<String>,
    /// User, and password if there is one.
    pub login: Option<(String, Option<Secret>)>,
    /// What every topic begins with; no slash at either end.
    pub base_topic: String,
    /// The client id, if the file names it.
    pub client_id: Option<String>,
    /// Seconds between signs of life, 5 or more.
    pub keep_alive_s: u16,
}

/// How Home Assistant is told of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeAssistantSettings {
    /// What discovery topics begin with; no slash at either end.
    pub discovery_prefix: String,
    /// Where Home Assistant says that it is there.
    pub birth_topic: String,
}

/// `None` when it is turned off.
pub(super) fn home_assistant(raw: raw::HomeAssistant, mistakes: &mut Vec<Mistake>) -> Option<HomeAssistantSettings> {
    let discovery_prefix = raw.discovery_prefix.unwrap_or_else(|| "homeassistant".to_owned());
    let birth_topic = raw.birth_topic.unwrap_or_else(|| "homeassistant/status".to_owned());
    for (key, topic) in [("discovery_prefix", &discovery_prefix), ("birth_topic", &birth_topic)] {
        if !is_topic(topic) {
            mistakes.push(Mistake::new(format!("home_assistant.{key}"), NO_TOPIC));
        }
    }
    raw.enabled.unwrap_or(false).then_some(HomeAssistantSettings {
        discovery_prefix,
        birth_topic,
    })
}

const NO_TOPIC: &str = "no topic may begin with `/` or `$`, end with `/`, or hold `+`, `#` or a space";

fn is_topic(topic: &str) -> bool {
    let forbidden = |c: char| matches!(c, '+' | '#') || c.is_control() || c.is_whitespace();
    !topic.is_empty() && !topic.starts_with(['/', '$']) && !topic.ends_with('/') && !topic.chars().any(forbidden)
}

fn pem(file: &Path, folder: &Path, key: &str, mistakes: &mut Vec<Mistake>) -> Option<Vec<u8>> {
    let file = folder.join(file);
    match std::fs::read(&file) {
        Ok(pem) => Some(pem),
        Err(error) => {
            mistakes.push(Mistake::new(key, format!("can't read {}: {error}", file.display())));
            None
        }
    }
}

pub(super) fn broker(raw: raw::Mqtt, folder: &Path, mistakes: &mut Vec<Mistake>) -> Option<MqttSettings> {
    let place = match raw.url.as_deref().map(place) {
        Some(Ok(place)) => Some(place),
        Some(Err(problem)) => {
            mistakes.push(Mistake::new("mqtt.url", problem));
            None
        }
        // A value of a wrong type was named already.
        None if mistakes.iter().any(|mistake| mistake.key == "mqtt.url") => None,
        None => {
            mistakes.push(Mistake::new(
                "mqtt.url",
                "is missing; it says where the broker is, such as \"mqtt://127.0.0.1:1883\"",
            ));
            None
        }
    };
    let secret = raw
        .password_file
        .and_then(|file| password(&file, folder, "mqtt.password_file", mistakes));
    if secret.is_some() && raw.username.is_none() {
        mistakes.push(Mistake::new("mqtt.username", "is missing beside mqtt.password_file"));
    }
    let authority_pem = raw
        .ca_file
        .and_then(|file| pem(&file, folder, "mqtt.ca_file", mistakes));
    let certificate_named = raw.client_cert_file.is_some();
    let key_named = raw.client_key_file.is_some();
    let certificate = raw
        .client_cert_file
        .and_then(|file| pem(&file, folder, "mqtt.client_cert_file", mistakes));
    let key = raw
        .client_key_file
        .and_then(|file| password(&file, folder, "mqtt.client_key_file", mistakes));
    match (certificate_named, key_named) {
        (true, false) => mistakes.push(Mistake::new(
            "mqtt.client_key_file",
            "is missing beside mqtt.client_cert_file",
        )),
        (false, true) => mistakes.push(Mistake::new(
            "mqtt.client_cert_file",
            "is missing beside mqtt.client_key_file",
        )),
        _ => {}
    }
    let base_topic = raw.base_topic.unwrap_or_else(|| "kith".to_owned());
    if !is_topic(&base_topic) {
        mistakes.push(Mistake::new(
            "mqtt.base_topic",
            format!("{NO_TOPIC}; \"kith\" is the usual one"),
        ));
    }
    let (host, port, tls) = place?;
    for (key, given) in [
        ("mqtt.ca_file", authority_pem.is_some()),
        ("mqtt.client_cert_file", certificate_named),
        ("mqtt.server_name", raw.server_name.is_some()),
    ] {
        if given && !tls {
            mistakes.push(Mistake::new(key, "does nothing for mqtt://; write mqtts:// for TLS"));
        }
    }
    if tls && certificate_named && authority_pem.is_none() {
        mistakes.push(Mistake::new(
            "mqtt.ca_file",
            "is missing beside mqtt.client_cert_file; a broker that asks for certificates has an authority of its own",
        ));
    }
    Some(MqttSettings {
        host,
        port,
        tls,
        authority_pem,
        client_pem: certificate.zip(key),
        server_name: raw.server_name,
        login: raw.username.map(|user| (user, secret)),
        base_topic,
        client_id: raw.client_id,
        keep_alive_s: raw.keep_alive_s.unwrap_or(15),
    })
}

/// Host, port, and whether TLS is spoken.
fn place(text: &str) -> Result<(String, u16, bool), String> {
    const VALID: &str = "write mqtt://HOST[:PORT], or mqtts://HOST[:PORT] for TLS";
    let url = Url::parse(text).map_err(|error| format!("{error}; {VALID}"))?;
    let tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        other => return Err(format!("`{other}:` is not spoken; {VALID}")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; put them into mqtt.username and mqtt.password_file".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("names no host; {VALID}"))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(format!("has something after the host; {VALID}"));
    }
    // An IPv6 address stands in brackets in an URL, and without them everywhere else.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, url.port().unwrap_or(if tls { 8883 } else { 1883 }), tls))
}
