//! A camera that gives one picture for each request over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use digest_auth::{AuthContext, WwwAuthenticateHeader};
use jiff::Timestamp;
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};
use url::Url;

use super::address::percent_decoded;
use super::{CameraError, CameraSource, Picture};
use crate::frame::CapturedAt;
use crate::photo;
use crate::stop::Stop;

/// A camera that takes longer for a picture is not one to recognise people with.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Without a whole picture for so long, the camera counts as gone.
const STALL: Duration = Duration::from_secs(15);
/// As for photos that are enrolled.
const MAX_BYTES: u64 = 10_000_000;

/// Asks for pictures, at a rate.
pub(super) struct SnapshotSource {
    agent: Agent,
    /// Without user and password.
    url: Url,
    login: Option<(String, String)>,
    /// What the camera asked for, once it did.
    challenge: Option<Challenge>,
    pause: Duration,
    due: Instant,
    last_good: Instant,
    stop: Stop,
}

enum Challenge {
    Basic,
    Digest(Box<WwwAuthenticateHeader>),
}

impl SnapshotSource {
    /// Nothing is asked for yet; `url` may hold user and password.
    pub(super) fn new(url: &Url, per_second: f64, stop: Stop) -> Self {
        let login = (!url.username().is_empty()).then(|| {
            let password = percent_decoded(url.password().unwrap_or_default());
            (percent_decoded(url.username()), password)
        });
        let mut bare = url.clone();
        // Both only fail for addresses without a host.
        let _ = bare.set_username("").and_then(|()| bare.set_password(None));
        let tls = ureq::tls::TlsConfig::builder()
            // Cameras sign their own certificates; see the guide.
            .disable_verification(true)
            .build();
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // A camera that sends us elsewhere could send us anywhere in this network.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .tls_config(tls)
            .build()
            .into();
        Self {
            agent,
            url: bare,
            login,
            challenge: None,
            pause: Duration::from_secs_f64(1.0 / per_second),
            due: Instant::now(),
            last_good: Instant::now(),
            stop,
        }
    }

    /// The bytes that the camera answers with, and when it began to.
    fn fetch(&mut self) -> Result<(Vec<u8>, CapturedAt), String> {
        let mut response = self.ask()?;
        if response.status() == StatusCode::UNAUTHORIZED && self.login.is_some() {
            // The first request, or a challenge that has run out.
            self.challenge = challenge(&response);
            if self.challenge.is_some() {
                response = self.ask()?;
            }
        }
        let captured_at = CapturedAt {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err("it wants another user or password (401); look at username and password_file".to_owned());
            }
            status if status.is_redirection() => {
                return Err(format!(
                    "it sends us elsewhere ({status}), which is not followed; write the last address"
                ));
            }
            status => return Err(format!("it answers {status}")),
        }
        let bytes = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        bytes
            .map(|bytes| (bytes, captured_at))
            .map_err(|error| error.to_string())
    }

    fn ask(&mut self) -> Result<Response<ureq::Body>, String> {
        let mut request = self.agent.get(self.url.as_str());
        if let (Some((user, password)), Some(challenge)) = (&self.login, &mut self.challenge) {
            let value = match challenge {
                Challenge::Basic => format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes())),
                Challenge::Digest(prompt) => {
                    let target = match self.url.query() {
                        Some(query) => format!("{}?{query}", self.url.path()),
                        None => self.url.path().to_owned(),
                    };
                    let answer = prompt.respond(&AuthContext::new(user.as_str(), password.as_str(), target));
                    answer
                        .map_err(|error| format!("its challenge can't be answered: {error}"))?
                        .to_string()
                }
            };
            request = request.header(header::AUTHORIZATION, value);
        }
        request.call().map_err(|error| error.to_string())
    }
}

/// What the camera asks for; the safer one where it leaves a choice.
fn challenge<B>(response: &Response<B>) -> Option<Challenge> {
    let asked = response.headers().get_all(header::WWW_AUTHENTICATE);
    let asked: Vec<&str> = asked.iter().filter_map(|value| value.to_str().ok()).collect();
    let begins = |text: &str, word: &str| {
        text.get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let digest = asked.iter().find(|text| begins(text, "digest"));
    if let Some(prompt) = digest.and_then(|text| digest_auth::parse(text).ok()) {
        return Some(Challenge::Digest(Box::new(prompt)));
    }
    asked
        .iter()
        .any(|text| begins(text, "basic"))
        .then_some(Challenge::Basic)
}

impl CameraSource for SnapshotSource {
    fn next_picture(&mut self) -> Result<Option<Picture>, CameraError> {
        loop {
            if self.stop.wait(self.due.saturating_duration_since(Instant::now())) {
                return Err(CameraError::Stopped);
            }
            self.due = Instant::now() + self.pause;
            let (bytes, captured_at) = self.fetch().map_err(CameraError::Snapshot)?;
            match photo::decode(&bytes) {
                Ok(pixels) => {
                    self.last_good = Instant::now();
                    return Ok(Some(Picture {
                        pixels: Arc::new(pixels),
                        captured_at,
                    }));
                }
                // One bad picture stays one bad picture.
                Err(error) => tracing::warn!(%error, "a snapshot is left out"),
            }
            if self.last_good.elapsed() > STALL {
                return Err(CameraError::Stalled(STALL.as_secs()));
            }
        }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
