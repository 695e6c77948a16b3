//! What is wrong is said clearly, all of it, and before anything starts.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::broker::{Broker, free_port};
use crate::clip::clip;
use crate::daemon::{Home, camera, door, said};

#[test]
fn all_mistakes_of_a_configuration_are_named_by_run_and_by_check() {
    let home = Home::new();
    let file = home.configure(
        1883,
        "nodes = 1",
        "keep_alive_s = \"often\"\n[verdict]\nmin_shot = 2\n[[camera]]\nid = \"a/b\"\nurl = \"exec:ls\"\n",
    );
    // 78: the unit does not start it again for that.
    for (command, code) in [("run", 78), ("check", 1)] {
        let done = home.kith().arg(command).arg("--config").arg(&file).output().unwrap();
        assert_eq!(done.status.code(), Some(code));
        let text = said(&done);
        for key in [
            "nodes",
            "mqtt.keep_alive_s",
            "verdict.min_shot",
            "camera[0].id",
            "camera[0].url",
        ] {
            assert!(
                text.contains(&format!("{key}: ")),
                "{command} does not name {key}: {text}"
            );
        }
        for helpful in [
            "did you mean `node`",
            "from 5 to 3600",
            "did you mean `min_shots`",
            "a-z, 0-9",
            "rtsp://",
        ] {
            assert!(text.contains(helpful), "{command} does not say {helpful:?}: {text}");
        }
        assert!(!text.contains("panicked"), "{text}");
    }
    let missing = home.kith().args(["run", "--config", "nowhere.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(78));
    assert!(said(&missing).contains("nowhere.toml"));
}

#[test]
fn every_scheme_that_is_not_allowed_is_refused() {
    let home = Home::new();
    for url in [
        "exec:touch /tmp/x",
        "pipe:0",
        "concat:a|b",
        "tcp://127.0.0.1:1",
        "clip.mp4",
        "lavfi:testsrc",
    ] {
        let file = home.configure(1883, "", &camera("door", url));
        let done = home.kith().args(["run", "--config"]).arg(&file).output().unwrap();
        assert_eq!(done.status.code(), Some(78), "{url}");
        assert!(said(&done).contains("camera[0].url: "), "{}", said(&done));
    }
}

/// The lines of `kith check`, each `ok|fail what detail`.
fn check(home: &Home) -> (Option<i32>, Vec<(bool, String, String)>) {
    let done = home
        .kith()
        .args(["check", "--json", "--config"])
        .arg(home.path().join("kith.toml"))
        .output()
        .unwrap();
    let lines = String::from_utf8(done.stdout.clone()).unwrap();
    let lines = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (line["ok"].as_bool().unwrap(), text("what"), text("detail"))
        })
        .collect();
    (done.status.code(), lines)
}

#[test]
fn check_says_what_works() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(broker.port, "", &door(&clip(&["obama2"], 3.0)));
    let (code, lines) = check(&home);
    assert_eq!(code, Some(0), "{lines:#?}");
    for (what, detail) in [
        ("config", "1 camera"),
        ("model mtcnn/pnet", "sha256"),
        ("runtime", "cpu"),
        ("gallery", "1 people"),
        ("broker", "accepts us"),
        ("camera door", "640x480"),
    ] {
        assert!(
            lines.iter().any(|(ok, w, d)| *ok && w == what && d.contains(detail)),
            "{what}: {lines:#?}"
        );
    }
    // Text for people says the same.
    let done = home
        .kith()
        .args(["check", "--config"])
        .arg(home.path().join("kith.toml"))
        .output()
        .unwrap();
    assert!(said(&done).contains("ok    broker "), "{}", said(&done));
}

#[test]
fn check_says_what_does_not_work_and_why() {
    let home = Home::new();
    let lost = camera("garden", "file:nowhere.mp4");
    let empty = camera("shed", "dir:.");
    home.configure(
        free_port(),
        "",
        &format!("[runtime]\nmodels = \"elsewhere\"\n{lost}{empty}"),
    );
    let done = home
        .kith()
        .env_remove("KITH_MODELS")
        .args(["check", "--json", "--config"])
        .arg(home.path().join("kith.toml"))
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let text = said(&done);
    for words in [
        "elsewhere",
        "nothing listens there",
        "nowhere.mp4",
        "there are no pictures in",
    ] {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
}

#[test]
fn a_missing_runtime_library_is_named() {
    let home = Home::new();
    home.configure(free_port(), "", &camera("shed", "dir:."));
    for command in ["run", "check"] {
        let done = home
            .kith()
            .env("KITH_RUNTIME_LIBRARY", home.path().join("libnowhere.so"))
            .args([command, "--config"])
            .arg(home.path().join("kith.toml"))
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", said(&done));
        assert!(said(&done).contains("libnowhere.so"), "{}", said(&done));
    }
}

#[test]
fn a_wrong_password_is_called_one() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["kith", "right"])
        .status();
    assert!(
        made.expect("mosquitto_passwd is missing; `cargo xtask test` sets it up")
            .success()
    );
    let lines = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let broker = Broker::start_on(free_port(), &lines);
    let home = Home::new();
    let secret = home.path().join("secret");
    let login = "username = \"kith\"\npassword_file = \"secret\"\n";
    home.configure(broker.port, "", &format!("{login}{}", door(&clip(&["obama2"], 3.0))));
    for (password, well) in [("wrong", false), ("right", true)] {
        fs::write(&secret, format!("{password}\n")).unwrap();
        let (_, lines) = check(&home);
        let (ok, _, detail) = lines.iter().find(|(_, what, _)| what == "broker").unwrap();
        assert_eq!(*ok, well, "{detail}");
        assert!(well || detail.contains("refuses the user or the password"), "{detail}");
    }
    assert!(broker.folder().exists());
}
