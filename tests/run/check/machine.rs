//! Configuration, models, runtime, state, FFmpeg, daemon: broken one by one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::broker::{Broker, free_port};
use crate::check::{check, check_by};
use crate::clip::clip;
use crate::daemon::{Home, camera, door};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A way to break something, and the line that has to say so.
struct Broken {
    breaks: fn(&Home),
    only: &'static str,
    place: &'static str,
    state: &'static str,
    words: &'static [&'static str],
}

#[test]
fn what_is_broken_on_the_machine_says_its_mend() {
    let cases = [
        Broken {
            breaks: |home| drop(fs::remove_file(home.path().join("kith.toml"))),
            only: "config",
            place: "config",
            state: "failed",
            words: &["kith.toml", "--config FILE"],
        },
        Broken {
            breaks: |home| fs::write(home.path().join("kith.toml"), "node = [").unwrap(),
            only: "config",
            place: "config",
            state: "failed",
            words: &["correct the line"],
        },
        Broken {
            breaks: |home| drop(home.configure(1, "[runtime]\nmodels = \"elsewhere\"", &camera("shed", "dir:."))),
            only: "models",
            place: "models",
            state: "failed",
            words: &["elsewhere", "`runtime.models`", "apt install --reinstall kith"],
        },
        Broken {
            breaks: |home| {
                let library = "[runtime]\nlibrary = \"libnowhere.so\"";
                drop(home.configure(1, library, &camera("shed", "dir:.")));
            },
            only: "runtime",
            place: "runtime",
            state: "failed",
            words: &["libnowhere.so", "`runtime.library`"],
        },
        Broken {
            breaks: |home| {
                let text = "this is no database, but long enough";
                fs::write(home.state().join("outbox.sqlite"), text).unwrap();
            },
            only: "disk",
            place: "disk outbox.sqlite",
            state: "failed",
            words: &["damaged", "move outbox.sqlite* away"],
        },
        Broken {
            breaks: |home| {
                // The page in the middle of it.
                let file = home.state().join("gallery.sqlite");
                let mut bytes = fs::read(&file).unwrap();
                let middle = bytes.len() / 2 / 4096 * 4096;
                bytes[middle..middle + 4096].fill(0x5a);
                fs::write(&file, bytes).unwrap();
            },
            only: "gallery",
            place: "gallery",
            state: "failed",
            words: &["damaged", "kith restore FILE"],
        },
        Broken {
            breaks: |home| set_mode(&home.state(), 0o755),
            only: "permissions",
            place: "permissions state",
            state: "failed",
            words: &["mode 755", "`chmod 700 "],
        },
        Broken {
            breaks: |home| set_mode(&home.state().join("gallery.sqlite"), 0o644),
            only: "permissions",
            place: "permissions state",
            state: "failed",
            words: &["may read gallery.sqlite", "`chmod go= "],
        },
        Broken {
            breaks: |home| {
                fs::write(home.path().join("secret"), "hunter2\n").unwrap();
                set_mode(&home.path().join("secret"), 0o644);
                let rest = "username = \"kith\"\npassword_file = \"secret\"\n[[camera]]\nid = \"a\"\nurl = \"dir:.\"\n";
                drop(home.configure(1, "", rest));
            },
            only: "permissions",
            place: "permissions secrets",
            state: "warning",
            words: &["can read", "mqtt.password_file", "`chmod o= "],
        },
        Broken {
            breaks: |home| {
                let file = home.configure(1, "", &camera("gate", "rtsp://viewer:s3cret@127.0.0.1/live"));
                set_mode(&file, 0o644);
            },
            only: "permissions",
            place: "permissions secrets",
            state: "warning",
            words: &["address in it holds a password", "`password_file`"],
        },
        Broken {
            breaks: |home| drop(home.configure(1, "[identify]\nby = \"head:nowhere\"", &camera("shed", "dir:."))),
            only: "provider",
            place: "provider identify",
            state: "failed",
            words: &["nowhere", "`identify.by`"],
        },
    ];
    for case in cases {
        let home = Home::new();
        home.enrol("Barack Obama", &["obama"]);
        home.configure(1, "", &camera("shed", "dir:."));
        (case.breaks)(&home);
        let mut kith = home.kith();
        // Where the tests' own models and library are; the environment would win against the configuration.
        match case.only {
            "models" => kith.env_remove("KITH_MODELS"),
            "runtime" => kith.env_remove("KITH_RUNTIME_LIBRARY"),
            _ => &mut kith,
        };
        let report = check_by(kith, &home, &["--only", case.only]);
        report.has(case.place, case.state, case.words);
    }
}

/// `sudo kith enroll` with another folder's rights, say: the daemon could not open the file any more.
#[test]
fn a_file_of_somebody_else_is_named() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(1, "", &camera("shed", "dir:."));
    std::os::unix::fs::chown(home.state().join("gallery.sqlite"), Some(65_534), None).unwrap();
    let report = check(&home, &["--only", "permissions"]);
    report.has(
        "permissions state",
        "failed",
        &["not of the user root: gallery.sqlite", "`sudo chown -R root: "],
    );
}

/// Looking changes nothing, not even what is wrong: the daemon would close the folder and migrate the gallery.
#[test]
fn a_check_leaves_the_state_as_it_is() {
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(free_port(), "", &camera("shed", "dir:."));
    set_mode(&home.state(), 0o755);
    let before = fs::read(home.state().join("gallery.sqlite")).unwrap();
    check(&home, &[]);
    assert_eq!(fs::metadata(home.state()).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(before == fs::read(home.state().join("gallery.sqlite")).unwrap());

    let empty = Home::new();
    empty.configure(free_port(), "", &camera("shed", "dir:."));
    check(&empty, &[]).has("permissions state", "ok", &["not there yet"]);
    assert!(!empty.state().exists());
}

#[test]
fn a_model_that_is_another_one_is_named() {
    let home = Home::new();
    home.configure(1, "", &camera("shed", "dir:."));
    let models = home.path().join("models");
    fs::create_dir(&models).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx"))
        .unwrap()
        .flatten()
    {
        fs::copy(entry.path(), models.join(entry.file_name())).unwrap();
    }
    let pnet = models.join("mtcnn-pnet.onnx");
    let file = if pnet.exists() { pnet } else { first_onnx(&models) };
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut kith = home.kith();
    kith.env("KITH_MODELS", &models);
    let report = check_by(kith, &home, &["--only", "models"]);
    assert_eq!(report.code, Some(1));
    assert!(
        report.said.contains("is not the one in the catalogue"),
        "{}",
        report.said
    );
    assert!(report.said.contains("cargo xtask models"), "{}", report.said);
}

fn first_onnx(folder: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "onnx"))
        .unwrap()
}

/// A person who was enrolled with another network is named, since nobody will recognise them.
#[test]
fn somebody_without_a_vector_is_named() {
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    home.configure(1, "", &camera("shed", "dir:."));
    let database = rusqlite::Connection::open(home.state().join("gallery.sqlite")).unwrap();
    database.execute("UPDATE embedding SET space = 'another'", []).unwrap();
    drop(database);
    let report = check(&home, &["--only", "gallery"]);
    report.has(
        "gallery vectors",
        "failed",
        &["1 people", "barack-obama", "kith enroll ID PHOTO"],
    );
}

#[test]
fn ffmpeg_is_missing_or_too_old_or_lacks_something() {
    let home = Home::new();
    home.configure(1, "", &door(&clip(&["obama2"], 3.0)));
    let folder = home.path().join("bin");
    fs::create_dir(&folder).unwrap();
    let with_path = || {
        let mut kith = home.kith();
        kith.env("PATH", &folder);
        check_by(kith, &home, &["--only", "decoder"])
    };
    with_path().has(
        "decoder ffmpeg",
        "failed",
        &["none on the PATH", "`sudo apt install ffmpeg`"],
    );
    for (script, words) in [
        (
            "echo ffmpeg version 4.2.7-0ubuntu0.1 Copyright",
            &["version 4.2.7", "4.4 is the oldest", "newer"][..],
        ),
        (
            "echo ffmpeg version 5.1 ; echo pipe file mjpeg rawvideo nut select pad",
            &["without h264", "--reinstall ffmpeg"],
        ),
        ("exit 1", &["does not start"]),
    ] {
        let program = folder.join("ffmpeg");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        set_mode(&program, 0o755);
        with_path().has("decoder ffmpeg", "failed", words);
    }
}

#[test]
fn a_running_daemon_is_found_and_not_disturbed() {
    let broker = Broker::start();
    let home = Home::new();
    home.configure(
        broker.port,
        "",
        &format!("{}loop = true\n", door(&clip(&["obama2"], 3.0))),
    );
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("online", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "online"))
    });
    daemon.wait_for_log("the camera delivers");
    let report = check(&home, &[]);
    report.has("daemon", "ok", &["as box, since"]);
    report.has("provider", "ok", &["cpu", "in the running daemon"]);
    report.has("provider embedder", "ok", &["cpu, in the running daemon"]);
    report.has("broker login", "ok", &["accepts us"]);
    report.has("camera door", "ok", &["640x480"]);
    let heard = subscriber.all();
    assert!(
        !heard.iter().any(|m| m.is("kith/box/status", "offline")),
        "{}",
        crate::broker::list(&heard)
    );
    assert!(!daemon.log().contains("lost the broker"), "{}", daemon.log());
    assert!(!broker.retained().contains_key("kith/box/check"));
}
