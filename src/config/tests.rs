use std::collections::HashMap;
use std::fs;

use super::*;
use crate::identify::IdentifyBy;

const SMALLEST: &str = "[mqtt]\nurl = \"mqtt://127.0.0.1:1883\"\n[[camera]]\nid = \"door\"\nurl = \"file:clip.mp4\"\n";

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kith.toml");
    fs::write(&file, text).unwrap();
    fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    let variables: HashMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load_with(
        &file,
        config::Environment::with_prefix("KITH")
            .prefix_separator("__")
            .separator("__")
            .source(Some(variables)),
    )
}

/// The keys that are named as mistakes in `text`, each with its problem.
fn mistakes(text: &str) -> Vec<(String, String)> {
    match load_text(text, &[]) {
        Err(ConfigError::Mistakes { mistakes, .. }) => mistakes.into_iter().map(|m| (m.key, m.problem)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_smallest_configuration_is_enough() {
    let settings = load_text(SMALLEST, &[]).unwrap();
    assert_eq!(settings.mqtt.host, "127.0.0.1");
    assert_eq!((settings.mqtt.port, settings.mqtt.tls), (1883, false));
    assert_eq!(&*settings.cameras[0].id, "door");
    assert_eq!((settings.min_shots, settings.publish_faces), (3, false));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = mistakes(
        "anounce_again_s = 3\n[mqtt]\nurl = \"http://broker\"\nkeep_alive_s = \"15\"\nuser = 1\n[verdict]\nmin_shots = 0\n\
         [runtime]\nprovider = \"gpu\"\n[[camera]]\nid = \"Front Door\"\nurl = \"exec:rm\"\n[[camera]]\nid = \"b\"\n\
         min_face_px = 4\nfps = 3\n",
    );
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    for key in [
        "anounce_again_s",
        "mqtt.url",
        "mqtt.keep_alive_s",
        "mqtt.user",
        "verdict.min_shots",
        "runtime.provider",
        "camera[0].id",
        "camera[0].url",
        "camera[1].url",
        "camera[1].min_face_px",
        "camera[1].fps",
    ] {
        assert!(keys.contains(&key), "{key} is not among {found:#?}");
    }
    assert_eq!(keys.len(), 11, "{found:#?}");
    let problem = |key: &str| &found.iter().find(|(k, _)| k == key).unwrap().1;
    assert!(problem("anounce_again_s").contains("did you mean `announce_again_s`"));
    assert!(problem("runtime.provider").contains("\"tensorrt\""));
    assert!(problem("verdict.min_shots").contains("from 1 to 8"));
    assert!(problem("camera[0].url").contains("rtsp://"));
}

#[test]
fn two_cameras_of_one_name_are_a_mistake() {
    let twice = format!("{SMALLEST}[[camera]]\nid = \"door\"\nurl = \"rtsp://cam/1\"\n");
    assert_eq!(mistakes(&twice)[0].0, "camera[1].id");
}

#[test]
fn the_environment_wins_over_the_file() {
    let settings = load_text(
        SMALLEST,
        &[
            ("KITH__MQTT__URL", "mqtts://broker"),
            ("KITH__VERDICT__MIN_SHOTS", "5"),
            ("KITH__PUBLISH__FACES", "true"),
        ],
    )
    .unwrap();
    assert_eq!(
        (settings.mqtt.host.as_str(), settings.mqtt.port, settings.mqtt.tls),
        ("broker", 8883, true)
    );
    assert_eq!((settings.min_shots, settings.publish_faces), (5, true));
    assert!(load_text(SMALLEST, &[("KITH__VERDICT__MIN_SHOTS", "many")]).is_err());
    assert!(load_text(SMALLEST, &[("KITH__MQTT__HOST", "x")]).is_err());
}

#[test]
fn passwords_come_from_files_and_are_never_shown() {
    let with = SMALLEST.replace(
        "[[camera]]\n",
        "username = \"kith\"\npassword_file = \"secret\"\n[[camera]]\nusername = \"cam\"\npassword_file = \"secret\"\n",
    );
    let with = with.replace("file:clip.mp4", "rtsp://cam/live");
    let settings = load_text(&with, &[]).unwrap();
    assert_eq!(
        settings.mqtt.login.as_ref().unwrap().1.as_ref().unwrap().expose(),
        "hunter2"
    );
    assert!(!format!("{settings:?}").contains("hunter2"));
    let inside = SMALLEST.replace("mqtt://127", "mqtt://me:hunter2@127");
    assert!(mistakes(&inside)[0].1.contains("mqtt.password_file"));
    let lost = SMALLEST.replace(
        "[[camera]]\n",
        "username = \"a\"\npassword_file = \"nowhere\"\n[[camera]]\n",
    );
    assert_eq!(mistakes(&lost)[0].0, "mqtt.password_file");
}

/// `kith check` by an admin has no credentials of systemd, but the files that they are made of.
#[test]
fn a_password_is_also_looked_for_where_the_services_credentials_come_from() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("credentials")).unwrap();
    fs::write(folder.path().join("credentials/mqtt-password"), "there\n").unwrap();
    let mut mistakes = Vec::new();
    let mut read = || {
        settings::password(
            Path::new("mqtt-password"),
            folder.path(),
            "mqtt.password_file",
            &mut mistakes,
        )
    };
    assert_eq!(read().unwrap().expose(), "there");
    fs::write(folder.path().join("mqtt-password"), "beside\n").unwrap();
    assert_eq!(
        read().unwrap().expose(),
        "beside",
        "the file beside the configuration comes first"
    );
    assert!(mistakes.is_empty());
}

#[test]
fn faces_are_named_by_the_gallery_or_a_head() {
    let by = |value: &str| load_text(&format!("[identify]\nby = \"{value}\"\n{SMALLEST}"), &[]);
    assert_eq!(load_text(SMALLEST, &[]).unwrap().identify_by, IdentifyBy::Gallery);
    assert_eq!(by("gallery").unwrap().identify_by, IdentifyBy::Gallery);
    assert_eq!(
        by("head:family").unwrap().identify_by,
        IdentifyBy::Head("family".into())
    );
    for wrong in ["head", "head:", "family", "Gallery", "heads:family"] {
        let found = mistakes(&format!("[identify]\nby = \"{wrong}\"\n{SMALLEST}"));
        assert_eq!(found[0].0, "identify.by");
        assert!(found[0].1.contains("\"head:NAME\""), "{found:?}");
    }
    let folders = load_text(&format!("[runtime]\nmodels_d = \"mine\"\n{SMALLEST}"), &[]).unwrap();
    assert!(folders.runtime.models_d.unwrap().ends_with("mine"));
    let other = load_text(&format!("[identify]\nembedder = \"small\"\n{SMALLEST}"), &[]).unwrap();
    assert_eq!(other.runtime.embedder.as_deref(), Some("small"));
}

#[test]
fn what_is_no_toml_or_no_file_is_said_clearly() {
    let error = load_text("[mqtt\nurl = 3", &[]).unwrap_err().to_string();
    assert!(error.contains("kith.toml"), "{error}");
    let error = load(Path::new("/nowhere/kith.toml")).unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/kith.toml") && error.contains("No such file"),
        "{error}"
    );
}

/// Every key of the table reaches the settings: a file with all of them is read without a mistake.
#[test]
fn the_example_file_is_valid() {
    let example = include_str!("../../deploy/kith.toml");
    // Commented lines that look like keys are examples too.
    let all: String = example
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") || rest.starts_with('['))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    for (name, text) in [("as it is", example), ("with every key", &all)] {
        if let Err(ConfigError::Mistakes { mistakes, .. }) = load_text(text, &[]) {
            // Files that it names are not here.
            // And keys that say how TLS is spoken stand beside an address without TLS.
            let not_here = |problem: &str| problem.contains("can't read") || problem.contains("does nothing for mqtt:");
            let real: Vec<_> = mistakes.iter().filter(|m| !not_here(&m.problem)).collect();
            assert!(real.is_empty(), "{name}: {real:#?}");
        }
    }
    for table in keys::TOP {
        all_have_examples(table, table.name, &all);
    }
}

/// The one beside compose.yaml, as it comes.
#[test]
fn the_file_of_the_compose_set_is_valid() {
    load_text(include_str!("../../deploy/docker/kith.toml"), &[]).unwrap();
}

fn all_have_examples(table: &keys::Key, path: &str, examples: &str) {
    let (keys::Kind::Table(keys) | keys::Kind::Tables(keys)) = table.kind else {
        return;
    };
    for key in keys {
        let path = format!("{path}.{}", key.name);
        let example = match key.kind {
            keys::Kind::Tables(_) => format!("\n[[{path}]]\n"),
            _ => format!("\n{} = ", key.name),
        };
        assert!(examples.contains(&example), "{path} has no example");
        all_have_examples(key, &path, examples);
    }
}

#[test]
fn zones_and_masks_are_checked() {
    let camera = "[mqtt]\nurl = \"mqtt://h\"\n[[camera]]\nid = \"a\"\nurl = \"rtsp://cam/x\"\n";
    let good = format!(
        "{camera}only_zones = true\n[[camera.zone]]\nname = \"porch\"\npolygon = [[0, 0], [0.5, 0], [0.5, 1.0]]\n\
         [[camera.mask]]\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n"
    );
    let view = load_text(&good, &[]).unwrap().cameras.remove(0).view;
    assert_eq!(view.zones[0].polygon, [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0]]);
    assert_eq!(
        (&*view.zones[0].name, view.masks.len(), view.only_zones, view.motion),
        ("porch", 1, true, true)
    );
    let zone = |name: &str, polygon: &str| format!("{camera}[[camera.zone]]\n{name}\npolygon = {polygon}\n");
    let triangle = "[[0, 0], [1, 0], [1, 1]]";
    for (text, key) in [
        (zone("name = \"a b\"", triangle), "camera[0].zone[0].name"),
        (zone("", triangle), "camera[0].zone[0].name"),
        (zone("name = \"a\"", "[[0, 0], [1, 0]]"), "camera[0].zone[0].polygon"),
        (
            zone("name = \"a\"", "[[0, 0], [1, 0], [1.5, 1]]"),
            "camera[0].zone[0].polygon",
        ),
        (
            zone("name = \"a\"", "[[0, 0, 0], [1, 0], [1, 1]]"),
            "camera[0].zone[0].polygon",
        ),
        (format!("{camera}[[camera.mask]]\n"), "camera[0].mask[0].polygon"),
        (format!("{camera}only_zones = true\n"), "camera[0].only_zones"),
        (format!("{camera}decode = \"turbo\"\n"), "camera[0].decode"),
        (
            camera.replace("rtsp://cam/x\"", "dir:x\"\ndecode = \"vaapi\""),
            "camera[0].decode",
        ),
    ] {
        let Err(ConfigError::Mistakes { mistakes, .. }) = load_text(&text, &[]) else {
            panic!("accepted: {text}")
        };
        let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.key.as_str()).collect();
        assert_eq!(keys, [key], "{text}");
    }
}

/// `KITH_UPDATE_DOCS=1` writes the page instead.
#[test]
fn the_reference_page_fits_the_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/config.md");
    if std::env::var_os("KITH_UPDATE_DOCS").is_some() {
        fs::write(&file, reference()).unwrap();
    }
    let page = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        page == reference(),
        "{} differs from the table of keys; run this test with KITH_UPDATE_DOCS=1 and look at the change",
        file.display()
    );
}

/// Every camera that the guide shows is one.
#[test]
fn the_guides_cameras_are_valid() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide");
    let pages = fs::read_dir(guide.join("cameras"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    for page in pages.chain([guide.join("cameras.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        let mut examples = 0;
        for example in text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap())
        {
            examples += 1;
            let whole = format!("[mqtt]\nurl = \"mqtt://127.0.0.1\"\n{example}");
            if let Err(ConfigError::Mistakes { mistakes, .. }) = load_text(&whole, &[]) {
                // Files that it names are not here.
                let real: Vec<_> = mistakes.iter().filter(|m| !m.problem.contains("can't read")).collect();
                assert!(real.is_empty(), "{}: {real:#?}", page.display());
            }
        }
        assert!(examples > 0, "{} shows no camera", page.display());
    }
}
