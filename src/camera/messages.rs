//! Pictures that others publish: JPEG on a topic of the broker, or Frigate's snapshots of people.
//!
//! The connection is the camera's own, not the publisher's: large pictures must not delay events, and a broker that ends
//! it over a picture must not end both. Retained pictures are ignored, since nobody knows how old they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::RgbImage;
use jiff::Timestamp;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{RetainForwardRule, SubscribeFilter, SubscribeReasonCode};
use rumqttc::{Client, Connection, Event, Incoming, RecvTimeoutError};

use super::frigate::Frigate;
use super::{Address, CameraError, CameraSource, Picture};
use crate::config::CameraSettings;
use crate::frame::{CameraId, CapturedAt};
use crate::photo;
use crate::publish;
use crate::stop::Stop;

/// As for photos that are enrolled, and room for the topic.
const MAX_PACKET_BYTES: u32 = 10_000_000 + 1024;
/// How long the broker may take to answer. The daemon can't stop meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often we look whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Listens to the topics of one camera.
pub(super) struct MessageSource {
    /// Keeps the connection open.
    _client: Client,
    connection: Connection,
    /// `None` for a plain topic, where arrival is capture.
    frigate: Option<Frigate>,
    /// Pictures of Frigate whose time is known.
    ready: VecDeque<(Vec<u8>, CapturedAt)>,
    stop: Stop,
}

impl MessageSource {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// When the broker can't be reached, or refuses.
    pub(super) fn open(settings: &CameraSettings, stop: Stop) -> Result<Self, CameraError> {
        let broken = |problem: String| CameraError::Broker(problem);
        let broker = settings
            .broker
            .as_deref()
            .ok_or_else(|| broken("none is configured".to_owned()))?;
        let (topics, frigate) = match &settings.address {
            Address::Frigate { prefix, camera } => {
                let frigate = Frigate::new(prefix, camera);
                (frigate.topics().to_vec(), Some(frigate))
            }
            Address::Topic(topic) => (vec![topic.clone()], None),
            _ => (Vec::new(), None),
        };
        let mut options =
            publish::listener_options(broker, client_id(&settings.id)).map_err(|error| broken(format!("{error:#}")))?;
        options.set_connect_timeout(PATIENCE);
        options.set_max_packet_size(Some(MAX_PACKET_BYTES));
        let (client, connection) = Client::builder(options).capacity(4).build();
        let filters = topics.into_iter().map(|topic| {
            let mut filter = SubscribeFilter::new(topic, QoS::AtMostOnce);
            filter.retain_forward_rule = RetainForwardRule::Never;
            filter
        });
        client
            .subscribe_many(filters)
            .map_err(|error| broken(error.to_string()))?;
        let mut source = Self {
            _client: client,
            connection,
            frigate,
            ready: VecDeque::new(),
            stop,
        };
        source.wait_until_subscribed()?;
        Ok(source)
    }

    fn wait_until_subscribed(&mut self) -> Result<(), CameraError> {
        let deadline = Instant::now() + 2 * PATIENCE;
        while Instant::now() < deadline {
            // Not in small steps: a step that ends would break a connection off that is being made.
            match self.connection.recv_timeout(PATIENCE) {
                Ok(Ok(Event::Incoming(Incoming::SubAck(acknowledged)))) => {
                    let refused = |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                    return match acknowledged.return_codes.iter().find(|code| refused(code)) {
                        None => Ok(()),
                        Some(code) => Err(CameraError::Broker(format!(
                            "it refuses the subscription ({code:?}); may Kith's user read this topic?"
                        ))),
                    };
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(CameraError::Broker(publish::in_words(&error))),
                Err(RecvTimeoutError::Timeout { .. }) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(CameraError::Ended),
            }
        }
        Err(CameraError::Broker("it does not answer".to_owned()))
    }

    /// Takes in what comes within a moment.
    fn listen(&mut self) -> Result<(), CameraError> {
        let publish = match self.connection.recv_timeout(LOOK) {
            Ok(Ok(Event::Incoming(Incoming::Publish(publish)))) => publish,
            Ok(Ok(_)) | Err(RecvTimeoutError::Timeout { .. }) => return Ok(()),
            Ok(Err(error)) => return Err(CameraError::Broker(publish::in_words(&error))),
            Err(RecvTimeoutError::Disconnected) => return Err(CameraError::Ended),
        };
        // The broker was asked not to send these; one that does all the same is not believed.
        if publish.retain {
            tracing::debug!("a retained message is ignored");
            return Ok(());
        }
        let now = CapturedAt {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        };
        match &mut self.frigate {
            None => self.ready.push_back((publish.payload.to_vec(), now)),
            Some(frigate) => frigate.hear(&publish.topic, &publish.payload, now),
        }
        Ok(())
    }
}

/// Another one than the publisher's, and another one each time: the broker may not have noticed yet that the last
/// connection is gone.
fn client_id(camera: &CameraId) -> String {
    format!("kith-camera-{camera}-{:08x}", fastrand::u32(..))
}

fn decoded(bytes: &[u8]) -> Option<RgbImage> {
    photo::decode(bytes)
        .inspect_err(|error| tracing::warn!(%error, "a picture from the broker is left out"))
        .ok()
}

impl CameraSource for MessageSource {
    fn next_picture(&mut self) -> Result<Option<Picture>, CameraError> {
        loop {
            if self.stop.is_set() {
                return Err(CameraError::Stopped);
            }
            if let Some(frigate) = &mut self.frigate {
                self.ready.extend(frigate.ready(Instant::now()));
            }
            if let Some((bytes, captured_at)) = self.ready.pop_front() {
                if let Some(pixels) = decoded(&bytes) {
                    return Ok(Some(Picture {
                        pixels: Arc::new(pixels),
                        captured_at,
                    }));
                }
                continue;
            }
            self.listen()?;
        }
    }

    fn waits(&self) -> bool {
        true
    }
}
