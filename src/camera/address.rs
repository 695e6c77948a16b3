//! Where a camera's pictures come from. A list of what is allowed, since the decoder would also open `exec:`,
//! `pipe:`, `concat:` and much else.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::config::Secret;

/// A camera's address, checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// A video file, played in real time.
    File(PathBuf),
    /// A video file, played as fast as it is looked at, by its own clock. For `kith evaluate` and `kith explain`; no
    /// configuration can name it.
    Clip(PathBuf),
    /// A folder of pictures, in the order of their names.
    Folder(PathBuf),
    /// A device of Video4Linux.
    Device(PathBuf),
    /// An RTSP or RTSPS stream.
    Rtsp(Url),
    /// Motion JPEG over HTTP or HTTPS.
    Http(Url),
    /// A picture over HTTP or HTTPS, asked for again and again.
    Snapshot(Url),
    /// Pictures on a topic of the configured broker.
    Topic(String),
    /// Frigate's snapshots of people.
    Frigate {
        /// What Frigate's topics begin with.
        prefix: String,
        /// The camera as Frigate calls it.
        camera: String,
    },
}

/// Why an address was refused. Never repeats the address, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("`{0}` is not allowed as a camera; allowed are {VALID}", VALID = Address::VALID)]
    Scheme(String),
    /// The scheme is fine, the rest isn't.
    #[error("{0}")]
    Malformed(String),
    /// A user or password for something that takes none.
    #[error("username and password_file are for cameras over rtsp:// and http://")]
    LoginNotTaken,
}

impl Address {
    /// What may be written, for messages.
    pub const VALID: &'static str = "rtsp://…, rtsps://…, http://…, https://… (MJPEG), snapshot:http://…, \
         snapshot:https://…, v4l2:/dev/video0, file:CLIP, dir:FOLDER, mqtt://TOPIC, frigate:CAMERA";

    /// Reads an address. Relative paths count from `folder`.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(AddressError::Malformed(format!(
                "has no scheme, such as `file:`; allowed are {}",
                Self::VALID
            )));
        };
        let path = || {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            if rest.is_empty() || rest.contains('\0') {
                return Err(AddressError::Malformed(format!("names nothing after `{scheme}:`")));
            }
            Ok(folder.join(rest))
        };
        match scheme {
            "file" => Ok(Self::File(path()?)),
            "dir" => Ok(Self::Folder(path()?)),
            "v4l2" => {
                let device = path()?;
                if !device.starts_with("/dev") {
                    return Err(AddressError::Malformed(
                        "a v4l2: camera is a device, such as v4l2:/dev/video0".to_owned(),
                    ));
                }
                Ok(Self::Device(device))
            }
            "rtsp" | "rtsps" => Ok(Self::Rtsp(network(text)?)),
            "http" | "https" => Ok(Self::Http(network(text)?)),
            "snapshot" => match rest.split_once(':') {
                Some(("http" | "https", _)) => Ok(Self::Snapshot(network(rest)?)),
                _ => Err(AddressError::Malformed(
                    "a snapshot: camera goes on with http:// or https://".to_owned(),
                )),
            },
            "mqtt" => Ok(Self::Topic(topic(rest.strip_prefix("//").unwrap_or(rest))?)),
            "frigate" => {
                let (prefix, camera) = rest.rsplit_once('/').unwrap_or(("frigate", rest));
                Ok(Self::Frigate {
                    prefix: topic(prefix)?,
                    camera: topic(camera)?,
                })
            }
            other => {
                // A password may stand anywhere in what isn't understood, so only a plain word is repeated.
                let plain = other.len() <= 16 && other.bytes().all(|byte| byte.is_ascii_alphanumeric());
                let scheme = if plain { format!("{other}:") } else { "this".to_owned() };
                Err(AddressError::Scheme(scheme))
            }
        }
    }

    /// The same address with a user and a password.
    ///
    /// # Errors
    /// When it takes none.
    pub fn with_login(mut self, user: Option<&str>, password: Option<&Secret>) -> Result<Self, AddressError> {
        if user.is_none() && password.is_none() {
            return Ok(self);
        }
        let (Self::Rtsp(url) | Self::Http(url) | Self::Snapshot(url)) = &mut self else {
            return Err(AddressError::LoginNotTaken);
        };
        user.map_or(Ok(()), |user| url.set_username(user))
            .and_then(|()| password.map_or(Ok(()), |password| url.set_password(Some(password.expose()))))
            .map_err(|()| AddressError::LoginNotTaken)?;
        Ok(self)
    }

    /// Whether it comes to an end by itself: a file or a folder.
    pub fn ends(&self) -> bool {
        matches!(self, Self::File(_) | Self::Clip(_) | Self::Folder(_))
    }

    /// Whether its pictures stand alone, so that several of them say nothing about one visit.
    pub fn single_pictures(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Topic(_) | Self::Frigate { .. })
    }

    /// Whether it waits for what others send, so that silence is no fault.
    pub fn waits(&self) -> bool {
        self.needs_broker()
    }

    /// Whether its pictures come over the configured broker.
    pub fn needs_broker(&self) -> bool {
        matches!(self, Self::Topic(_) | Self::Frigate { .. })
    }

    /// Whether FFmpeg decodes it.
    pub fn has_decoder(&self) -> bool {
        matches!(self, Self::File(_) | Self::Device(_) | Self::Rtsp(_) | Self::Http(_))
    }

    /// Takes the address and its password out of a line that may repeat them.
    pub fn redact(&self, line: &str) -> String {
        let (Self::Rtsp(url) | Self::Http(url) | Self::Snapshot(url)) = self else {
            return line.to_owned();
        };
        let mut clean = line.replace(url.as_str(), &self.to_string());
        if let Some(password) = url.password().filter(|password| !password.is_empty()) {
            clean = clean.replace(password, "***");
            let decoded = percent_decoded(password);
            if decoded != password {
                clean = clean.replace(&decoded, "***");
            }
        }
        // A decoder may write the address in its own form; the query may be a token, and so may the path.
        if let Some(query) = url.query().filter(|query| !query.is_empty()) {
            clean = clean.replace(query, "***");
        }
        if url.path().len() > 1 {
            clean = clean.replace(url.path(), "/…");
        }
        clean
    }
}

/// Undoes `%40` and the like; the decoder's messages may hold either form.
pub(crate) fn percent_decoded(text: &str) -> String {
    // `form_urlencoded` also turns `+` into a space and ends at `&` and `=`, all of which a password may hold.
    let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(text.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

/// A topic without wildcards.
fn topic(text: &str) -> Result<String, AddressError> {
    let good = !text.is_empty()
        && text.len() <= 512
        && !text.starts_with('$')
        && !text.chars().any(|c| matches!(c, '+' | '#') || c.is_control());
    if !good {
        return Err(AddressError::Malformed(
            "names no topic; one has no `+`, no `#` and no `$` at its beginning".to_owned(),
        ));
    }
    Ok(text.to_owned())
}

fn network(text: &str) -> Result<Url, AddressError> {
    let url = Url::parse(text).map_err(|error| {
        AddressError::Malformed(format!(
            "{error}; a password with special characters goes into username and password_file"
        ))
    })?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(AddressError::Malformed("names no host".to_owned()));
    }
    Ok(url)
}

impl fmt::Display for Address {
    /// Without user, password, path and query, each of which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Clip(path) => write!(f, "file:{}", path.display()),
            Self::Folder(path) => write!(f, "dir:{}", path.display()),
            Self::Device(path) => write!(f, "v4l2:{}", path.display()),
            Self::Topic(topic) => write!(f, "mqtt://{topic}"),
            Self::Frigate { prefix, camera } => write!(f, "frigate:{prefix}/{camera}"),
            Self::Rtsp(url) | Self::Http(url) | Self::Snapshot(url) => {
                if matches!(self, Self::Snapshot(_)) {
                    f.write_str("snapshot:")?;
                }
                write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
                // Some cameras want their password in the path, and with others the path itself is the secret.
                f.write_str(if url.path().len() > 1 { "/…" } else { "" })
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, Path::new("/etc/kith"))
    }

    #[test]
    fn only_listed_schemes_are_opened() {
        for refused in [
            "exec:rm",
            "pipe:0",
            "concat:a|b",
            "tcp://h:1",
            "udp://h:1",
            "data:text",
            "lavfi:testsrc",
            "clip.mp4",
            "",
            "FILE:clip.mp4",
            "ftp://h/x",
            "subfile,,start,0,end,1,,:/etc/passwd",
        ] {
            let error = parse(refused).expect_err(refused);
            assert!(error.to_string().contains("rtsp://"), "{refused}: {error}");
        }
        assert_eq!(parse("file:clip.mp4"), Ok(Address::File("/etc/kith/clip.mp4".into())));
        assert_eq!(parse("file:///a/b.mp4"), Ok(Address::File("/a/b.mp4".into())));
        assert_eq!(parse("dir:/pictures"), Ok(Address::Folder("/pictures".into())));
        assert_eq!(parse("v4l2:/dev/video0"), Ok(Address::Device("/dev/video0".into())));
        assert!(matches!(parse("v4l2:video0"), Err(AddressError::Malformed(_))));
        assert!(matches!(parse("rtsp://"), Err(AddressError::Malformed(_))));
    }

    #[test]
    fn pictures_from_others_have_topics() {
        assert_eq!(parse("mqtt://bell/jpeg"), Ok(Address::Topic("bell/jpeg".to_owned())));
        let frigate = |prefix: &str, camera: &str| Address::Frigate {
            prefix: prefix.to_owned(),
            camera: camera.to_owned(),
        };
        assert_eq!(parse("frigate:door"), Ok(frigate("frigate", "door")));
        assert_eq!(parse("frigate:nvr/two/door"), Ok(frigate("nvr/two", "door")));
        for refused in [
            "mqtt://",
            "mqtt://a/#",
            "mqtt://+/x",
            "mqtt://$SYS/x",
            "frigate:",
            "frigate:/x",
            "snapshot:file:/x",
        ] {
            assert!(matches!(parse(refused), Err(AddressError::Malformed(_))), "{refused}");
        }
    }

    #[test]
    fn a_file_named_like_a_protocol_stays_a_file() {
        assert_eq!(parse("file:pipe:0"), Ok(Address::File("/etc/kith/pipe:0".into())));
        assert_eq!(
            parse("file:http://x/y"),
            Ok(Address::File("/etc/kith/http://x/y".into()))
        );
    }

    #[test]
    fn a_password_may_hold_any_character() {
        for password in ["p@ss:/w#rd", "a&b=c", "1+1", "50%", "\u{fc}\"' \\"] {
            let address = parse("http://cam/x")
                .and_then(|a| a.with_login(Some("u"), Some(&Secret::new(password.to_owned()))))
                .expect(password);
            let Address::Http(url) = &address else {
                panic!("{address}")
            };
            assert_eq!(percent_decoded(url.password().expect(password)), password);
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        let password = Secret::new("p@ss:/w#rd".to_owned());
        let address = parse("rtsp://cam:554/live?token=abc").and_then(|a| a.with_login(Some("admin"), Some(&password)));
        let address = address.expect("a good address");
        let Address::Rtsp(url) = &address else {
            panic!("{address}")
        };
        assert!(!address.redact("http error: /live?token=abc&x").contains("token=abc"));
        for line in [
            address.to_string(),
            format!("{address:?}"),
            address.redact(&format!("{url}: 401 Unauthorized")),
            address.redact(&format!("auth admin:{} failed", password.expose())),
        ] {
            assert!(!line.contains("p@ss") && !line.contains("p%40ss"), "{line}");
        }
        assert!(parse("rtsp://u:secret@cam/x").is_ok_and(|a| !a.to_string().contains("secret")));
        let in_path = parse("rtsp://cam/user=admin&password=s3cret&channel=1").expect("a good address");
        assert_eq!(in_path.to_string(), "rtsp://cam/…");
        let said = in_path.redact("method DESCRIBE failed for /user=admin&password=s3cret&channel=1: 404");
        assert_eq!(said, "method DESCRIBE failed for /…: 404");
        let error = parse("rtsp://u:se#cret@cam/x").expect_err("a fragment in the host");
        assert!(!error.to_string().contains("se#cret"));
    }
}
