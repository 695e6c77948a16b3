//! A fresh subscriber sees exactly the retained topics that are wanted, whatever was changed while the daemon or the
//! broker was away or dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;

use crate::PATIENCE;
use crate::broker::Broker;
use crate::clip::clip;
use crate::daemon::{Home, camera, said};

/// A camera that sees nobody, for as long as the test takes.
fn nobody(id: &str) -> String {
    format!(
        "{}loop = true\n",
        camera(id, &format!("file:{}", clip(&[], 0.0).display()))
    )
}

/// What is to be there under `base/box`.
fn wanted(base: &str, cameras: &[&str], people: &[&str]) -> BTreeSet<String> {
    let mut topics = Vec::new();
    for what in ["status", "info", "stats", "sight"] {
        topics.push(what.to_owned());
    }
    for camera in cameras {
        topics.extend(["status", "people"].map(|what| format!("camera/{camera}/{what}")));
    }
    for person in people {
        topics.extend(["state", "attributes"].map(|what| format!("person/{person}/{what}")));
    }
    topics.into_iter().map(|topic| format!("{base}/box/{topic}")).collect()
}

fn with_discovery(mut topics: BTreeSet<String>, devices: &[&str]) -> BTreeSet<String> {
    topics.extend(devices.iter().map(|id| format!("homeassistant/device/{id}/config")));
    topics
}

/// Waits until the broker holds exactly `wanted`.
fn wait_for(broker: &Broker, wanted: &BTreeSet<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let retained: BTreeSet<String> = broker.retained().into_keys().collect();
        if retained == *wanted {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {:?}, missing: {:?}",
            retained.difference(wanted).collect::<Vec<_>>(),
            wanted.difference(&retained).collect::<Vec<_>>()
        );
    }
}

#[test]
fn after_changes_kills_and_restarts_exactly_what_is_wanted_is_retained() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.enrol("Joe Biden", &["biden"]);
    let remove = |id: &str| {
        let removed = home.kith().args(["people", "remove", id, "--yes"]).output().unwrap();
        assert!(removed.status.success(), "{}", said(&removed));
    };
    let home_assistant = "[home_assistant]\nenabled = true\n";
    let both = format!("{home_assistant}{}{}", nobody("door"), nobody("garden"));
    home.configure(broker.port, "", &both);
    let mut daemon = home.run();
    let everything = with_discovery(
        wanted("kith", &["door", "garden"], &["barack-obama", "joe-biden"]),
        &["kith_box", "kith_box_C_door", "kith_box_C_garden", "kith_box_P"],
    );
    wait_for(&broker, &everything);

    // The daemon is killed between a change and its publishing: the broker hangs meanwhile.
    broker.signal(Signal::STOP);
    remove("joe-biden");
    daemon.wait_for_log("the gallery changed");
    daemon.signal(Signal::KILL);
    daemon.wait();
    broker.signal(Signal::CONT);
    let mut daemon = home.run();
    let without_one = with_discovery(
        wanted("kith", &["door", "garden"], &["barack-obama"]),
        &["kith_box", "kith_box_C_door", "kith_box_C_garden", "kith_box_P"],
    );
    wait_for(&broker, &without_one);

    // The last person goes while the daemon is dead, a camera goes, and the next start is killed before it could
    // connect.
    daemon.signal(Signal::KILL);
    daemon.wait();
    remove("barack-obama");
    home.configure(broker.port, "", &format!("{home_assistant}{}", nobody("garden")));
    broker.signal(Signal::STOP);
    let mut daemon = home.run();
    daemon.wait_for_log("nobody is enrolled");
    daemon.signal(Signal::KILL);
    daemon.wait();
    broker.signal(Signal::CONT);
    let mut daemon = home.run();
    wait_for(
        &broker,
        &with_discovery(wanted("kith", &["garden"], &[]), &["kith_box", "kith_box_C_garden"]),
    );
    daemon.signal(Signal::TERM);
    daemon.wait();

    // Another base topic, and Home Assistant turned off.
    home.configure(
        broker.port,
        "",
        &format!("base_topic = \"house\"\n{}", nobody("garden")),
    );
    let mut daemon = home.run();
    wait_for(&broker, &wanted("house", &["garden"], &[]));
    daemon.signal(Signal::TERM);
    daemon.wait();
    wait_for(&broker, &wanted("house", &["garden"], &[]));
}

/// The daemon of before a power cut can't have said `offline`, and a card may take minutes to open the networks.
#[test]
fn while_the_networks_are_not_open_the_node_is_offline() {
    let (broker, home) = (Broker::start(), Home::new());
    home.configure(broker.port, "", &nobody("door"));
    broker.retain("kith/box/status", b"online");
    // A network that can't be read to its end yet.
    let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx");
    let models = home.path().join("models");
    fs::create_dir(&models).unwrap();
    for entry in fs::read_dir(&onnx).unwrap() {
        let file = entry.unwrap().path();
        fs::copy(&file, models.join(file.file_name().unwrap())).unwrap();
    }
    let late = models.join("mobilefacenet.onnx");
    fs::remove_file(&late).unwrap();
    assert!(Command::new("mkfifo").arg(&late).status().unwrap().success());
    let daemon = home.run_with(&[("KITH_MODELS", models.display().to_string())]);
    let subscriber = broker.subscribe();
    subscriber.wait("offline", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    assert!(!daemon.log().contains("the networks are open"), "{}", daemon.log());
    fs::write(&late, fs::read(onnx.join("mobilefacenet.onnx")).unwrap()).unwrap();
    subscriber.wait("online", |heard| {
        heard
            .iter()
            .rfind(|m| m.topic == "kith/box/status")
            .is_some_and(|m| m.text() == "online")
            && daemon.log().contains("the networks are open")
    });
}
