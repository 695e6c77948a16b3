//! 200 people and 16 cameras at a real broker: the publisher alone, without cameras and networks.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kith::config::{HomeAssistantSettings, MqttSettings};
use kith::frame::CameraId;
use kith::gallery::{Name, Person};
use kith::heartbeat::Heartbeats;
use kith::publish::{Connection, Info, Outbox, Publisher, Publishing, Saying, StatsSource};
use tokio::runtime::Runtime;
use ulid::Ulid;

use crate::PATIENCE;
use crate::broker::{Broker, Message, Subscriber, free_port};

const PEOPLE: &str = "homeassistant/device/kith_box_P/config";

fn publisher(runtime: &Runtime, port: u16, state: &Path, cameras: &[CameraId]) -> Publisher {
    let mqtt = MqttSettings {
        host: "127.0.0.1".to_owned(),
        port,
        tls: false,
        authority_pem: None,
        client_pem: None,
        server_name: None,
        login: None,
        base_topic: "kith".to_owned(),
        client_id: None,
        keep_alive_s: 15,
    };
    let publishing = Publishing {
        mqtt: &mqtt,
        home_assistant: Some(HomeAssistantSettings {
            discovery_prefix: "homeassistant".to_owned(),
            birth_topic: "homeassistant/status".to_owned(),
        }),
        node: "box".into(),
        outbox: Outbox::open(state).unwrap(),
        cameras: cameras.to_vec(),
        faces: true,
        presence_hold: Duration::from_secs(60),
        requests: None,
        connection: Connection::default(),
        stats: Box::new(|depth| StatsSource::new(kith::camera::Roster::default(), Arc::default(), depth)),
        heartbeats: &Heartbeats::default(),
    };
    Publisher::start(runtime, publishing).unwrap()
}

fn house() -> (Vec<CameraId>, Vec<Person>) {
    let person = |number: usize| {
        let name = Name::parse(&format!("Firstname Lastname {number}")).unwrap();
        Person::new(format!("firstname-lastname-{number}"), Ulid::generate(), name)
    };
    let cameras = (0..16).map(|number| format!("camera-{number}").into()).collect();
    (cameras, (0..200).map(person).collect())
}

fn open(publisher: &Publisher, cameras: &[CameraId], people: &[Person]) {
    publisher.say(Saying::Enrolled(people.to_vec()));
    publisher.say(Saying::Info(Box::new(Info {
        provider: "none: a test".to_owned(),
        card: None,
        models: Vec::new(),
        cameras: cameras.to_vec(),
        people: people.len(),
        started: jiff::Timestamp::now(),
    })));
}

fn wait_for_online(subscriber: &Subscriber) -> Vec<Message> {
    subscriber.wait("online", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "online"))
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn all_of_it_is_announced_and_half_of_it_goes_again() {
    let (broker, runtime, state) = (Broker::start(), runtime(), tempfile::tempdir().unwrap());
    let (cameras, people) = house();
    let subscriber = broker.subscribe();
    let began = Instant::now();
    let publisher = publisher(&runtime, broker.port, state.path(), &cameras);
    open(&publisher, &cameras, &people);
    let heard = wait_for_online(&subscriber);
    let largest = heard
        .iter()
        .map(|message| message.payload.len())
        .max()
        .unwrap_or_default();
    eprintln!(
        "online after {:?}; the largest message has {largest} bytes",
        began.elapsed()
    );
    // The node, 16 cameras and the people; four of the node, two of each camera and of each person.
    let wanted = |people: usize| (1 + 16 + 1) + 4 + 2 * 16 + 2 * people;
    let wait = |people: usize| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let retained = broker.retained().len();
            if retained == wanted(people) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{retained} topics instead of {}",
                wanted(people)
            );
        }
    };
    wait(200);
    let began = Instant::now();
    publisher.say(Saying::Enrolled(people[..100].to_vec()));
    wait(100);
    eprintln!("100 people were gone after {:?}", began.elapsed());
    publisher.end(&runtime, Instant::now() + PATIENCE);
    wait(100);
}

/// A message that the broker does not take must not end the connection, over and over again.
#[test]
fn a_broker_that_takes_small_packets_only_gets_the_rest() {
    let broker = Broker::start_on(free_port(), "allow_anonymous true\nmax_packet_size 20000");
    let (runtime, state) = (runtime(), tempfile::tempdir().unwrap());
    let (cameras, people) = house();
    let subscriber = broker.subscribe();
    let publisher = publisher(&runtime, broker.port, state.path(), &cameras);
    open(&publisher, &cameras, &people);
    let heard = wait_for_online(&subscriber);
    assert!(
        heard
            .iter()
            .any(|message| message.topic == "homeassistant/device/kith_box/config")
    );
    assert!(
        heard
            .iter()
            .any(|message| message.topic == "kith/box/person/firstname-lastname-199/state")
    );
    assert!(!heard.iter().any(|message| message.topic == PEOPLE));
    publisher.end(&runtime, Instant::now() + PATIENCE);
    subscriber.wait("one farewell", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    let statuses = subscriber
        .all()
        .into_iter()
        .filter(|message| message.topic == "kith/box/status")
        .count();
    assert_eq!(statuses, 2, "online once and offline once: the connection held");
}
