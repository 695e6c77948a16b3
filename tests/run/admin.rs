//! A running daemon is administered over its Unix socket, and takes a changed configuration over.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::broker::{Broker, Message};
use crate::clip::clip;
use crate::daemon::{Daemon, Home, camera, door, said};

/// Sends one line over the daemon's socket; its answer.
fn ask(home: &Home, line: &str) -> Value {
    let mut stream = UnixStream::connect(home.state().join("kith.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn looped(people: &[&str]) -> String {
    format!("{}loop = true\n", door(&clip(people, 3.0)))
}

/// A daemon whose networks are open and that is connected.
fn running(home: &Home, broker: &Broker) -> Daemon {
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("online", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "online"))
    });
    daemon
}

#[test]
fn the_socket_answers_and_refuses_nonsense() {
    let (broker, home) = (Broker::start(), Home::new());
    home.configure(broker.port, "", &looped(&[]));
    // What a killed daemon left behind is replaced.
    fs::create_dir_all(home.state()).unwrap();
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.state().join("kith.sock")).unwrap());
    let mut daemon = running(&home, &broker);
    let mode = fs::metadata(home.state().join("kith.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o007, 0, "nobody else may: {mode:o}");

    let status = ask(&home, r#"{"verb":"status"}"#);
    assert_eq!(status["ok"]["node"], "box", "{status}");
    assert!(status["ok"]["cameras"]["door"].is_object(), "{status}");
    assert_eq!(ask(&home, r#"{"verb":"people"}"#), json!({"ok": []}));
    for nonsense in [r#"{"verb":"dance"}"#, "hello", "{}", r#"{"verb":"person"}"#] {
        let answer = ask(&home, nonsense);
        assert!(answer["error"].is_string(), "{nonsense}: {answer}");
    }
    let nobody = ask(&home, r#"{"verb":"remove","people":["nobody"]}"#);
    assert!(nobody["error"].as_str().unwrap().contains("nobody"), "{nobody}");

    // One that never ends is cut off, and the daemon goes on.
    let mut endless = UnixStream::connect(home.state().join("kith.sock")).unwrap();
    endless.set_read_timeout(Some(PATIENCE)).unwrap();
    let block = vec![b'x'; 1 << 20];
    let sent = (0..40).take_while(|_| endless.write_all(&block).is_ok()).count();
    assert!(sent < 40, "it took {sent} MB in one line");
    assert_eq!(ask(&home, r#"{"verb":"people"}"#), json!({"ok": []}));

    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(
        !home.state().join("kith.sock").exists(),
        "the socket goes with the daemon"
    );
}

#[test]
fn a_new_or_removed_person_is_live_within_a_second() {
    let (broker, home) = (Broker::start(), Home::new());
    home.configure(broker.port, "", &looped(&["obama2"]));
    let _daemon = running(&home, &broker);
    let subscriber = broker.subscribe();
    // Over the socket: the command says so once it is live, so nothing is waited for here.
    home.enrol("Barack Obama", &["obama"]);
    let people = ask(&home, r#"{"verb":"people"}"#);
    assert_eq!(people["ok"][0]["id"], "barack-obama", "{people}");
    let began = Instant::now();
    subscriber.wait("the person's state", |heard| {
        heard.iter().any(|m| m.topic == "kith/box/person/barack-obama/state")
    });
    let enrolled_after = began.elapsed();
    assert!(enrolled_after < Duration::from_secs(1), "live after {enrolled_after:?}");

    let removed = home
        .kith()
        .args(["people", "remove", "barack-obama", "--yes"])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", said(&removed));
    let began = Instant::now();
    let empty = |message: &Message| message.topic == "kith/box/person/barack-obama/state" && message.payload.is_empty();
    subscriber.wait("the state's end", |heard| heard.iter().any(empty));
    let removed_after = began.elapsed();
    assert!(removed_after < Duration::from_secs(1), "gone after {removed_after:?}");
    eprintln!("live after {enrolled_after:?}, gone after {removed_after:?}");
}

#[test]
fn commands_change_people_through_the_daemon_without_touching_the_database() {
    let (broker, home) = (Broker::start(), Home::new());
    home.configure(broker.port, "", &looped(&[]));
    let daemon = running(&home, &broker);
    let elsewhere = tempfile::tempdir().unwrap();
    // As a member of the group: another state folder, only the socket is named.
    let kith = |arguments: &[&str]| {
        let mut command = home.kith();
        command.env("KITH_STATE", elsewhere.path().join("none"));
        command.env("KITH_SOCKET", home.state().join("kith.sock"));
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
        String::from_utf8(done.stdout).unwrap()
    };
    let photo = crate::given::photos().join("obama.jpg");
    kith(&["enroll", "Barack Obama", photo.to_str().unwrap(), "--keep-crop"]);
    kith(&["people", "rename", "barack-obama", "Mr President"]);
    kith(&["people", "threshold", "barack-obama", "0.6"]);
    kith(&["people", "ignore", "barack-obama"]);
    kith(&[
        "people",
        "not",
        "barack-obama",
        crate::given::photos().join("biden.jpg").to_str().unwrap(),
    ]);
    let people: Value = serde_json::from_str(&kith(&["people", "--json"])).unwrap();
    assert_eq!(people[0]["name"], "Mr President", "{people}");
    assert_eq!(
        (&people[0]["ignored"], &people[0]["negatives"]),
        (&json!(true), &json!(1)),
        "{people}"
    );
    assert_eq!(people[0]["crops"], 1, "{people}");
    assert!(kith(&["people", "show", "barack-obama"]).contains("0.6 by the gallery"));
    kith(&["people", "remove", "barack-obama", "--yes"]);
    assert_eq!(kith(&["people", "--json"]).trim(), "[]");
    // An export of another house.
    let other = Home::new();
    other.enrol("Joe Biden", &["biden"]);
    let export = other.path().join("people.jsonl");
    let exported = other.kith().args(["people", "export"]).arg(&export).output().unwrap();
    assert!(exported.status.success(), "{}", said(&exported));
    let imported = kith(&["people", "import", export.to_str().unwrap()]);
    assert_eq!(imported.trim(), "Joe Biden (joe-biden): imported with 1 face");
    assert!(daemon.log().contains("imported"), "{}", daemon.log());
    kith(&["people", "remove", "joe-biden", "--yes"]);
    assert!(
        !elsewhere.path().join("none").exists(),
        "nothing was made beside the daemon's gallery"
    );
    assert!(
        !daemon.log().contains("Mr President"),
        "names stay out of the log:\n{}",
        daemon.log()
    );
}

fn statuses(heard: &[Message], camera: &str) -> Vec<String> {
    let topic = format!("kith/box/camera/{camera}/status");
    heard.iter().filter(|m| m.topic == topic).map(Message::text).collect()
}

#[test]
fn a_changed_file_is_taken_over_and_a_bad_one_is_not() {
    let (broker, home) = (Broker::start(), Home::new());
    let clip = clip(&[], 3.0);
    let looped = |id: &str| format!("{}loop = true\n", camera(id, &format!("file:{}", clip.display())));
    home.configure(broker.port, "", &(looped("door") + &looped("yard")));
    let daemon = running(&home, &broker);
    let subscriber = broker.subscribe();
    subscriber.wait("both cameras", |heard| {
        ["door", "yard"]
            .iter()
            .all(|id| statuses(heard, id).iter().any(|status| status == "online"))
    });

    // One goes, one comes, one stays as it is; an editor writes another file and renames it.
    let text = fs::read_to_string(home.path().join("kith.toml")).unwrap();
    replace(&home, &text.replace("id = \"yard\"", "id = \"hall\""));
    subscriber.wait("the new camera", |heard| {
        statuses(heard, "hall").contains(&"online".to_owned())
    });
    subscriber.wait("the end of the old one", |heard| {
        statuses(heard, "yard").last().is_some_and(String::is_empty)
    });
    // It says `offline` until it delivers for the first time, and not again.
    let door = statuses(&subscriber.all(), "door");
    let since_online = door.iter().skip_while(|status| *status != "online");
    assert!(since_online.clone().all(|status| status == "online"), "{door:?}");

    // A bad one changes nothing, and all its mistakes are told.
    replace(
        &home,
        &text.replace("[mqtt]", "anounce_again_s = 1\n[mqtt]\nkeep_alive_s = 1"),
    );
    daemon.wait_for_log("was not reloaded");
    assert!(daemon.log().contains("announce_again_s") && daemon.log().contains("keep_alive_s"));
    assert!(
        statuses(&subscriber.all(), "hall")
            .last()
            .is_some_and(|status| status == "online")
    );
    let refused = ask(&home, r#"{"verb":"reload"}"#);
    assert!(refused["error"].as_str().unwrap().contains("2 mistakes"), "{refused}");

    // What takes a restart is named; what doesn't is done.
    let other = text
        .replace("id = \"yard\"", "id = \"hall\"")
        .replace("node = \"box\"", "node = \"other\"")
        .replace("[mqtt]", "[presence]\nhold_s = 5\n[mqtt]\nkeep_alive_s = 99");
    fs::write(home.path().join("kith.toml"), &other).unwrap();
    let answer = ask(&home, r#"{"verb":"reload"}"#);
    assert_eq!(answer["ok"]["needs_restart"], json!(["node", "mqtt"]), "{answer}");
    let none = json!([]);
    for change in ["added", "removed", "restarted"] {
        assert_eq!(answer["ok"]["cameras"][change], none, "{answer}");
    }

    // A camera that changes is restarted, and only that one; by signal.
    fs::write(
        home.path().join("kith.toml"),
        other.replacen("loop = true", "loop = true\nmin_face_px = 50", 1),
    )
    .unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log(r#""restarted":["door"]"#);
    subscriber.wait("the camera again", |heard| {
        heard
            .iter()
            .filter(|m| m.is("kith/box/camera/door/status", "online"))
            .count()
            >= 1
    });
}

fn replace(home: &Home, text: &str) {
    let new = home.path().join("kith.toml.new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, home.path().join("kith.toml")).unwrap();
}

/// Not by anybody who has no right to, even where the permissions of the file would allow it.
#[test]
fn a_stranger_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can play another user; not tested");
        return;
    }
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("there is no /usr/bin/python3 to ask as another user with; not tested");
        return;
    }
    let (broker, home) = (Broker::start(), Home::new());
    home.configure(broker.port, "", &looped(&[]));
    let _daemon = running(&home, &broker);
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(home.path(), 0o755);
    open(&home.state(), 0o755);
    open(&home.state().join("kith.sock"), 0o666);
    let program = r#"
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(4096).decode())
"#;
    let said_to_nobody = std::process::Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            program,
        ])
        .arg(home.state().join("kith.sock"))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&said_to_nobody.stdout).into_owned();
    assert!(
        answer.contains("error") && answer.contains("group kith"),
        "{}",
        said(&said_to_nobody)
    );
}

#[test]
fn status_and_reload_are_commands() {
    let (broker, home) = (Broker::start(), Home::new());
    let nobody = home.kith().arg("status").output().unwrap();
    assert!(!nobody.status.success());
    assert!(said(&nobody).contains("no daemon listens at"), "{}", said(&nobody));

    home.configure(broker.port, "", &looped(&[]));
    let daemon = running(&home, &broker);
    daemon.wait_for_log("the camera delivers");
    let status = home.kith().arg("status").output().unwrap();
    assert!(status.status.success(), "{}", said(&status));
    let text = String::from_utf8(status.stdout).unwrap();
    for part in [
        "as box, since ",
        "connected, nothing waits",
        "0 enrolled",
        "door  delivers, ",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let json = home.kith().args(["status", "--json"]).output().unwrap().stdout;
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["cameras"]["door"]["online"], true, "{json}");

    // The same camera, and one more.
    let yard = camera("yard", "dir:/nowhere");
    home.configure(broker.port, "", &format!("{}{yard}", looped(&[])));
    let reloaded = home.kith().arg("reload").output().unwrap();
    assert!(reloaded.status.success(), "{}", said(&reloaded));
    let text = String::from_utf8(reloaded.stdout).unwrap();
    assert!(text.contains("cameras added: yard"), "{text}");

    home.configure(broker.port, "", "[[camera]]\nid = \"No Id\"\n");
    let refused = home.kith().args(["reload", "--json"]).output().unwrap();
    assert!(!refused.status.success());
    assert!(said(&refused).contains("camera"), "{}", said(&refused));
}
