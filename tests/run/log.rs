//! The log suits whoever reads it, and names nobody.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::broker::{Broker, jsons};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, door, said};

const EVENT: &str = "kith/box/camera/door/event";

/// Somebody is recognised, somebody is enrolled meanwhile, and removed: each of it is told to somebody and logged.
#[test]
fn display_names_are_in_no_line() {
    for format in ["human", "json"] {
        let broker = Broker::start();
        let home = Home::new();
        home.enrol("Barack Obama", &["obama"]);
        let looped = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
        home.configure(
            broker.port,
            "announce_again_s = 0",
            &format!("[log]\nformat = \"{format}\"\n{looped}"),
        );
        let subscriber = broker.subscribe();
        let mut daemon = home.run_with(&[("RUST_LOG", "kith=trace".to_owned())]);
        subscriber.wait("the name on MQTT", |heard| {
            jsons(heard, EVENT)
                .iter()
                .any(|event| event["event_type"] == "recognized" && event["person"]["name"] == "Barack Obama")
        });
        home.enrol("Joe Biden", &["biden"]);
        daemon.wait_for_log("the gallery changed");
        let removed = home
            .kith()
            .args(["people", "remove", "joe-biden", "--yes"])
            .output()
            .unwrap();
        assert!(removed.status.success(), "{}", said(&removed));
        daemon.signal(Signal::TERM);
        assert!(daemon.wait().success());
        let log = daemon.log();
        assert!(log.contains("barack-obama"), "the id is there: {log}");
        for name in ["Barack", "Obama", "Joe", "Biden"] {
            assert!(!log.contains(name), "{name} is in the log:\n{log}");
        }
        if format == "json" {
            check_json(&log);
        } else {
            assert!(!log.contains('{') || log.contains("camera{camera=door}"), "{log}");
        }
    }
}

/// Every line is one flat object, and fields have their names.
fn check_json(log: &str) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        let _: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&line["level"].as_str().unwrap()),
            "{line}"
        );
        assert!(!line["message"].as_str().unwrap().is_empty(), "{line}");
        assert!(line["target"].as_str().unwrap().starts_with("kith"), "{line}");
        assert!(
            line.as_object().unwrap().values().all(|value| !value.is_object()),
            "{line}"
        );
    }
    let recognized = lines.iter().find(|line| line["message"] == "recognized").unwrap();
    assert_eq!(recognized["camera"], "door");
    assert_eq!(recognized["person"], "barack-obama");
    assert_eq!(recognized["track"].as_str().unwrap().len(), 26);
    assert!(
        recognized["confidence"].is_f64() && recognized["age_ms"].is_u64(),
        "{recognized}"
    );
    let delivers = lines
        .iter()
        .find(|line| line["message"] == "the camera delivers")
        .unwrap();
    assert_eq!((&delivers["camera"], &delivers["width"]), (&"door".into(), &640.into()));
}

#[test]
fn the_level_comes_from_the_configuration_unless_the_environment_says_it() {
    let broker = Broker::start();
    let run = |level: &str, environment: &[(&str, String)]| {
        let home = Home::new();
        let rest = format!("[log]\nlevel = \"{level}\"\n{}", door(&clip(&[], 1.0)));
        home.configure(broker.port, "", &rest);
        let mut daemon: Daemon = home.run_with(environment);
        assert!(daemon.wait().success(), "{}", daemon.log());
        daemon.log()
    };
    // An empty variable is none.
    let none = [("RUST_LOG", String::new())];
    let warn = run("warn", &none);
    assert!(
        warn.contains("nobody is enrolled") && !warn.contains("the camera delivers"),
        "{warn}"
    );
    let info = run("info", &none);
    assert!(info.contains("the camera delivers"), "{info}");
    let wins = run("error", &[("RUST_LOG", "kith=info".to_owned())]);
    assert!(wins.contains("the camera delivers"), "{wins}");
}

#[test]
fn a_reload_changes_the_level() {
    let broker = Broker::start();
    let home = Home::new();
    let configure = |level: &str| {
        let looped = format!("{}loop = true\n", door(&clip(&[], 1.0)));
        home.configure(broker.port, "", &format!("[log]\nlevel = \"{level}\"\n{looped}"));
    };
    configure("warn");
    let daemon = home.run_with(&[("RUST_LOG", String::new())]);
    daemon.wait_for_log("nobody is enrolled");
    configure("info");
    daemon.signal(Signal::HUP);
    // Said at `info`.
    daemon.wait_for_log("reloaded");
    assert!(!daemon.log().contains("the networks are open"), "{}", daemon.log());
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let broker = Broker::start();
    let home = Home::new();
    let config = home.configure(broker.port, "", &door(&clip(&[], 1.0)));
    let run = |file: &Path, stream: &dyn Fn(&File) -> String| {
        let stderr = File::create(file).unwrap();
        let status = home
            .kith()
            .args(["run", "--config"])
            .arg(&config)
            .env("JOURNAL_STREAM", stream(&stderr))
            .stderr(stderr)
            .status()
            .unwrap();
        assert!(status.success());
        fs::read_to_string(file).unwrap()
    };
    let of_file = |file: &File| {
        let facts = file.metadata().unwrap();
        format!("{}:{}", facts.dev(), facts.ino())
    };
    let journal = run(&home.path().join("journal"), &of_file);
    assert!(journal.lines().count() > 3);
    for line in journal.lines() {
        let priority = line.get(..3).unwrap();
        assert!(["<3>", "<4>", "<6>", "<7>"].contains(&priority), "{line}");
        assert!(
            !line.contains('\u{1b}') && !line.contains("202"),
            "no colour, no time: {line}"
        );
    }
    assert!(journal.contains("<4>nobody is enrolled"), "{journal}");
    assert!(
        journal.contains("<6>camera{camera=door}: the camera delivers"),
        "{journal}"
    );
    // Somebody else's journal: the variable was inherited.
    let other = run(&home.path().join("other"), &|_| "8:1234567".to_owned());
    assert!(
        other
            .lines()
            .all(|line| line.starts_with("202") && !line.contains('\u{1b}')),
        "{other}"
    );
}
