//! A lost GPU is noticed. The loss is a mock: the build with `--features fault` makes every run of a network fail when it
//! is told to, as a card that fell off the bus does.

use std::fs;

use crate::broker::{Broker, list};
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
