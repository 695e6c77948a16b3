//! What is wrong is said clearly, all of it, and before anything starts.

use crate::broker::free_port;
use crate::daemon::{Home, camera, said};

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
