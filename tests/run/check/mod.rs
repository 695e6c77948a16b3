//! `kith check`: what works is said to work, and each thing that is broken is one failure with its mend.

mod broker;
mod cameras;
mod machine;

use std::process::Command;

use serde_json::Value;

use crate::broker::Broker;
use crate::clip::clip;
use crate::daemon::{Home, door, said};

/// What `kith check --json` said.
pub(crate) struct Report {
    pub(crate) code: Option<i32>,
    findings: Vec<Value>,
    said: String,
}

/// Runs `kith check` with further arguments.
pub(crate) fn check(home: &Home, arguments: &[&str]) -> Report {
    check_by(home.kith(), home, arguments)
}

/// As [`check`], by a prepared command.
pub(crate) fn check_by(mut kith: Command, home: &Home, arguments: &[&str]) -> Report {
    let done = kith
        .args(["check", "--json", "--config"])
        .arg(home.path().join("kith.toml"))
        .args(arguments)
        .output()
        .unwrap();
    let lines = String::from_utf8(done.stdout.clone()).unwrap();
    let findings = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    Report {
        code: done.status.code(),
        findings,
        said: said(&done),
    }
}

impl Report {
    /// That there is a finding of `subject` (and which one, after a space) in this state, with `words` in what was seen
    /// and its mend.
    pub(crate) fn has(&self, place: &str, state: &str, words: &[&str]) {
        let (subject, about) = place.split_once(' ').unwrap_or((place, ""));
        let found = self.findings.iter().any(|finding| {
            let text = format!("{} {} {}", finding["seen"], finding["mend"], finding["who"]);
            // As a reader sees it.
            let text = text.replace("\\\"", "\"");
            finding["subject"] == subject
                && finding["about"] == about
                && finding["state"] == state
                && words.iter().all(|word| text.contains(word))
        });
        assert!(found, "no {state} {place} with {words:?}:\n{}", self.said);
        self.mends();
    }

    /// That whatever is wrong says what to do, and the exit code fits.
    fn mends(&self) {
        for finding in &self.findings {
            let wrong = finding["state"] == "failed" || finding["state"] == "warning";
            assert_eq!(wrong, finding["mend"].is_string(), "{finding}");
        }
        let failed = self.findings.iter().any(|finding| finding["state"] == "failed");
        assert_eq!(self.code, Some(i32::from(failed)), "{}", self.said);
        assert!(!self.said.contains("panicked"), "{}", self.said);
    }
}

#[test]
fn what_works_is_said_to_work() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(broker.port, "", &door(&clip(&["obama2"], 3.0)));
    let report = check(&home, &[]);
    assert_eq!(report.code, Some(0), "{}", report.said);
    for (place, word) in [
        ("config", "1 camera"),
        ("models mtcnn", "pnet "),
        ("models mobilefacenet", "sha256 right"),
        ("runtime", "libonnxruntime"),
        ("runtime", "1.3"),
        ("runtime telemetry", "off"),
        ("provider", "cpu"),
        ("provider pnet", "cpu (all "),
        ("provider embedder", "cpu (all "),
        ("gallery", "1 people"),
        ("disk gallery.sqlite", "sound"),
        ("permissions state", "alone (mode 700)"),
        ("decoder ffmpeg", "ffmpeg"),
        ("camera door", "delivers 640x480"),
        ("camera door", "of at most 10 frames a second, decoded by cpu"),
        ("broker login", "accepts us without a login"),
        ("broker rights", "may write kith/box/check"),
    ] {
        report.has(place, "ok", &[word]);
    }
    report.has("daemon", "not-checked", &["none runs"]);
    // Text for people says the same, without colours where there is no terminal.
    let done = home
        .kith()
        .args(["check", "--config"])
        .arg(home.path().join("kith.toml"))
        .output()
        .unwrap();
    let text = said(&done);
    assert!(text.contains("ok           broker login"), "{text}");
    assert!(text.contains(" 0 failed, "), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn only_what_is_asked_for_is_looked_at() {
    let home = Home::new();
    home.configure(1, "", &door(&clip(&["obama2"], 3.0)));
    let report = check(&home, &["--only", "clock", "--only", "disk"]);
    assert_eq!(report.code, Some(0), "{}", report.said);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding["subject"] == "clock" || finding["subject"] == "disk"),
        "{}",
        report.said
    );
    // But a configuration that is needed and wrong is named all the same.
    home.configure(1, "nodes = 1", "");
    let report = check(&home, &["--only", "camera"]);
    report.has("config", "failed", &["did you mean `node`", "correct `nodes`"]);
    report.has("camera", "not-checked", &["configuration"]);
}

#[test]
fn a_check_that_takes_too_long_is_given_up() {
    // A camera that takes the connection and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new();
    let url = format!("rtsp://{}/live", listener.local_addr().unwrap());
    home.configure(1, "", &crate::daemon::camera("door", &url));
    let report = check(&home, &["--only", "camera", "--within", "1"]);
    report.has("camera", "failed", &["not done within 1 s", "--only camera --within"]);
}
