//! The connection to the broker. Each one gets a client of its own: the client library keeps a queue over a
//! reconnection, and what waits there could come late, or vanish. What must not vanish is in the outbox.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rumqttc::mqttbytes::v5::{ConnAck, LastWill, Publish};
use rumqttc::tokio_rustls::rustls::crypto::ring;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rumqttc::tokio_rustls::rustls::{ClientConfig, RootCertStore};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, Incoming, MqttOptions, NetworkOptions, TlsConfiguration,
    Transport,
};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::link_words::in_words;
use super::topics::Topics;
use crate::config::MqttSettings;

/// Messages that may wait in the client; the desk sends fewer at a time.
const ROOM: usize = 64;
/// The first pause after a lost connection.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// A connection that held for so long was a good one; after a shorter one the pause goes on growing.
const GOOD: Duration = Duration::from_secs(5);
/// The largest packet that we take: a request, with room. The client's own limit of 10 KiB would be too small.
const LARGEST_PACKET_BYTES: u32 = 128 * 1024;
/// How long a broker may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens to the connection.
pub enum LinkEvent {
    /// It is up.
    Up {
        /// To be sent with until it is down.
        client: AsyncClient,
        /// The largest packet that the broker takes, if it says so.
        largest_packet_bytes: Option<u32>,
    },
    /// Something was said on a topic that we listen to.
    Heard(Heard),
    /// It is down.
    Down,
}

/// A message to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Where it was said.
    pub topic: String,
    /// What was said.
    pub payload: Vec<u8>,
    /// Whether it was there before we listened.
    pub retained: bool,
}

/// The client's options, with the will that says `offline`.
///
/// # Errors
/// When the certificates can't be used.
pub fn options(settings: &MqttSettings, node: &str, topics: &Topics) -> anyhow::Result<MqttOptions> {
    let id = settings.client_id.clone().unwrap_or_else(|| format!("kith-{node}"));
    let mut options = listener_options(settings, id)?;
    options.set_last_will(LastWill::new(
        topics.node("status"),
        "offline",
        rumqttc::mqttbytes::QoS::AtLeastOnce,
        true,
        None,
    ));
    Ok(options)
}

/// The options of a client `id` that leaves no will: of a camera whose pictures come over the broker.
///
/// # Errors
/// When the certificates can't be used.
pub fn listener_options(settings: &MqttSettings, id: impl Into<String>) -> anyhow::Result<MqttOptions> {
    // The certificate is checked against the name that the client believes to talk to.
    let name = settings.server_name.as_ref().unwrap_or(&settings.host);
    let mut options = MqttOptions::new(id, Broker::tcp(name.clone(), settings.port));
    if settings.server_name.is_some() {
        let address = (settings.host.clone(), settings.port);
        options.set_socket_connector(move |_, _: NetworkOptions| tokio::net::TcpStream::connect(address.clone()));
    }
    if settings.tls {
        options.set_transport(Transport::tls_with_config(tls(settings)?));
    }
    match &settings.login {
        Some((user, Some(password))) => {
            options.set_credentials(user.clone(), password.expose().to_owned());
        }
        Some((user, None)) => {
            options.set_username(user.clone());
        }
        None => {}
    }
    options.set_keep_alive(settings.keep_alive_s);
    options.set_connect_timeout(CONNECT_TIMEOUT);
    options.set_clean_start(true);
    options.set_max_packet_size(Some(LARGEST_PACKET_BYTES));
    Ok(options)
}

/// What the connection is secured with.
///
/// # Errors
/// When the certificates can't be used.
pub(super) fn tls(settings: &MqttSettings) -> anyhow::Result<TlsConfiguration> {
    let Some(authority) = &settings.authority_pem else {
        return TlsConfiguration::try_default_rustls().context("can't use the system's certificate authorities");
    };
    // Made here and not by the client, so that a file that holds no certificate is a mistake at the start.
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authority, "mqtt.ca_file")?);
    ensure!(!roots.is_empty(), "mqtt.ca_file holds no certificate that can be used");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &settings.client_pem {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .context("mqtt.client_key_file holds no key in PEM")?;
            builder
                .with_client_auth_cert(certificates(certificate, "mqtt.client_cert_file")?, key)
                .context("mqtt.client_cert_file and mqtt.client_key_file don't fit together")?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

fn certificates(pem: &[u8], key: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{key} is no PEM file"))?;
    ensure!(!certificates.is_empty(), "{key} holds no certificate in PEM");
    Ok(certificates)
}

/// Connects again and again, until the client is told to disconnect. Runs as a task of its own, since the client
/// makes progress only while it is polled.
pub async fn link(options: MqttOptions, events: mpsc::Sender<LinkEvent>, connection: Connection) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (client, mut eventloop) = AsyncClient::builder(options.clone()).capacity(ROOM).build();
        match connect(&mut eventloop).await {
            Ok(acknowledgement) => {
                tracing::info!("connected to the broker");
                connection.up();
                let since = Instant::now();
                let up = LinkEvent::Up {
                    client,
                    largest_packet_bytes: acknowledgement.properties.and_then(|its| its.max_packet_size),
                };
                if events.send(up).await.is_err() {
                    return;
                }
                let ended = serve(&mut eventloop, &events).await;
                connection.down();
                // A broker that throws us out at once is not asked twice a second.
                if since.elapsed() >= GOOD {
                    pause = FIRST_PAUSE;
                }
                if events.send(LinkEvent::Down).await.is_err() {
                    return;
                }
                match ended {
                    None => return,
                    Some(error) => tracing::warn!(error = in_words(&error), "lost the broker"),
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = in_words(&error),
                    "can't connect to the broker; events wait in the outbox"
                );
            }
        }
        tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
        pause = (pause * 2).min(LAST_PAUSE);
        if events.is_closed() {
            return;
        }
    }
}

/// Polls until the broker has accepted us.
pub(super) async fn connect(eventloop: &mut EventLoop) -> Result<ConnAck, ConnectionError> {
    loop {
        if let Event::Incoming(Incoming::ConnAck(acknowledgement)) = eventloop.poll().await? {
            return Ok(acknowledgement);
        }
    }
}

/// Polls until the connection ends; `None` when we ended it.
async fn serve(eventloop: &mut EventLoop, events: &mpsc::Sender<LinkEvent>) -> Option<ConnectionError> {
    loop {
        match eventloop.poll().await {
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                if events.send(LinkEvent::Heard(heard(&publish))).await.is_err() {
                    return None;
                }
            }
            Ok(Event::Incoming(Incoming::Disconnect(packet))) => {
                tracing::warn!(
                    reason = ?packet.reason_code,
                    "the broker ended the connection; `SessionTakenOver` means another client has the same client_id"
                );
            }
            Ok(_) => {}
            Err(ConnectionError::RequestsDone) => return None,
            Err(error) => return Some(error),
        }
    }
}

fn heard(publish: &Publish) -> Heard {
    Heard {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.to_vec(),
        retained: publish.retain,
    }
}
