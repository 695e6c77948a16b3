//! What Home Assistant is told of us: device-based discovery (its documentation, "MQTT", "Device discovery payload"),
//! in full key names. One device for the node, one for each camera, one for the people.
//!
//! Ids are never made of names: a person's is the uid, so that a rename changes what people read and nothing else. The
//! capital letters keep the ids of a node's devices apart, since the ids of nodes and cameras have none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::record::Component;
use super::topics::Topics;
use crate::event::ulid_text;
use crate::frame::CameraId;
use crate::gallery::Person;

/// The types of events, as an event entity has to name them beforehand.
const EVENT_TYPES: [&str; 5] = ["preliminary", "recognized", "unknown", "corrected", "left"];
/// `recognized` when somebody enrolled was named just now, by the vote or by its correction.
const RECOGNIZED: &str =
    "{{ 'recognized' if value_json.event_type in ['recognized', 'corrected'] and value_json.person else 'other' }}";
/// `unknown` when the vote says that nobody enrolled is there.
const UNKNOWN: &str =
    "{{ 'unknown' if value_json.event_type in ['unknown', 'corrected'] and not value_json.person else 'other' }}";

/// What there is to be told of.
pub(super) struct Told<'a> {
    /// What discovery topics begin with.
    pub(super) prefix: &'a str,
    pub(super) node: &'a str,
    pub(super) topics: &'a Topics,
    pub(super) cameras: Vec<&'a CameraId>,
    pub(super) people: Vec<&'a Person>,
    /// Whether pictures of faces are published.
    pub(super) faces: bool,
}

/// A device as Home Assistant is told of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    /// Its discovery topic.
    pub(super) topic: String,
    /// All but its components.
    shared: Value,
    components: BTreeMap<String, Value>,
}

impl Device {
    fn new(told: &Told<'_>, id: &str, name: &str, availability: &[String], components: Vec<(String, Value)>) -> Self {
        let mut device = json!({
            "identifiers": [id],
            "name": name,
            "manufacturer": "Kith",
            "model": "Face recognition",
            "sw_version": env!("CARGO_PKG_VERSION"),
        });
        let node = node_id(told.node);
        if id != node {
            device["via_device"] = json!(node);
        }
        let availability: Vec<Value> = availability.iter().map(|topic| json!({"topic": topic})).collect();
        Self {
            topic: format!("{}/device/{id}/config", told.prefix),
            shared: json!({
                "device": device,
                "origin": origin(),
                "availability": availability,
                "availability_mode": "all",
                "qos": 1,
            }),
            components: components.into_iter().collect(),
        }
    }

    /// The discovery message.
    pub(super) fn payload(&self) -> String {
        self.payload_with(&[], false)
    }

    /// The discovery message, and with it those that go: by their platform only, which removes them, or `anew`, whole
    /// enough for Home Assistant to find them in its registry.
    pub(super) fn payload_with(&self, going: &[&Component], anew: bool) -> String {
        let mut components: serde_json::Map<String, Value> = self.components.clone().into_iter().collect();
        for one in going {
            components.insert(one.id.clone(), if anew { whole(one) } else { by_platform(one) });
        }
        let mut message = self.shared.clone();
        message["components"] = Value::Object(components);
        message.to_string()
    }

    /// Its components as the record has them.
    pub(super) fn components(&self) -> impl Iterator<Item = Component> {
        self.components.iter().map(|(id, config)| Component {
            topic: self.topic.clone(),
            id: id.clone(),
            platform: config["platform"].as_str().unwrap_or_default().to_owned(),
            leaving: false,
        })
    }
}

/// All devices of `told`.
pub(super) fn devices(told: &Told<'_>) -> Vec<Device> {
    let mut devices = vec![node(told)];
    devices.extend(told.cameras.iter().map(|camera| camera_device(told, camera)));
    if !told.people.is_empty() {
        devices.push(people(told));
    }
    devices
}

/// A device that is gone, with the components that Home Assistant is to find once more before they go.
pub(super) fn device_anew(topic: &str, going: &[&Component]) -> String {
    let id = topic.rsplit('/').nth(1).unwrap_or_default();
    let components: serde_json::Map<String, Value> = going.iter().map(|one| (one.id.clone(), whole(one))).collect();
    json!({"device": {"identifiers": [id]}, "origin": origin(), "components": components}).to_string()
}

fn origin() -> Value {
    json!({"name": "Kith", "sw_version": env!("CARGO_PKG_VERSION")})
}

fn by_platform(component: &Component) -> Value {
    json!({"platform": component.platform})
}

/// The least that each platform asks for.
fn whole(component: &Component) -> Value {
    let gone = "kith/gone";
    let mut whole = by_platform(component);
    let more = match component.platform.as_str() {
        "device_automation" => {
            json!({"automation_type": "trigger", "topic": gone, "type": "gone", "subtype": component.id})
        }
        "image" => json!({"unique_id": component.id, "image_topic": gone}),
        "event" => json!({"unique_id": component.id, "state_topic": gone, "event_types": EVENT_TYPES}),
        _ => json!({"unique_id": component.id, "state_topic": gone}),
    };
    if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
        whole.extend(more);
    }
    whole
}

fn node_id(node: &str) -> String {
    format!("kith_{node}")
}

/// An entity id in the letters that Home Assistant has: `domain.kith_…`.
fn entity_id(domain: &str, parts: &[&str]) -> String {
    format!("{domain}.kith_{}", parts.join("_").replace('-', "_"))
}

fn node(told: &Told<'_>) -> Device {
    let id = node_id(told.node);
    let stats = told.topics.node("stats");
    let diagnostic = |key: &str, name: &str, more: Value| {
        let unique = format!("{id}_N_{key}");
        let mut sensor = json!({
            "platform": "sensor",
            "unique_id": unique,
            "default_entity_id": entity_id("sensor", &[told.node, key]),
            "name": name,
            "entity_category": "diagnostic",
            "state_class": "measurement",
            "state_topic": stats,
            "value_template": format!("{{{{ value_json.{key} }}}}"),
        });
        if let (Value::Object(sensor), Value::Object(more)) = (&mut sensor, more) {
            sensor.extend(more);
        }
        (unique, sensor)
    };
    let milliseconds = json!({"device_class": "duration", "unit_of_measurement": "ms"});
    let components = vec![
        diagnostic(
            "memory_mib",
            "Memory",
            json!({"device_class": "data_size", "unit_of_measurement": "MiB"}),
        ),
        diagnostic("outbox", "Events waiting", json!({"icon": "mdi:tray-full"})),
        diagnostic("detect_mean_ms", "Detection time", milliseconds.clone()),
        diagnostic("embed_mean_ms", "Embedding time", milliseconds),
        diagnostic(
            "network_failures",
            "Network failures",
            json!({"icon": "mdi:alert-circle-outline"}),
        ),
    ];
    let name = format!("Kith {}", told.node);
    Device::new(told, &id, &name, &[told.topics.node("status")], components)
}

fn camera_device(told: &Told<'_>, camera: &CameraId) -> Device {
    let id = format!("{}_C_{camera}", node_id(told.node));
    let event = told.topics.camera(camera, "event");
    let people = told.topics.camera(camera, "people");
    let unique = |what: &str| format!("{id}_{what}");
    let trigger = |kind: &str, template: &str| {
        let trigger = json!({
            "platform": "device_automation",
            "automation_type": "trigger",
            "type": kind,
            "subtype": "face",
            "topic": event,
            "payload": kind,
            "value_template": template,
        });
        (unique(&format!("trigger_{kind}")), trigger)
    };
    let mut components = vec![
        (
            unique("event"),
            json!({
                "platform": "event",
                "unique_id": unique("event"),
                "default_entity_id": entity_id("event", &[told.node, camera]),
                "name": "Face",
                "icon": "mdi:face-recognition",
                "state_topic": event,
                "event_types": EVENT_TYPES,
            }),
        ),
        (
            unique("people"),
            json!({
                "platform": "sensor",
                "unique_id": unique("people"),
                "default_entity_id": entity_id("sensor", &[told.node, camera, "people"]),
                "name": "People in view",
                "icon": "mdi:account-group",
                "state_class": "measurement",
                "state_topic": people,
                "value_template": "{{ value_json.people | length + value_json.unknown }}",
                "json_attributes_topic": people,
            }),
        ),
        trigger("recognized", RECOGNIZED),
        trigger("unknown", UNKNOWN),
    ];
    if told.faces {
        components.push((
            unique("image"),
            json!({
                "platform": "image",
                "unique_id": unique("image"),
                "default_entity_id": entity_id("image", &[told.node, camera, "face"]),
                "name": "Last face",
                "image_topic": told.topics.camera(camera, "face"),
                "content_type": "image/jpeg",
            }),
        ));
    }
    let availability = [told.topics.node("status"), told.topics.camera(camera, "status")];
    let name = format!("Kith {} {camera}", told.node);
    Device::new(told, &id, &name, &availability, components)
}

fn people(told: &Told<'_>) -> Device {
    let id = format!("{}_P", node_id(told.node));
    let sensor = |person: &&Person| {
        let unique = format!("{id}_{}", ulid_text(person.uid));
        let sensor = json!({
            "platform": "binary_sensor",
            "unique_id": unique,
            "default_entity_id": entity_id("binary_sensor", &[told.node, &person.id]),
            "name": person.name.as_str(),
            "device_class": "occupancy",
            "state_topic": told.topics.person(&person.id, "state"),
            "payload_on": "ON",
            "payload_off": "OFF",
            "json_attributes_topic": told.topics.person(&person.id, "attributes"),
        });
        (unique, sensor)
    };
    let availability = [told.topics.node("status"), told.topics.node("sight")];
    let name = format!("Kith {} people", told.node);
    Device::new(
        told,
        &id,
        &name,
        &availability,
        told.people.iter().map(sensor).collect(),
    )
}

#[cfg(test)]
#[path = "home_assistant_tests.rs"]
mod tests;
