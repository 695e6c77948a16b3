//! How the daemon does can be read over HTTP, by Prometheus and by supervisors, and it names nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;
use crate::broker::{Broker, free_port};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, camera, door};
use crate::exposition::Figures;

const ON_A_FREE_PORT: &str = "[http]\nlisten = \"127.0.0.1:0\"\n";

/// A client of one daemon.
pub(crate) struct Client {
    address: String,
}

impl Client {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        daemon.wait_for_log("are served over HTTP");
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("are served over HTTP")).unwrap();
        let (_, address) = line.split_once("address=").unwrap();
        let address = address.split_whitespace().next().unwrap().to_owned();
        Self { address }
    }

    /// Status, headers and body of `request`, sent as it is.
    fn ask(&self, request: &str) -> (u16, String, String) {
        self.ask_as(request, &self.address)
    }

    /// The same, with another name for the host.
    fn ask_as(&self, request: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, head, body) = self.ask(&format!("GET {path}"));
        assert!(head.contains("content-type: application/json"), "{head}");
        (status, serde_json::from_str(&body).unwrap())
    }

    pub(crate) fn figures(&self) -> Figures {
        let (status, head, body) = self.ask("GET /metrics");
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        Figures::parse(&body)
    }

    /// Asks again and again until `enough` holds.
    fn wait<T>(&self, what: &str, ask: impl Fn(&Self) -> T, enough: impl Fn(&T) -> bool) -> T
    where
        T: std::fmt::Debug,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask(self);
            if enough(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{what} did not come; last: {answer:#?}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

#[test]
fn the_figures_move_with_frames_and_events_and_name_nobody() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let cameras = format!(
        "{}loop = true\n{}",
        // Longer away than a visit waits for its face.
        door(&clip(&["obama2", "biden"], 3.0)),
        camera("gone", "rtsp://127.0.0.1:1/nothing")
    );
    home.configure(
        broker.port,
        "announce_again_s = 0",
        &format!("{ON_A_FREE_PORT}{cameras}"),
    );
    let subscriber = broker.subscribe();
    let daemon = home.run();
    let client = Client::of(&daemon);
    subscriber.wait("somebody who left", |heard| {
        heard
            .iter()
            .any(|m| m.topic.ends_with("door/event") && m.text().contains("\"left\""))
    });

    let door = [("camera", "door")];
    let first = client.figures();
    let of_door = |figures: &Figures, name: &str| figures.value(name, &door);
    assert!(of_door(&first, "kith_camera_frames_total") > 20.0);
    assert_eq!(of_door(&first, "kith_camera_up"), 1.0);
    assert_eq!(first.value("kith_camera_up", &[("camera", "gone")]), 0.0);
    assert_eq!(first.value("kith_camera_frames_total", &[("camera", "gone")]), 0.0);
    assert!(of_door(&first, "kith_tracks_ended_total") >= 1.0);
    for event_type in ["preliminary", "recognized", "left"] {
        let labels = [("camera", "door"), ("event_type", event_type)];
        assert!(first.value("kith_events_total", &labels) >= 1.0, "{event_type}");
    }
    let (committed, after_s) = (
        first.value("kith_event_commit_seconds_count", &[]),
        first.value("kith_event_commit_seconds_sum", &[]),
    );
    assert!(committed >= 2.0 && after_s > 0.0, "{committed} events in {after_s} s");
    assert_eq!(first.value("kith_people_enrolled", &[]), 1.0);
    assert_eq!(first.value("kith_network_failures_total", &[]), 0.0);
    assert_eq!(first.value("kith_outbox_failed_events_total", &[]), 0.0);
    assert_eq!(first.value("kith_broker_connected", &[]), 1.0);
    assert_eq!(first.value("kith_broker_connections_total", &[]), 1.0);
    assert_eq!(
        first.value("kith_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        1.0
    );
    assert_eq!(first.label("kith_runtime_info", "provider"), "cpu");
    for network in ["pnet", "rnet", "onet", "embedder"] {
        let proven = [("network", network), ("proven", "every_node"), ("provider", "cpu")];
        assert_eq!(first.value("kith_network_provider", &proven), 1.0, "{network}");
    }
    assert_eq!(first.value("kith_card_lost", &[]), 0.0);
    assert!(first.label("kith_runtime_info", "model").starts_with("mobilefacenet-"));
    assert!(first.value("process_resident_memory_bytes", &[]) > 2e7);
    assert!(first.value("process_threads", &[]) > 5.0 && first.value("process_open_fds", &[]) > 10.0);
    let started = first.value("process_start_time_seconds", &[]);
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    assert!((0.0..300.0).contains(&(now - started)), "{started} {now}");

    // What counts only grows, and the frames that are searched do.
    let searched = |figures: &Figures| figures.value("kith_detect_seconds_count", &[]);
    let later = client.wait("more frames", Client::figures, |figures| {
        searched(figures) > searched(&first)
            && of_door(figures, "kith_camera_frames_total") > of_door(&first, "kith_camera_frames_total")
    });
    later.only_grew_since(&first);
    client.wait("an empty outbox", Client::figures, |figures| {
        figures.value("kith_outbox_rows", &[]) == 0.0
    });

    for page in ["/metrics", "/health", "/ready"] {
        let (_, head, body) = client.ask(&format!("GET {page}"));
        let said = format!("{head}{body}").to_lowercase();
        assert!(!said.contains("obama") && !said.contains("barack"), "{said}");
    }
}

#[test]
fn a_page_whose_name_points_at_this_machine_learns_nothing() {
    let broker = Broker::start();
    let home = Home::new();
    home.configure(broker.port, "", &format!("{ON_A_FREE_PORT}{}", door(&clip(&[], 3.0))));
    let daemon = home.run();
    let client = Client::of(&daemon);
    for host in ["localhost", "LOCALHOST:9464", "127.0.0.1", "[::1]:9464"] {
        assert_eq!(client.ask_as("GET /health", host).0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9464",
        "127.0.0.1.evil.example",
        "192.0.2.1:9464",
        "",
    ] {
        let (status, _, body) = client.ask_as("GET /metrics", host);
        assert_eq!((status, body.as_str()), (403, ""), "{host}");
    }
}

#[test]
fn ready_means_networks_and_broker() {
    let port = free_port();
    let home = Home::new();
    let looped = format!("{ON_A_FREE_PORT}{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(port, "", &looped);
    let daemon = home.run();
    let client = Client::of(&daemon);
    let ready = |client: &Client| client.json("/ready");
    let without_broker = (503, json!({"ready": false, "missing": ["broker"]}));
    client.wait("open networks", ready, |answer| *answer == without_broker);
    assert_eq!(client.json("/health").0, 200, "a broker that is away is no illness");
    let broker = Broker::start_on(port, "allow_anonymous true");
    client.wait("readiness", ready, |answer| {
        *answer == (200, json!({"ready": true, "missing": []}))
    });
    drop(broker);
    client.wait("no readiness", ready, |answer| *answer == without_broker);
    let figures = client.figures();
    assert_eq!(figures.value("kith_broker_connected", &[]), 0.0);
    let _broker = Broker::start_on(port, "allow_anonymous true");
    client.wait("the reconnection", Client::figures, |figures| {
        figures.value("kith_broker_connections_total", &[]) == 2.0
    });
    assert_eq!(client.json("/ready").0, 200);
}

#[test]
fn it_is_for_reading_and_a_silent_client_holds_nothing_up() {
    let broker = Broker::start();
    let home = Home::new();
    let looped = format!("{ON_A_FREE_PORT}{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "", &looped);
    let daemon = home.run();
    let client = Client::of(&daemon);
    assert_eq!(client.ask("POST /metrics").0, 405);
    assert_eq!(client.ask("DELETE /health").0, 405);
    for other in ["/", "/metrics/", "/debug", "/../etc/passwd", "/%2e%2e/kith.toml"] {
        assert_eq!(client.ask(&format!("GET {other}")).0, 404, "{other}");
    }
    let (status, _, body) = client.ask("HEAD /metrics");
    assert_eq!((status, body.as_str()), (200, ""));

    // More silent clients than there are places: they are thrown out, and who asks is answered.
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&client.address).unwrap()).collect();
    assert_eq!(client.json("/health").0, 200);
    let mut first = &silent[0];
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = first.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));

    // A line that never ends is refused.
    let mut endless = TcpStream::connect(&client.address).unwrap();
    endless.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = endless.write_all(format!("GET /{}", "a".repeat(100_000)).as_bytes());
    let mut answer = Vec::new();
    let _ = endless.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    assert_eq!(client.json("/health").0, 200);
}

#[test]
fn a_port_that_is_taken_is_no_reason_to_die_and_off_is_off() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let broker = Broker::start();
    let clip = clip(&["obama2"], 3.0);
    for (listen, expected) in [
        (taken.local_addr().unwrap().to_string(), "can't listen for HTTP"),
        ("off".into(), ""),
    ] {
        let home = Home::new();
        home.configure(
            broker.port,
            "",
            &format!("[http]\nlisten = \"{listen}\"\n{}", door(&clip)),
        );
        let mut daemon = home.run();
        assert!(daemon.wait().success(), "{}", daemon.log());
        assert!(daemon.log().contains(expected), "{}", daemon.log());
        assert!(!daemon.log().contains("are served over HTTP"), "{}", daemon.log());
    }
}
