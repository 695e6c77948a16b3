//! Handing messages to the client, as many as may be on their way at a time.

use std::time::Instant;

use rumqttc::PublishOptions;
use rumqttc::mqttbytes::v5::PublishProperties;

use super::discovery::Parting;
use super::retained::Next;
use super::{Handed, PACKET_HEAD_BYTES, Sent, WINDOW, Work, retained};
use crate::publish::outbox::ToOutbox;
use crate::publish::record::Kept;

impl Work {
    /// Sends as much as may be on its way at a time.
    pub(super) fn send_what_waits(&mut self) {
        self.log.hand_back(&self.to_outbox);
        let new = self.retained.ask_for_record();
        if !new.is_empty() {
            let topics = new.into_iter().map(Kept::Topic).collect();
            self.for_outbox.push_back(ToOutbox::Remember(topics));
        }
        while let Some(message) = self.for_outbox.pop_front() {
            // Its inbox is full; the next tick tries again.
            if let Err(error) = self.to_outbox.try_send(message) {
                use std::sync::mpsc::TrySendError::{Disconnected, Full};
                let (Full(message) | Disconnected(message)) = error;
                self.for_outbox.push_front(message);
                break;
            }
        }
        self.send_events();
        if self.connection.is_none() {
            return;
        }
        self.send_states();
        self.send_log();
    }

    /// Sends fresh events, and gives up those that are too old for `event`; they are in the log.
    fn send_events(&mut self) {
        let now = Instant::now();
        self.fresh.give_up_old_ones(now);
        while self.connection.is_some() && self.underway.len() < WINDOW {
            let Some((event, json, seconds)) = self.fresh.next(now) else {
                return;
            };
            let options = PublishOptions::at_least_once().properties(PublishProperties {
                message_expiry_interval: Some(seconds),
                content_type: Some("application/json".to_owned()),
                ..PublishProperties::default()
            });
            let topic = self.topics.event(&event);
            match self.publish(Sent::Event, &topic, json.clone().into_bytes(), options) {
                Handed::Over => self.fresh.was_sent(now),
                Handed::NotNow => return self.fresh.put_back(event, json),
                Handed::Never => {}
            }
        }
    }

    fn send_states(&mut self) {
        while self.underway.len() < WINDOW {
            if let Some(parting) = self.discovery.next() {
                let options = PublishOptions::at_least_once();
                let sent = Sent::Parting(parting.parts.clone());
                let payload = parting.payload.clone().into_bytes();
                if self.publish(sent, &parting.topic.clone(), payload, options) == Handed::NotNow {
                    return self.discovery.put_back(Parting { ..parting });
                }
                continue;
            }
            let Some(next) = self.retained.next() else { break };
            match self.publish_state(&next) {
                Handed::Over => {}
                Handed::NotNow => return self.retained.put_back(next),
                Handed::Never => drop(self.retained.answered(&next.topic, false)),
            }
        }
        if self.house.is_open() && !self.online_said && self.retained.is_said() {
            let topic = self.topics.node("status");
            let handed = self.publish(Sent::Online, &topic, b"online".to_vec(), retained());
            self.online_said = handed == Handed::Over;
        }
    }

    pub(super) fn publish_state(&mut self, next: &Next) -> Handed {
        let sent = Sent::State(next.topic.clone(), next.payload.is_empty());
        self.publish(sent, &next.topic, next.payload.clone(), retained())
    }

    fn send_log(&mut self) {
        while self.underway.len() < WINDOW {
            let Some((number, json)) = self.log.next() else { break };
            let topic = self.topics.node("log");
            let options = PublishOptions::at_least_once();
            match self.publish(Sent::Log(number), &topic, json.clone().into_bytes(), options) {
                Handed::Over => self.log.was_sent(),
                Handed::NotNow => {
                    self.log.put_back(number, json);
                    break;
                }
                // It stays in the outbox, and does not keep those behind it.
                Handed::Never => {}
            }
        }
        self.log.ask(&self.to_outbox);
    }

    /// Hands a message to the client; its answer comes through `underway`.
    pub(super) fn publish(&mut self, sent: Sent, topic: &str, payload: Vec<u8>, options: PublishOptions) -> Handed {
        let Some(connection) = &self.connection else {
            return Handed::NotNow;
        };
        let bytes = topic.len() + payload.len() + PACKET_HEAD_BYTES;
        // The client would end the connection over it, again and again.
        if connection
            .largest_packet_bytes
            .is_some_and(|most| bytes > most as usize)
        {
            tracing::error!(
                topic,
                bytes,
                most = connection.largest_packet_bytes,
                "the broker takes no packet of this size; raise its limit (Mosquitto: max_packet_size)"
            );
            return Handed::Never;
        }
        match connection.client.try_publish_tracked(topic, payload, options) {
            Ok(notice) => {
                let connection = self.connections;
                self.underway
                    .spawn(async move { (connection, sent, notice.wait_completion_async().await) });
                Handed::Over
            }
            Err(error) => {
                tracing::debug!(%error, topic, "the client takes no message now");
                Handed::NotNow
            }
        }
    }
}
