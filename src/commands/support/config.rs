//! The configuration without secrets: what is known to be harmless stays, everything else is hidden.

use std::path::Path;

use toml::{Table, Value};
use url::Url;

use crate::camera::Address;

const HIDDEN: &str = "***";
/// Keys with texts that are shown; a text under any other key is hidden, since nobody knows what a mistyped key holds.
const SHOWN: [&str; 24] = [
    "node",
    "state",
    "provider",
    "library",
    "models",
    "models_d",
    "by",
    "embedder",
    "listen",
    "format",
    "level",
    "id",
    "decode",
    "sandbox",
    "name",
    "base_topic",
    "client_id",
    "server_name",
    "discovery_prefix",
    "birth_topic",
    "password_file",
    "ca_file",
    "client_cert_file",
    "client_key_file",
];

/// The configuration `text` as TOML without comments, logins and secrets.
///
/// # Errors
/// When it is no TOML; without the parser's words, which repeat a line of it.
pub(super) fn redacted(text: &str) -> Result<String, String> {
    let table: Table = text
        .parse()
        .map_err(|_| "it is no TOML, so what in it is a secret can't be told".to_owned())?;
    let Value::Table(clean) = clean("", Value::Table(table)) else {
        return Ok(String::new());
    };
    toml::to_string(&clean).map_err(|error| error.to_string())
}

fn clean(key: &str, value: Value) -> Value {
    match value {
        Value::Table(table) => Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key.clone(), clean(&key, value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| clean(key, item)).collect()),
        Value::String(text) => Value::String(if key == "url" {
            address(&text)
        } else if SHOWN.contains(&key) && !text.contains("://") {
            text
        } else {
            HIDDEN.to_owned()
        }),
        other if key.contains("pass") || key.contains("token") => {
            drop(other);
            Value::String(HIDDEN.to_owned())
        }
        other => other,
    }
}

/// A broker's or camera's address: scheme, host and port.
fn address(text: &str) -> String {
    if let Ok(address) = Address::parse(text, Path::new("")) {
        return address.to_string();
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "mqtt" | "mqtts") => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
        }
        _ => HIDDEN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_harmless_is_hidden() {
        let text = "# password = \"incomment\"\nnode = \"box\"\nnodes = \"mistyped\"\n[mqtt]\n\
                    url = \"mqtts://kith:inurl@broker.lan:8883\"\nusername = \"user\"\npassword_file = \"mqtt-password\"\n\
                    password = 1234\n[[camera]]\nid = \"door\"\nurl = \"rtsp://u:s3cret@cam.lan:554/path?token=abc\"\n\
                    min_face_px = 40\n[[camera]]\nurl = \"exec:whatever\"\n";
        let clean = redacted(text).unwrap();
        for hidden in [
            "incomment",
            "mistyped",
            "inurl",
            "\"user\"",
            "1234",
            "s3cret",
            "path?",
            "abc",
            "whatever",
        ] {
            assert!(!clean.contains(hidden), "{hidden}: {clean}");
        }
        for shown in [
            "node = \"box\"",
            "mqtts://broker.lan:8883",
            "password_file = \"mqtt-password\"",
            "rtsp://cam.lan:554/…",
            "min_face_px = 40",
        ] {
            assert!(clean.contains(shown), "{shown}: {clean}");
        }
        assert!(!redacted("url = rtsp://u:s3cret@cam").unwrap_err().contains("s3cret"));
    }
}
