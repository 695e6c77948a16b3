//! Which files of a configuration hold secrets: who may read them is `kith check`'s business, and what is in them must
//! not get into a support bundle.

use std::env;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The keys that name such files.
const KEYS: [&str; 2] = ["password_file", "client_key_file"];

/// A file with a password or a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The key that names it, such as `camera[1].password_file`.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The files with secrets that `file` and the environment name. What can't be read or is no TOML names none.
pub fn secret_files(file: &Path) -> Vec<SecretFile> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let Ok(table) = text.parse::<Table>() else {
        return Vec::new();
    };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let mut found = Vec::new();
    each_text("", &Value::Table(table), &mut |key, value| {
        if KEYS.iter().any(|name| key.rsplit('.').next() == Some(*name)) {
            found.push(SecretFile {
                key: key.to_owned(),
                path: resolve(Path::new(value), folder),
            });
        }
    });
    for key in KEYS {
        let variable = format!("KITH__MQTT__{}", key.to_uppercase());
        if let Some(value) = env::var_os(&variable) {
            found.retain(|other| other.key != format!("mqtt.{key}"));
            found.push(SecretFile {
                key: variable,
                path: resolve(Path::new(&value), folder),
            });
        }
    }
    found
}

/// Calls `each` with every text below `value` and the path of its key, such as `camera[1].password_file`, which begins
/// with `key`.
pub(crate) fn each_text(key: &str, value: &Value, each: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => each(key, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each_text(&format!("{key}[{index}]"), item, each);
            }
        }
        Value::Table(table) => {
            for (name, value) in table {
                let path = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                each_text(&path, value, each);
            }
        }
        _ => {}
    }
}

/// Where `file` is: a systemd credential of that name if there is one, else beside the configuration in `folder`, else in
/// its folder `credentials`, where the service's credentials come from: an admin who checks the configuration finds them
/// there.
pub(crate) fn resolve(file: &Path, folder: &Path) -> PathBuf {
    let credential = env::var_os("CREDENTIALS_DIRECTORY")
        .map(|credentials| PathBuf::from(credentials).join(file))
        .filter(|path| path.is_file());
    let (beside, source) = (folder.join(file), folder.join("credentials").join(file));
    credential.unwrap_or(if !beside.exists() && source.exists() {
        source
    } else {
        beside
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_with_a_secret_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kith.toml");
        let text = "[mqtt]\npassword_file = \"mqtt-password\"\nclient_key_file = \"/k\"\nca_file = \"ca.pem\"\n\
                    [[camera]]\nid = \"a\"\n[[camera]]\nid = \"b\"\npassword_file = \"door\"\n";
        std::fs::write(&file, text).unwrap();
        let found: Vec<(String, PathBuf)> = secret_files(&file).into_iter().map(|one| (one.key, one.path)).collect();
        let own = |name: &str| folder.path().join(name);
        assert_eq!(
            found,
            [
                ("camera[1].password_file".to_owned(), own("door")),
                ("mqtt.client_key_file".to_owned(), PathBuf::from("/k")),
                ("mqtt.password_file".to_owned(), own("mqtt-password")),
            ]
        );
        std::fs::write(&file, "no toml").unwrap();
        assert_eq!(secret_files(&file), []);
    }
}
