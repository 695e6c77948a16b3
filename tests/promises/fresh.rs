//! Fresh or nothing: what was recognised while the broker was away comes in the log, and on `event` only what is still
//! fresh; nothing of it is retained.

use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::broker::{Broker, free_port};
use crate::clip::clip;
use crate::crowd;
use crate::daemon::{Home, camera};
use crate::recorder::{Recorded, Recorder};
use crate::trials::Trials;

/// An event lives so long.
const LIFE: Duration = Duration::from_secs(10);

#[test]
fn what_grew_old_while_the_broker_was_away_comes_in_the_log_only() {
    let mut trials = Trials::counting("fresh", "recognitions", 6, 100);
    let count = trials.left();
    if count == 0 {
        return;
    }
    let began = Instant::now();
    let kept = tempfile::tempdir().unwrap();
    let port = free_port();
    let lines = format!(
        "allow_anonymous true\npersistence true\npersistence_location {}/\nmax_queued_messages 0",
        kept.path().display()
    );
    // The subscriber is known to the broker before it goes, so it misses nothing afterwards.
    let broker = Broker::start_on(port, &lines);
    let recorder = Recorder::to(port);
    broker.stop();

    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let pictures = crowd::pictures(home.path(), count);
    // Ten minutes in full; beside it a camera that never ends, so that the daemon doesn't either.
    let per_second = if count > 10 { 100.0 / 590.0 } else { 1.0 };
    let wall = format!(
        "{}loop = true\n",
        camera("wall", &format!("file:{}", clip(&[], 0.0).display()))
    );
    let cameras = format!("{}{wall}", crowd::camera(&pictures, per_second, false));
    home.configure(port, "announce_again_s = 0", &cameras);
    let daemon = home.run();
    let deadline = Instant::now() + Duration::from_secs_f64(count as f64 / per_second) + crate::PATIENCE;
    while daemon.log().matches("recognized").count() < usize::try_from(count).unwrap() {
        assert!(Instant::now() < deadline, "{count} recognitions:\n{}", daemon.log());
        thread::park_timeout(Duration::from_millis(50));
    }
    // The last ones are fresh yet, the first ones are not.
    let away = Instant::now() + Duration::from_secs(6);
    while Instant::now() < away {
        thread::park_timeout(Duration::from_millis(50));
    }

    let broker = Broker::start_on(port, &lines);
    let is_recognition = |message: &&Recorded| message.json["event_type"] == "recognized";
    let of_log = |message: &&Recorded| message.topic.ends_with("/log");
    let heard = recorder.wait("every recognition in the log", |heard| {
        heard.iter().filter(of_log).filter(is_recognition).count() as u64 >= count
    });
    // The daemon has told all that it had to tell when its outbox is empty.
    let mut failures = Vec::new();
    for message in heard.iter().filter(|message| message.topic.ends_with("/event")) {
        let captured_at: Timestamp = message.json["captured_at"].as_str().unwrap().parse().unwrap();
        let age = message.heard_at.duration_since(captured_at);
        if age.as_secs_f64() > LIFE.as_secs_f64() {
            failures.push(format!("an event came {:.1} s after its capture", age.as_secs_f64()));
        }
    }
    for message in broker.subscribe().all() {
        if message.retained && (message.topic.ends_with("/event") || message.topic.ends_with("/log")) {
            failures.push(format!("{} is retained", message.topic));
        }
    }
    drop(daemon);
    trials.done(count, began.elapsed(), failures);
    trials.finish();
}
