//! Asks a broker all that the daemon needs of it, one thing after the other: for `kith check`. It connects with the
//! daemon's own options, but under another client id, so that a running daemon is not thrown out, and says nothing where
//! somebody listens.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{ConnectReturnCode, LastWill, PubAckReason, SubscribeReasonCode};
use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use rumqttc::tokio_rustls::rustls::crypto::ring;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rumqttc::tokio_rustls::rustls::server::ParsedCertificate;
use rumqttc::tokio_rustls::rustls::{CertificateError, Error as TlsError, RootCertStore};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, PublishOptions, TlsConfiguration};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::link::{connect, listener_options, tls};
use super::link_words::{below, in_words, tls_error, tls_in_words};
use super::topics::Topics;
use crate::config::MqttSettings;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(6);
/// A moment at which every certificate has expired: the error then says when.
const FAR_FUTURE_S: u64 = 253_402_300_000;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// The node's id in topics.
    pub node: String,
    /// Topics that have to be written; something harmless is said there, not retained.
    pub write: Vec<(String, &'static str)>,
    /// Filters that have to be read.
    pub read: Vec<String>,
}

/// What the broker answered, as far as it came.
#[derive(Debug, Default)]
pub struct Answers {
    /// Where its name leads.
    pub addresses: Vec<SocketAddr>,
    /// The address that took the connection.
    pub connected: Option<SocketAddr>,
    /// The certificate held; until when, if that can be told.
    pub secured: Option<Option<Timestamp>>,
    /// It took login and will.
    pub accepted: bool,
    /// What we may not write or read, and how it said so.
    pub refused: Vec<Refused>,
    /// What kept us from asking further.
    pub trouble: Option<Trouble>,
}

/// A topic that is not for us.
#[derive(Debug)]
pub struct Refused {
    /// Topic or filter.
    pub topic: String,
    /// Whether we wanted to write there.
    pub write: bool,
    /// The broker's reason.
    pub reason: String,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Trouble {
    /// Our own certificates can't be used.
    OwnFiles(String),
    /// The name leads nowhere.
    NoAddress(String),
    /// Nobody takes the connection; `None` when nothing came back at all.
    NoConnection(Option<io::Error>),
    /// The two sides don't agree about certificates.
    Tls(Box<TlsError>),
    /// The broker says no.
    Refused(ConnectReturnCode),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnFiles(what) | Self::Other(what) => f.write_str(what),
            Self::NoAddress(what) => write!(f, "the name leads nowhere: {what}"),
            Self::NoConnection(None) => f.write_str("nothing answers there"),
            Self::NoConnection(Some(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("nothing listens there (connection refused)")
            }
            Self::NoConnection(Some(error)) => error.fmt(f),
            Self::Tls(error) => f.write_str(&tls_in_words(error)),
            Self::Refused(code) => f.write_str(&in_words(&ConnectionError::ConnectionRefused(*code))),
        }
    }
}

impl From<ConnectionError> for Trouble {
    fn from(error: ConnectionError) -> Self {
        if let Some(error) = tls_error(below(&error)) {
            return Self::Tls(Box::new(error.clone()));
        }
        match error {
            ConnectionError::ConnectionRefused(code) => Self::Refused(code),
            ConnectionError::Timeout(_) => Self::NoConnection(None),
            other => Self::Other(in_words(&other)),
        }
    }
}

/// Asks the broker of `settings`.
pub async fn probe(settings: &MqttSettings, questions: &Questions) -> Answers {
    let mut answers = Answers::default();
    if let Err(trouble) = ask(settings, questions, &mut answers).await {
        answers.trouble = Some(trouble);
    }
    answers
}

async fn ask(settings: &MqttSettings, questions: &Questions, answers: &mut Answers) -> Result<(), Trouble> {
    answers.addresses = addresses(settings).await?;
    let stream = reach(&answers.addresses).await?;
    answers.connected = stream.peer_addr().ok();
    if settings.tls {
        answers.secured = Some(secure(settings, stream).await?);
    }
    // The handshake of before was only to look; the client makes its own.
    let id = settings.client_id.as_deref().unwrap_or("kith");
    let id = format!("{id}-check-{}", std::process::id());
    let mut options = listener_options(settings, id).map_err(|error| Trouble::OwnFiles(format!("{error:#}")))?;
    // As the daemon's will, but on a topic that means nothing; an empty retained message leaves nothing behind.
    let will = Topics::new(&settings.base_topic, &questions.node).node("check");
    options.set_last_will(LastWill::new(will, "", QoS::AtLeastOnce, true, None));
    let (client, mut eventloop) = AsyncClient::builder(options).capacity(4).build();
    connect(&mut eventloop).await?;
    answers.accepted = true;
    for (topic, payload) in &questions.write {
        if let Some(reason) = may_write(&client, &mut eventloop, topic, payload).await? {
            answers.refused.push(Refused {
                topic: topic.clone(),
                write: true,
                reason,
            });
        }
    }
    for filter in &questions.read {
        if let Some(reason) = may_read(&client, &mut eventloop, filter).await? {
            answers.refused.push(Refused {
                topic: filter.clone(),
                write: false,
                reason,
            });
        }
    }
    if client.disconnect().await.is_ok() {
        // What the broker says to a farewell changes nothing.
        let farewell = async { while eventloop.poll().await.is_ok() {} };
        let _ = timeout(PATIENCE, farewell).await;
    }
    Ok(())
}

async fn addresses(settings: &MqttSettings) -> Result<Vec<SocketAddr>, Trouble> {
    match timeout(PATIENCE, lookup_host((settings.host.as_str(), settings.port))).await {
        Err(_) => Err(Trouble::NoAddress("no name server answers".to_owned())),
        Ok(Err(error)) => Err(Trouble::NoAddress(error.to_string())),
        Ok(Ok(found)) => Ok(found.collect()),
    }
}

/// A connection to the first address that takes one.
async fn reach(addresses: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    let mut last = Trouble::NoAddress("it has no address".to_owned());
    for address in addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Trouble::NoConnection(Some(error)),
            Err(_) => last = Trouble::NoConnection(None),
        }
    }
    Err(last)
}

/// The TLS handshake; until when the broker's certificate holds.
async fn secure(settings: &MqttSettings, stream: TcpStream) -> Result<Option<Timestamp>, Trouble> {
    let own = |error: anyhow::Error| Trouble::OwnFiles(format!("{error:#}"));
    let TlsConfiguration::Rustls(config) = tls(settings).map_err(own)? else {
        return Ok(None);
    };
    let name = settings.server_name.as_ref().unwrap_or(&settings.host).clone();
    let name = ServerName::try_from(name).map_err(|error| Trouble::OwnFiles(format!("mqtt.server_name: {error}")))?;
    let handshake = TlsConnector::from(Arc::clone(&config)).connect(name, stream);
    match timeout(PATIENCE, handshake).await {
        Err(_) => Err(Trouble::Other(
            "the TLS handshake is not answered; is it the broker's TLS port?".to_owned(),
        )),
        Ok(Err(error)) => match tls_error(&error) {
            Some(error) => Err(Trouble::Tls(Box::new(error.clone()))),
            None => Err(Trouble::Other(format!(
                "the TLS handshake failed: {error}; is it the broker's TLS port? Nothing was sent in the clear"
            ))),
        },
        Ok(Ok(stream)) => Ok(stream.get_ref().1.peer_certificates().and_then(holds_until)),
    }
}

/// When the first certificate in the PEM text expires.
pub fn certificate_until(pem: &[u8]) -> Option<Timestamp> {
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    holds_until(&chain)
}

/// When the first of `chain` expires, told by a check at a moment when everything has.
fn holds_until(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let (first, others) = chain.split_first()?;
    let parsed = ParsedCertificate::try_from(first).ok()?;
    let late = UnixTime::since_unix_epoch(Duration::from_secs(FAR_FUTURE_S));
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let verdict = verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), others, late, algorithms);
    match verdict {
        Err(TlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Timestamp::from_second(i64::try_from(not_after.as_secs()).ok()?).ok()
        }
        _ => None,
    }
}

/// Says something, and returns the broker's reason if it doesn't let us.
async fn may_write(
    client: &AsyncClient,
    eventloop: &mut EventLoop,
    topic: &str,
    payload: &str,
) -> Result<Option<String>, Trouble> {
    let asked = client.publish(topic, payload, PublishOptions::at_least_once()).await;
    asked.map_err(|error| Trouble::Other(error.to_string()))?;
    answer(eventloop, |packet| match packet {
        Incoming::PubAck(acknowledged) => Some(match acknowledged.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
            reason => Some(format!("{reason:?}")),
        }),
        _ => None,
    })
    .await
}

/// Subscribes, and returns the broker's reason if it doesn't let us.
async fn may_read(client: &AsyncClient, eventloop: &mut EventLoop, filter: &str) -> Result<Option<String>, Trouble> {
    let asked = client.subscribe(filter, QoS::AtLeastOnce).await;
    asked.map_err(|error| Trouble::Other(error.to_string()))?;
    answer(eventloop, |packet| match packet {
        Incoming::SubAck(acknowledged) => {
            let refused = acknowledged
                .return_codes
                .iter()
                .find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
            Some(refused.map(|code| format!("{code:?}")))
        }
        _ => None,
    })
    .await
}

/// Polls until `read` finds the answer.
async fn answer<T>(eventloop: &mut EventLoop, read: impl Fn(&Incoming) -> Option<T>) -> Result<T, Trouble> {
    let waiting = async {
        loop {
            if let Event::Incoming(packet) = eventloop.poll().await?
                && let Some(answer) = read(&packet)
            {
                return Ok::<T, ConnectionError>(answer);
            }
        }
    };
    match timeout(PATIENCE, waiting).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Trouble::from(error)),
        Err(_) => Err(Trouble::Other("the broker does not acknowledge what we say".to_owned())),
    }
}
