//! The connection to the broker. Each one gets a client of its own: the client library keeps a queue over a
//! reconnection, and what waits there could come late, or vanish. What must not vanish is in the outbox.

use std::time::Duration;

use rumqttc::mqttbytes::v5::{ConnectReturnCode, LastWill};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, Incoming, MqttOptions, TlsConfiguration, Transport,
};
use tokio::sync::mpsc;

use super::topics::Topics;
use crate::config::MqttSettings;

/// Messages that may wait in the client; the desk sends fewer at a time.
const ROOM: usize = 64;
/// The first pause after a lost connection.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(15);
/// How long a broker may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens to the connection.
pub enum LinkEvent {
    /// It is up; send with this client until it is down.
    Up(AsyncClient),
    /// It is down.
    Down,
}

/// The client's options, with the will that says `offline`.
///
/// # Errors
/// When the certificates can't be used.
pub fn options(settings: &MqttSettings, node: &str, topics: &Topics) -> anyhow::Result<MqttOptions> {
    let id = settings.client_id.clone().unwrap_or_else(|| format!("kith-{node}"));
    let mut options = listener_options(settings, &id)?;
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
pub fn listener_options(settings: &MqttSettings, id: &str) -> anyhow::Result<MqttOptions> {
    let mut options = MqttOptions::new(id, Broker::tcp(settings.host.clone(), settings.port));
    if settings.tls {
        let tls = match &settings.authority_pem {
            Some(pem) => TlsConfiguration::Simple {
                ca: pem.clone(),
                alpn: None,
                client_auth: None,
            },
            None => TlsConfiguration::try_default_rustls()?,
        };
        options.set_transport(Transport::tls_with_config(tls));
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
    Ok(options)
}

/// Connects again and again, until the client is told to disconnect. Runs as a task of its own, since the client
/// makes progress only while it is polled.
pub async fn link(options: MqttOptions, events: mpsc::Sender<LinkEvent>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (client, mut eventloop) = AsyncClient::builder(options.clone()).capacity(ROOM).build();
        match connect(&mut eventloop).await {
            Ok(()) => {
                tracing::info!("connected to the broker");
                pause = FIRST_PAUSE;
                if events.send(LinkEvent::Up(client)).await.is_err() {
                    return;
                }
                let ended = serve(&mut eventloop).await;
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

async fn connect(eventloop: &mut EventLoop) -> Result<(), ConnectionError> {
    loop {
        if let Event::Incoming(Incoming::ConnAck(_)) = eventloop.poll().await? {
            return Ok(());
        }
    }
}

/// Polls until the connection ends; `None` when we ended it.
async fn serve(eventloop: &mut EventLoop) -> Option<ConnectionError> {
    loop {
        match eventloop.poll().await {
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

/// Connects once and disconnects, for `kith check`.
///
/// # Errors
/// With a sentence about what is wrong.
pub async fn check_broker(options: MqttOptions) -> Result<(), String> {
    // Another client than the daemon's, and without its will: a check must not throw a running daemon out, nor say
    // `offline` for it.
    let id = format!("{}-check-{}", options.client_id(), std::process::id());
    let mut plain = MqttOptions::new(id, options.broker().clone());
    plain.set_transport(options.transport());
    plain.set_auth(options.auth().clone());
    plain.set_connect_timeout(CONNECT_TIMEOUT);
    let (client, mut eventloop) = AsyncClient::builder(plain).capacity(1).build();
    connect(&mut eventloop).await.map_err(|error| in_words(&error))?;
    if client.disconnect().await.is_ok() {
        // What the broker says to a farewell changes nothing.
        let _ = serve(&mut eventloop).await;
    }
    Ok(())
}

/// What went wrong with a connection, for people.
pub fn in_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses the user or the password; look at mqtt.username and mqtt.password_file".to_owned(),
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion,
        ) => "the broker does not speak MQTT 5".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens there (connection refused); is the broker running, and mqtt.url right?".to_owned()
        }
        ConnectionError::Timeout(_) => "the broker does not answer; is mqtt.url right?".to_owned(),
        ConnectionError::Tls(error) => format!("TLS failed: {error}; mqtt.ca_file names the authority to trust"),
        other => other.to_string(),
    }
}
