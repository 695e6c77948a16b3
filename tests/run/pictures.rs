//! Cameras that give single pictures: over HTTP, on a topic of the broker, from Frigate.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rumqttc::{Broker as Address, Client, Event, Incoming, MqttOptions, Outgoing, PublishOptions};
use serde_json::{Value, json};

use crate::broker::{Broker, Message, jsons, list};
use crate::clip::clip;
use crate::daemon::{Home, camera, door};
use crate::given::photos;

/// Publishes messages to the broker on `port`, and waits until it has taken them.
fn publish(port: u16, messages: &[(&str, Vec<u8>, bool)]) {
    let mut options = MqttOptions::new(
        format!("test-{}", ulid::Ulid::generate()),
        Address::tcp("127.0.0.1", port),
    );
    options.set_max_packet_size(Some(16 * 1024 * 1024));
    let (client, mut connection) = Client::builder(options).capacity(16).build();
    for (topic, payload, retained) in messages {
        let options = PublishOptions::at_least_once().retain(*retained);
        client.publish(*topic, payload.clone(), options).unwrap();
    }
    let mut taken = 0;
    for event in connection.iter() {
        match event.unwrap() {
            Event::Incoming(Incoming::PubAck(_)) => taken += 1,
            Event::Outgoing(Outgoing::Disconnect) => break,
            _ => {}
        }
        if taken == messages.len() {
            break;
        }
    }
}

fn photo(name: &str) -> Vec<u8> {
    fs::read(photos().join(format!("{name}.jpg"))).unwrap()
}

fn door_events(heard: &[Message]) -> Vec<Value> {
    jsons(heard, "kith/box/camera/door/event")
}

fn is_online(heard: &[Message]) -> bool {
    heard
        .iter()
        .any(|message| message.is("kith/box/camera/door/status", "online"))
}

#[test]
fn a_picture_on_a_topic_is_a_glimpse_and_a_retained_one_is_ignored() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(broker.port, "", &camera("door", "mqtt://bell/picture"));
    publish(broker.port, &[("bell/picture", photo("obama2"), true)]);
    let subscriber = broker.subscribe();
    let _daemon = home.run();
    subscriber.wait("online", is_online);
    // What can't be read harms nothing.
    publish(broker.port, &[("bell/picture", b"no picture".to_vec(), false)]);
    publish(broker.port, &[("bell/picture", photo("biden"), false)]);
    publish(broker.port, &[("bell/picture", photo("obama2"), false)]);
    let heard = subscriber.wait("a glimpse", |heard| {
        door_events(heard)
            .iter()
            .any(|event| event["person"]["id"] == "barack-obama")
    });
    // The stranger in between came first; the retained picture would have named somebody before that.
    let events = door_events(&heard);
    assert!(
        events.iter().all(|event| event["event_type"] == "preliminary"),
        "{}",
        list(&heard)
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| event["person"]["id"] == "barack-obama")
            .count(),
        1
    );
}

#[test]
fn a_snapshot_of_frigate_was_taken_when_frigate_says() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(broker.port, "", &camera("door", "frigate:front"));
    let subscriber = broker.subscribe();
    let _daemon = home.run();
    subscriber.wait("online", is_online);
    let taken = Timestamp::now() - Duration::from_millis(1500);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970")]
    let taken_s = taken.as_millisecond() as f64 / 1000.0;
    let after = json!({"id": "1.5-abc", "camera": "front", "frame_time": taken_s + 0.3, "label": "person",
        "sub_label": null, "top_score": 0.9, "false_positive": false, "start_time": taken_s, "end_time": null,
        "snapshot": {"frame_time": taken_s, "score": 0.8}, "current_zones": [], "has_snapshot": true});
    let event = json!({"type": "new", "before": after, "after": after}).to_string();
    publish(
        broker.port,
        &[
            ("frigate/front/person/snapshot", photo("obama2"), true),
            ("frigate/events", event.into_bytes(), false),
        ],
    );
    let heard = subscriber.wait("a glimpse", |heard| !door_events(heard).is_empty());
    let event = &door_events(&heard)[0];
    assert_eq!(event["event_type"], "preliminary");
    assert_eq!(event["person"]["id"], "barack-obama");
    let captured: Timestamp = event["captured_at"].as_str().unwrap().parse().unwrap();
    assert!(
        captured.duration_since(taken).as_millis().abs() <= 1,
        "{captured} is not {taken}"
    );
}

/// A camera that serves one picture for each request is a stream: who stays before it is recognised.
#[test]
fn snapshots_over_http_are_a_stream() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("snapshot:http://{}/snap.jpg", listener.local_addr().unwrap());
    thread::spawn(move || {
        let jpeg = photo("obama2");
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut request = String::new();
            let mut lines = BufReader::new(connection.try_clone().unwrap());
            while !request.ends_with("\r\n\r\n") && lines.read_line(&mut request).unwrap_or(0) > 0 {}
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                jpeg.len()
            );
            let _ = connection
                .write_all(head.as_bytes())
                .and_then(|()| connection.write_all(&jpeg));
        }
    });
    home.configure(broker.port, "", &camera("door", &url));
    let subscriber = broker.subscribe();
    let _daemon = home.run();
    subscriber.wait("a recognition", |heard| {
        let events = door_events(heard);
        events
            .iter()
            .any(|event| event["event_type"] == "recognized" && event["person"]["id"] == "barack-obama")
    });
}

#[test]
fn events_name_zones_and_a_mask_hides() {
    let broker = Broker::start();
    let home = Home::new();
    let film = clip(&["obama2"], 3.0);
    let everywhere = "polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n";
    let zones = format!(
        "[[camera.zone]]\nname = \"porch\"\n{everywhere}[[camera.zone]]\nname = \"corner\"\npolygon = [[0, 0], [0.1, 0], [0, 0.1]]\n"
    );
    let hidden = camera("hidden", &format!("file:{}", film.display()));
    home.configure(
        broker.port,
        "",
        &format!("{}{zones}{hidden}[[camera.mask]]\n{everywhere}", door(&film)),
    );
    let subscriber = broker.subscribe();
    let mut daemon = home.run();
    assert!(daemon.wait().success(), "it ends with its clips");
    let heard = subscriber.all();
    let events = door_events(&heard);
    assert!(!events.is_empty(), "{}", list(&heard));
    assert!(
        events.iter().all(|event| event["zones"] == json!(["porch"])),
        "{}",
        list(&heard)
    );
    assert!(
        jsons(&heard, "kith/box/camera/hidden/event").is_empty(),
        "{}",
        list(&heard)
    );
}
