//! What the runtime library writes down: it does not get to report that it is used, not to its makers, and not to a file that
//! it would send later; and its notes on who computed what may fail.

use std::fs;
use std::process::{Command, Stdio};

use crate::daemon::{Home, said};
use crate::given::photos;

/// Without the variable, ONNX Runtime 1.32 makes a device id and a database of what it will send in the user's cache as
/// soon as it is loaded.
#[test]
fn the_runtime_library_keeps_no_notes_of_its_use() {
    let home = Home::new();
    let user = tempfile::tempdir().unwrap();
    let done = home
        .kith()
        .arg("detect")
        .arg(photos().join("obama.jpg"))
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env("HOME", user.path())
        .env("XDG_CACHE_HOME", user.path().join("cache"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let left: Vec<_> = fs::read_dir(user.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_command_that_runs_the_networks_opens_no_socket() {
    let traces = Command::new("strace")
        .args(["-qq", "true"])
        .stdin(Stdio::null())
        .output();
    if !traces.is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: strace is not here, or may not trace");
        return;
    }
    let home = Home::new();
    let seen = home.path().join("sockets");
    let kith = home.kith();
    let done = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=socket", "-o"])
        .arg(&seen)
        .arg(kith.get_program())
        .arg("detect")
        .arg(photos().join("obama.jpg"))
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env("KITH_STATE", home.state())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let seen = fs::read_to_string(&seen).unwrap();
    assert!(!seen.contains("socket("), "{seen}");
}

/// Its notes on who computed what are a proof, and no condition: the networks run without them. The limit lets every write
/// to a file fail, as a full disk does.
#[test]
fn a_full_disk_keeps_no_network_from_running() {
    let home = Home::new();
    let kith = home.kith();
    let done = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 0; exec "$@""#, "sh"])
        .arg(kith.get_program())
        .arg("detect")
        .arg(photos().join("obama.jpg"))
        .env("KITH_STATE", home.state())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    assert!(!done.stdout.is_empty(), "no face was found");
}
