//! A lost GPU is noticed. The loss is a mock: the build with `--features fault` makes every run of a network fail when it
//! is told to, as a card that fell off the bus does. So is the card of the fallback: the networks run on the CPU and are
//! said to run on a card, until the CPU takes over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::broker::{Broker, Message, list};
use crate::clip::clip;
use crate::daemon::{Home, door};
use crate::supervisor::Supervisor;
use crate::trials::Trials;

#[test]
fn a_card_that_is_lost_while_it_works() {
    if !cfg!(feature = "fault") {
        eprintln!("skipped: needs --features fault (cargo xtask test --only faults)");
        return;
    }
    Trials::counting("gpu", "run-errors", 1, 20).run(|_| lose());
}

fn lose() -> Result<(), String> {
    let broker = Broker::start();
    let subscriber = broker.subscribe();
    let home = Home::new();
    let camera = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "announce_again_s = 0", &camera);
    let mut supervisor = Supervisor::start(None);
    let mut daemon = home.run_with(&supervisor.environment());
    subscriber.wait("an event", |heard| heard.iter().any(|m| m.topic.ends_with("/event")));
    let order = home.state().join("kith-fault-run-error");
    fs::write(&order, "").unwrap();
    let status = daemon.wait();
    supervisor.hear_the_rest();
    if status.code() != Some(1) || !daemon.log().contains("the networks failed 10 times in a row") {
        return Err(format!("it ended with {status}"));
    }
    if supervisor.count("STOPPING=1") != 1 {
        return Err(format!("the supervisor heard {:?}", supervisor.words()));
    }
    let heard = subscriber.wait("offline", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    // Who was in view is in view no more: nobody is told of people that nobody sees.
    let last = heard.iter().rfind(|m| m.topic == "kith/box/camera/door/people");
    if last.is_none_or(|view| view.text() != r#"{"people":[],"unknown":0}"#) {
        return Err(format!("somebody is still in view:{}", list(&heard)));
    }
    // The card is back, and so is the daemon, started by its supervisor.
    fs::remove_file(&order).unwrap();
    let _again = home.run_with(&supervisor.environment());
    let before = heard.len();
    subscriber.wait("an event after the restart", |heard| {
        heard[before..].iter().any(|m| m.topic.ends_with("/event"))
    });
    Ok(())
}

#[test]
fn the_cpu_takes_over_from_a_lost_card() {
    if !cfg!(feature = "fault") {
        eprintln!("skipped: needs --features fault (cargo xtask test --only faults)");
        return;
    }
    Trials::counting("gpu", "fallbacks", 1, 20).run(|_| fall_back());
}

/// What `info` said, the last message last.
fn infos(heard: &[Message]) -> Vec<Value> {
    let infos = heard.iter().filter(|m| m.topic == "kith/box/info");
    infos.map(|m| serde_json::from_str(&m.text()).unwrap()).collect()
}

fn with_a_made_up_card(when_card_is_lost: &str) -> (Broker, Home) {
    let broker = Broker::start();
    let home = Home::new();
    let runtime = format!("[runtime]\nprovider = \"cpu\"\nwhen_card_is_lost = \"{when_card_is_lost}\"\n");
    let camera = format!("{}loop = true\n", door(&clip(&["obama2"], 3.0)));
    home.configure(broker.port, "announce_again_s = 0", &format!("{runtime}{camera}"));
    fs::create_dir_all(home.state()).unwrap();
    fs::set_permissions(home.state(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.state().join("kith-fault-card"), "").unwrap();
    (broker, home)
}

fn fall_back() -> Result<(), String> {
    let (broker, home) = with_a_made_up_card("cpu");
    let subscriber = broker.subscribe();
    let mut supervisor = Supervisor::start(None);
    let daemon = home.run_with(&supervisor.environment());
    let heard = subscriber.wait("an event", |heard| heard.iter().any(|m| m.topic.ends_with("/event")));
    let at_work = heard.len();
    let before = infos(&heard).pop().ok_or("no info")?;
    if before["provider"] != "cuda" || before["models"][0]["provider"] != "cuda" || before["card"].is_null() {
        return Err(format!("the card is not in {before}"));
    }
    fs::write(home.state().join("kith-fault-card-error"), "").unwrap();
    let heard = subscriber.wait("info about the fallback", |heard| {
        infos(heard).last().is_some_and(|info| info["provider"] != "cuda")
    });
    let after = infos(&heard).pop().ok_or("no info")?;
    let said = after["provider"].as_str().unwrap_or_default();
    if said != "cpu (cuda: lost while it worked: failed on demand)" || after["models"][0]["provider"] != "cpu" {
        return Err(format!("the loss is not in {after}"));
    }
    // Work goes on, by the same process, which was online all the time.
    let so_far = heard.len();
    let heard = subscriber.wait("an event after the loss", |heard| {
        heard[so_far..].iter().any(|m| m.topic.ends_with("/event"))
    });
    if heard[at_work..].iter().any(|m| m.is("kith/box/status", "offline")) {
        return Err(format!("it was offline:{}", list(&heard)));
    }
    if !daemon
        .log()
        .contains("the graphics card is lost; the CPU runs the networks")
    {
        return Err(format!("nothing in the log:\n{}", daemon.log()));
    }
    supervisor.wait("the loss in the status line", |words| {
        words
            .iter()
            .any(|word| word.ends_with(", cpu since cuda lost its card"))
    });
    let status = home.kith().args(["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).map_err(|error| error.to_string())?;
    if status["provider"] != after["provider"]
        || status["networks"][0]["provider"] != "cpu"
        || status["lost"] != "cuda: lost while it worked: failed on demand"
    {
        return Err(format!("the loss is not in {status}"));
    }
    Ok(())
}

/// The gallery is of the embedder that was there at the start; another one's vectors would name the wrong people.
#[test]
fn the_cpu_does_not_take_over_with_another_embedder() {
    if !cfg!(feature = "fault") {
        eprintln!("skipped: needs --features fault (cargo xtask test --only faults)");
        return;
    }
    let (broker, home) = with_a_made_up_card("cpu");
    let models = home.path().join("models");
    fs::create_dir(&models).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx");
    for entry in fs::read_dir(shipped).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), models.join(entry.file_name())).unwrap();
    }
    let subscriber = broker.subscribe();
    let mut daemon = home.run_with(&[("KITH_MODELS", models.display().to_string())]);
    subscriber.wait("an event", |heard| heard.iter().any(|m| m.topic.ends_with("/event")));
    let catalogue = models.join("models.toml");
    let text = fs::read_to_string(&catalogue).unwrap();
    let updated = text.replace("embedding_space = \"", "embedding_space = \"another-");
    assert_ne!(updated, text);
    fs::write(&catalogue, updated).unwrap();
    fs::write(home.state().join("kith-fault-card-error"), "").unwrap();
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert!(
        daemon.log().contains("the embedder's embedding_space is another-"),
        "{}",
        daemon.log()
    );
}

#[test]
fn the_daemon_stops_without_its_card_where_that_is_wanted() {
    if !cfg!(feature = "fault") {
        eprintln!("skipped: needs --features fault (cargo xtask test --only faults)");
        return;
    }
    let (broker, home) = with_a_made_up_card("stop");
    let subscriber = broker.subscribe();
    let mut daemon = home.run();
    subscriber.wait("an event", |heard| heard.iter().any(|m| m.topic.ends_with("/event")));
    fs::write(home.state().join("kith-fault-card-error"), "").unwrap();
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    let heard = subscriber.wait("offline", |heard| {
        heard.iter().any(|m| m.is("kith/box/status", "offline"))
    });
    assert_eq!(
        infos(&heard).last().unwrap()["provider"],
        "cuda",
        "no fallback is announced"
    );
}
