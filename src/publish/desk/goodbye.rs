//! How the publisher ends: when all is said, and with which last words.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{Handed, Sent, Work, retained};
use crate::publish::link::LinkEvent;

impl Work {
    pub(super) fn all_is_said(&self) -> bool {
        self.connection.is_some()
            && self.online_said
            && self.fresh.is_empty()
            && self.retained.is_said()
            && self.for_outbox.is_empty()
            && self.underway.is_empty()
            && self.log.is_said()
            && self.outbox_flushed
            && self.sayings.is_empty()
            && self.from_outbox.is_empty()
    }

    /// Says what is left of the states and `offline` last, waits a moment for the broker to hear it, and disconnects.
    pub(super) async fn say_goodbye(&mut self, link: &mut mpsc::Receiver<LinkEvent>) {
        const PATIENCE: Duration = Duration::from_secs(2);
        self.house.close(&mut self.retained);
        let Some(client) = self.connection.as_ref().map(|connection| connection.client.clone()) else {
            return;
        };
        let heard = async {
            for next in self.retained.rest() {
                while self.publish_state(&next) == Handed::NotNow && self.hear_an_answer().await {}
            }
            let status = self.topics.node("status");
            let mut told = Handed::NotNow;
            while told == Handed::NotNow {
                told = self.publish(Sent::Online, &status, b"offline".to_vec(), retained());
                if told == Handed::NotNow && !self.hear_an_answer().await {
                    break;
                }
            }
            while self.hear_an_answer().await {}
            // A clean farewell keeps the broker from publishing the will, which is needed when `offline` was not told.
            if told == Handed::Over && client.disconnect().await.is_ok() {
                while let Some(event) = link.recv().await {
                    if matches!(event, LinkEvent::Down) {
                        break;
                    }
                }
            }
        };
        if tokio::time::timeout(PATIENCE, heard).await.is_err() {
            tracing::warn!("the broker did not hear our farewell; it will publish our will");
        }
        self.log.hand_back(&self.to_outbox);
        for message in self.for_outbox.drain(..) {
            let _ = self.to_outbox.try_send(message);
        }
    }

    /// Waits for the next answer of the broker, which makes room in the client. False when none is to come.
    async fn hear_an_answer(&mut self) -> bool {
        match self.underway.join_next().await {
            Some(Ok((connection, sent, outcome))) => {
                self.answered(connection, sent, &outcome);
                true
            }
            Some(Err(_)) => true,
            None => false,
        }
    }
}
