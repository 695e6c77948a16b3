//! The commands' side of the Unix socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Verb;
use super::socket::{FILE_NAME, MAX_REQUEST_BYTES};

/// How long the daemon may take; a reload ends cameras, whose threads are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the running daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why the daemon did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It said why.
    #[error("{0}")]
    Refused(String),
    /// The request is too long.
    #[error(
        "that is too much for one request to the running daemon ({megabytes} MB); do it in several steps, or stop the \
         daemon meanwhile"
    )]
    TooLong {
        /// What it would be.
        megabytes: u64,
    },
    /// The connection failed.
    #[error("the running daemon does not answer at {path}: {source}")]
    Connection {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It answers something else than we expect.
    #[error(
        "the running daemon at {path} answers in another way than this `kith` expects ({reason}); are they of one version?"
    )]
    Answer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// As the daemon writes it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Ok(Value),
    Error(String),
}

impl Client {
    /// Connects to the daemon that works on `state_dir`; `None` when none does.
    ///
    /// # Errors
    /// When there is one, and it doesn't let us.
    pub fn connect(state_dir: &Path) -> Result<Option<Self>, AdminError> {
        Self::connect_to(&state_dir.join(FILE_NAME))
    }

    /// Connects to the socket `path`; `None` when nobody listens there.
    ///
    /// # Errors
    /// When somebody does, and doesn't let us.
    pub fn connect_to(path: &Path) -> Result<Option<Self>, AdminError> {
        let failed = |source| AdminError::Connection {
            path: path.to_path_buf(),
            source,
        };
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // A killed daemon leaves its socket behind.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Some(Self {
            path: path.to_path_buf(),
            stream: BufReader::new(stream),
        }))
    }

    /// Waits no longer than `patience` for each answer.
    ///
    /// # Errors
    /// When it is zero, or the connection is gone.
    pub fn set_patience(&self, patience: Duration) -> Result<(), AdminError> {
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)))
            .map_err(|source| AdminError::Connection {
                path: self.path.clone(),
                source,
            })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn ask<T: DeserializeOwned>(&mut self, verb: &Verb) -> Result<T, AdminError> {
        let answer = |reason: String| AdminError::Answer {
            path: self.path.clone(),
            reason,
        };
        let mut request = serde_json::to_vec(verb).map_err(|error| answer(error.to_string()))?;
        request.push(b'\n');
        if request.len() as u64 > MAX_REQUEST_BYTES {
            return Err(AdminError::TooLong {
                megabytes: request.len() as u64 / 1024 / 1024,
            });
        }
        let failed = |source| AdminError::Connection {
            path: self.path.clone(),
            source,
        };
        let mut line = String::new();
        // Whoever may not ask is told so before the request is read.
        let sent = self.stream.get_mut().write_all(&request);
        let read = self.stream.read_line(&mut line);
        if line.is_empty() {
            sent.map_err(failed)?;
        }
        read.map_err(failed)?;
        match serde_json::from_str(&line).map_err(|error| answer(error.to_string()))? {
            Line::Ok(value) => serde_json::from_value(value).map_err(|error| answer(error.to_string())),
            Line::Error(error) => Err(AdminError::Refused(error)),
        }
    }
}
