//! What can be asked over MQTT, where it is allowed.

use rustix::process::Signal;
use serde_json::json;

use crate::broker::{Broker, Message, jsons, list};
use crate::clip::clip;
use crate::daemon::{Home, door};

const REQUEST: &str = "kith/box/request/people";
const RESPONSE: &str = "kith/box/response/people";

fn online(heard: &[Message]) -> usize {
    heard
        .iter()
        .filter(|message| message.is("kith/box/status", "online"))
        .count()
}

#[test]
fn requests_are_answered_where_they_are_allowed_and_nowhere_else() {
    let broker = Broker::start();
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let nobody = format!("{}loop = true\n", door(&clip(&[], 0.0)));
    home.configure(broker.port, "", &nobody);
    let subscriber = broker.subscribe();
    let mut daemon = home.run();
    subscriber.wait("online", |heard| online(heard) == 1);
    subscriber.say(REQUEST, b"{}");
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(
        jsons(&subscriber.all(), RESPONSE).is_empty(),
        "{}",
        list(&subscriber.all())
    );

    // Somebody left a request behind.
    broker.retain(REQUEST, br#"{"transaction":"old"}"#);
    home.configure(broker.port, "", &format!("[requests]\nenabled = true\n{nobody}"));
    let daemon = home.run();
    subscriber.wait("online again", |heard| online(heard) == 2);
    daemon.wait_for_log("a retained request is ignored");
    subscriber.say(REQUEST, br#"{"transaction":"7"}"#);
    let heard = subscriber.wait("the answer", |heard| !jsons(heard, RESPONSE).is_empty());
    let answers = jsons(&heard, RESPONSE);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(
        (&answers[0]["status"], &answers[0]["transaction"]),
        (&json!("ok"), &json!("7"))
    );
    assert!(answers[0]["result"].to_string().contains("Barack Obama"), "{answers:?}");

    // What can't be done is said.
    subscriber.say("kith/box/request/enroll", br#"{"camera":"door","name":"Carol"}"#);
    let answer = "kith/box/response/enroll";
    let heard = subscriber.wait("the refusal", |heard| !jsons(heard, answer).is_empty());
    assert_eq!(jsons(&heard, answer)[0]["status"], "error", "nobody was there");
    drop(daemon);
}
