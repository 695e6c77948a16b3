//! `kith support`: secrets, names and faces are planted wherever they could be, and none is in the bundle.

use std::fs;
use std::path::Path;
use std::process::Command;

use data_encoding::{BASE64, HEXLOWER};

use crate::broker::Broker;
use crate::clip::clip;
use crate::daemon::{Home, door, said};

/// Unpacks with the system's own tar, as somebody who looks into it would; all files in one text.
fn unpacked(bundle: &Path) -> (Vec<String>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("tar")
        .arg("xzf")
        .arg(bundle)
        .arg("-C")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(done.success());
    let mut names = Vec::new();
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.path().join("kith-support")).unwrap().flatten() {
        names.push(entry.file_name().into_string().unwrap());
        all.extend(entry.file_name().as_encoded_bytes());
        all.extend(fs::read(entry.path()).unwrap());
        all.push(b'\n');
    }
    names.sort();
    (names, all)
}

fn holds(all: &[u8], wanted: &[u8]) -> bool {
    all.to_ascii_lowercase()
        .windows(wanted.len())
        .any(|window| window == wanted.to_ascii_lowercase())
}

#[test]
fn nothing_that_was_planted_is_in_the_bundle() {
    const MQTT_PASSWORD: &str = "mqtt-hunter2";
    const CAMERA_PASSWORD: &str = "c@m&=\"p/w+1'%";
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.enrol("Rosa Removed", &["biden"]);
    fs::write(home.path().join("mqtt-secret"), format!("{MQTT_PASSWORD}\n")).unwrap();
    fs::write(home.path().join("cam-secret"), format!("{CAMERA_PASSWORD}\n")).unwrap();
    // Its own name is one of a person.
    let film = home.path().join("film.mp4");
    fs::copy(clip(&["obama2"], 3.0), &film).unwrap();
    let rest = format!(
        "username = \"mqttuser\"\npassword_file = \"mqtt-secret\"\n# password = \"commented-out\"\n\
         [http]\nlisten = \"off\"\n\
         [[camera]]\nid = \"yard\"\nurl = \"rtsp://127.0.0.1:1/user=x&password=pathsecret\"\nusername = \"camuser\"\n\
         password_file = \"cam-secret\"\n\
         [[camera]]\nid = \"gate\"\nurl = \"http://inurl:urlsecret@127.0.0.1:1/live?token=querysecret\"\n\
         [[camera]]\nid = \"unifi\"\nurl = \"rtsp://127.0.0.1:1/Ab3dEfGh1JkLmN\"\n\
         # url = \"rtsp://old:oldsecret@cam/x\"\n\
         [[camera]]\nid = \"barack-obama\"\nurl = \"dir:nowhere\"\n{}loop = true\n",
        door(&film)
    );
    home.configure(broker.port, "state = \"state\"", &rest);
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("a recognition", |heard| {
        heard.iter().any(|m| m.text().contains("\"event_type\":\"recognized\""))
    });
    let removed = home
        .kith()
        .args(["people", "remove", "rosa-removed", "--yes"])
        .output()
        .unwrap();
    assert!(removed.status.success(), "{}", said(&removed));
    daemon.wait_for_log("rosa-removed");
    home.enrol("Zoë Müller", &["biden"]);
    // The log as the journal would give it, with more in it than the daemon ever writes.
    let journal = format!(
        "{}\nBarack Obama came, then zoë müller; {MQTT_PASSWORD} {CAMERA_PASSWORD} urlsecret token=querysecret\n",
        daemon.log()
    );
    let tools = home.path().join("bin");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("journal"), &journal).unwrap();
    let script = tools.join("journalctl");
    fs::write(&script, format!("#!/bin/sh\ncat {}/journal\n", tools.display())).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let bundle = home.path().join("bundle.tar.gz");
    let support = || {
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        let mut kith = home.kith();
        kith.env("PATH", path)
            .arg("support")
            .arg(&bundle)
            .arg("--config")
            .arg(home.path().join("kith.toml"));
        kith.output().unwrap()
    };
    let done = support();
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("check.txt"), "{}", said(&done));
    let (names, all) = unpacked(&bundle);
    let text = String::from_utf8_lossy(&all).into_owned();
    let expected = [
        "MANIFEST.txt",
        "check.txt",
        "kith.toml",
        "log.txt",
        "machine.txt",
        "people.json",
        "state.txt",
        "status.json",
    ];
    assert_eq!(names, expected, "{}", said(&done));
    // What a helper needs is there.
    for needed in [
        "broker login",
        "rtsp://127.0.0.1:1/…",
        "\"people\": 2",
        "kernel    Linux",
        "metrics.txt   left out: `http.listen` is \"off\"",
        "person-",
        "mend: ",
    ] {
        assert!(text.contains(needed), "{needed:?} is missing:\n{text}");
    }

    let mut planted: Vec<Vec<u8>> = [
        MQTT_PASSWORD,
        CAMERA_PASSWORD,
        "c%40m",
        "commented-out",
        "urlsecret",
        "querysecret",
        "pathsecret",
        "oldsecret",
        "Ab3dEfGh1JkLmN",
        "mqttuser",
        "camuser",
        "inurl",
        "Obama",
        "barack",
        "Zoë",
        "Müller",
        "zoe-muller",
        "rosa-removed",
        "zoe",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for secret in [MQTT_PASSWORD, CAMERA_PASSWORD] {
        planted.push(BASE64.encode(secret.as_bytes()).into_bytes());
        planted.push(HEXLOWER.encode(secret.as_bytes()).into_bytes());
    }
    // The numbers of a face, as they lie in the database and as text.
    let database = rusqlite::Connection::open(home.state().join("gallery.sqlite")).unwrap();
    let mut rows = database.prepare("SELECT vector FROM embedding").unwrap();
    let vectors: Vec<Vec<u8>> = rows
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(vectors.len(), 2);
    for vector in &vectors {
        let some = &vector[..32];
        planted.push(some.to_vec());
        planted.push(HEXLOWER.encode(some).into_bytes());
        planted.push(BASE64.encode(&vector[..30]).into_bytes());
        for value in vector.chunks_exact(4).take(8) {
            let value = f32::from_le_bytes(value.try_into().unwrap());
            planted.push(format!("{value:.6}").into_bytes());
        }
    }
    for one in &planted {
        assert!(
            !holds(&all, one),
            "{} is in the bundle:\n{text}",
            String::from_utf8_lossy(one)
        );
    }
    for picture in [&b"\xff\xd8\xff"[..], b"\x89PNG", b"SQLite format"] {
        assert!(!holds(&all, picture), "{picture:?}");
    }
    // What is there already is not replaced, and the bundle is its owner's alone.
    let before = fs::read(&bundle).unwrap();
    let again = support();
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    assert!(before == fs::read(&bundle).unwrap());
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&bundle).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

/// Where a configuration can't be read, nobody knows what in it is a secret: then neither it nor the log is in.
#[test]
fn a_configuration_that_is_no_toml_takes_nothing_along() {
    let home = Home::new();
    fs::write(home.path().join("kith.toml"), "[mqtt]\nurl = mqtt://u:s3cret@host\n").unwrap();
    let tools = home.path().join("bin");
    fs::create_dir(&tools).unwrap();
    let script = tools.join("journalctl");
    fs::write(&script, "#!/bin/sh\necho the log says s3cret\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bundle = home.path().join("bundle.tar.gz");
    let done = home
        .kith()
        .env(
            "PATH",
            format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()),
        )
        .args(["support", "--json", "--config"])
        .arg(home.path().join("kith.toml"))
        .arg(&bundle)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let (names, all) = unpacked(&bundle);
    assert_eq!(names, ["MANIFEST.txt", "check.txt", "machine.txt"], "{}", said(&done));
    let text = String::from_utf8_lossy(&all);
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("correct the line"), "{text}");
}
