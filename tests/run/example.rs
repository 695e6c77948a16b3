//! The example configuration that is shipped runs as it is, but for where broker and camera are.

use std::fs;
use std::path::Path;

use kith::config::{self, ConfigError};

use crate::broker::Broker;
use crate::clip::clip;
use crate::daemon::Home;

const EXAMPLE: &str = "deploy/kith.toml";

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{EXAMPLE} has no {from:?} any more");
    text.replacen(from, to, 1)
}

#[test]
fn the_example_runs() {
    let broker = Broker::start();
    let home = Home::new();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE)).unwrap();
    let port = format!("mqtt://127.0.0.1:{}", broker.port);
    let text = replaced(&text, "mqtt://127.0.0.1:1883", &port);
    let film = format!("file:{}", clip(&[], 3.0).display());
    let text = replaced(&text, "rtsp://192.0.2.10/stream1", &film);
    fs::write(home.path().join("kith.toml"), text).unwrap();
    let subscriber = broker.subscribe();
    let daemon = home.run();
    subscriber.wait("the camera", |heard| {
        heard
            .iter()
            .any(|m| m.topic.ends_with("/camera/door/status") && m.text() == "online")
    });
    drop(daemon);
}

/// Each choice that it shows is a key that there is, with a value that it takes; what can be wrong is that a file which it
/// names is not there.
#[test]
fn what_the_example_shows_as_a_choice_is_one() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_choice = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = "));
        key.is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    };
    // Only zones, with the zones that this takes.
    let zones = lines.iter().position(|line| line.starts_with("# only_zones")).unwrap();
    let after = zones + lines[zones..].iter().position(|line| line.is_empty()).unwrap();
    let mut choices: Vec<Vec<usize>> = (0..zones)
        .filter(|at| is_choice(lines[*at]))
        .map(|at| vec![at])
        .collect();
    assert!(choices.len() > 30, "{}", choices.len());
    choices.push((zones..after).collect());
    let home = Home::new();
    let file = home.path().join("kith.toml");
    for choice in choices {
        let mut chosen: Vec<String> = lines.iter().map(ToString::to_string).collect();
        for at in &choice {
            chosen[*at] = chosen[*at].replacen("# ", "", 1);
        }
        fs::write(&file, chosen.join("\n")).unwrap();
        let Err(ConfigError::Mistakes { mistakes, .. }) = config::load(&file) else {
            continue;
        };
        for mistake in mistakes {
            let allowed = ["can't read", "is missing", "does nothing for mqtt://"];
            assert!(
                allowed.iter().any(|word| mistake.problem.contains(word)),
                "{}: {mistake}",
                chosen[choice[0]]
            );
        }
    }
}
