//! What we are asked over MQTT: `request/VERB` is answered on `response/VERB`, if the configuration allows it. Whoever
//! may publish there can add a face, so everything is bounded.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::publish::link::Heard;
use crate::publish::topics::Topics;

/// A larger request is refused unread.
pub const LARGEST_REQUEST_BYTES: usize = 64 * 1024;
/// So many requests may come at once.
const BURST: u32 = 10;
/// And then one in this time.
const REFILL: Duration = Duration::from_secs(1);
/// Requests that are answered at the same time.
const AT_A_TIME: usize = 4;
/// The verbs.
const VERBS: [&str; 3] = ["people", "reload", "enroll"];

/// A request, for whoever does what it asks.
#[derive(Debug)]
pub struct Asked {
    /// `people`, `reload` or `enroll`.
    pub verb: String,
    /// The request's JSON object; empty when it had no payload.
    pub arguments: Map<String, Value>,
    /// Where the answer goes: a JSON value, or a sentence about what is wrong.
    pub answer: oneshot::Sender<Result<Value, String>>,
}

/// An answer to publish.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) topic: String,
    pub(super) payload: String,
}

pub(super) struct Requests {
    handler: Option<mpsc::Sender<Asked>>,
    topics: Topics,
    left: u32,
    refilled_at: Option<Instant>,
    underway: JoinSet<Answer>,
}

impl Requests {
    pub(super) fn new(handler: Option<mpsc::Sender<Asked>>, topics: Topics) -> Self {
        Self {
            handler,
            topics,
            left: BURST,
            refilled_at: None,
            underway: JoinSet::new(),
        }
    }

    /// The topics to listen to: none when requests are off.
    pub(super) fn topics(&self) -> Vec<String> {
        let verbs: &[&str] = if self.handler.is_some() { &VERBS } else { &[] };
        verbs
            .iter()
            .map(|verb| self.topics.node(&format!("request/{verb}")))
            .collect()
    }

    /// The next answer that is ready; `None` while nothing is asked.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        self.underway.join_next().await?.ok()
    }

    /// Takes a message. Returns what can be answered at once.
    pub(super) fn hear(&mut self, heard: &Heard, now: Instant) -> Option<Answer> {
        let handler = self.handler.as_ref()?;
        let verb = VERBS
            .into_iter()
            .find(|verb| heard.topic == self.topics.node(&format!("request/{verb}")))?;
        if heard.retained {
            tracing::warn!(topic = heard.topic, "a retained request is ignored; clear it");
            return None;
        }
        let topic = self.topics.node(&format!("response/{verb}"));
        if !Self::may_ask(&mut self.left, &mut self.refilled_at, now) {
            tracing::warn!(topic = heard.topic, "requests come too fast; one is refused");
            return Some(refusal(topic, &Value::Null, "too many requests; ask once a second"));
        }
        if heard.payload.len() > LARGEST_REQUEST_BYTES {
            return Some(refusal(topic, &Value::Null, "the request is larger than 64 KiB"));
        }
        let arguments = match parse(&heard.payload) {
            Ok(arguments) => arguments,
            Err(problem) => return Some(refusal(topic, &Value::Null, &problem)),
        };
        let transaction = arguments.get("transaction").cloned().unwrap_or_default();
        if self.underway.len() >= AT_A_TIME {
            return Some(refusal(
                topic,
                &transaction,
                "other requests are still being worked on; ask again",
            ));
        }
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            verb: verb.to_owned(),
            arguments,
            answer,
        };
        if handler.try_send(asked).is_err() {
            return Some(refusal(topic, &transaction, "nobody works on requests now; ask again"));
        }
        self.underway.spawn(async move {
            match answered.await {
                Ok(Ok(result)) => {
                    let payload = json!({"status": "ok", "transaction": transaction, "result": result});
                    Answer {
                        topic,
                        payload: payload.to_string(),
                    }
                }
                Ok(Err(problem)) => refusal(topic, &transaction, &problem),
                Err(_) => refusal(topic, &transaction, "the daemon is stopping"),
            }
        });
        None
    }

    /// A bucket of requests that fills again with time.
    fn may_ask(left: &mut u32, refilled_at: &mut Option<Instant>, now: Instant) -> bool {
        let since = refilled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let back = u32::try_from(since.as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if back > 0 || refilled_at.is_none() {
            *left = left.saturating_add(back).min(BURST);
            *refilled_at = Some(now);
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

/// The arguments: a JSON object, or nothing at all.
fn parse(payload: &[u8]) -> Result<Map<String, Value>, String> {
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(payload) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err("the request is no JSON object".to_owned()),
        Err(error) => Err(format!("the request is no JSON: {error}")),
    }
}

fn refusal(topic: String, transaction: &Value, problem: &str) -> Answer {
    let payload = json!({"status": "error", "transaction": transaction, "error": problem});
    Answer {
        topic,
        payload: payload.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(verb: &str, payload: &str, retained: bool) -> Heard {
        Heard {
            topic: format!("kith/box/request/{verb}"),
            payload: payload.as_bytes().to_vec(),
            retained,
        }
    }

    fn requests() -> (Requests, mpsc::Receiver<Asked>) {
        let (handler, asked) = mpsc::channel(4);
        (Requests::new(Some(handler), Topics::new("kith", "box")), asked)
    }

    fn error(answer: Option<Answer>) -> String {
        let answer: Value = serde_json::from_str(&answer.unwrap().payload).unwrap();
        assert_eq!(answer["status"], "error");
        answer["error"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_transaction_is_echoed_with_the_answer() {
        let (mut requests, mut asked) = requests();
        assert_eq!(
            requests.hear(&heard("people", r#"{"transaction":"7"}"#, false), Instant::now()),
            None
        );
        asked.recv().await.unwrap().answer.send(Ok(json!([]))).unwrap();
        let answer = requests.answer().await.unwrap();
        assert_eq!(answer.topic, "kith/box/response/people");
        let payload: Value = serde_json::from_str(&answer.payload).unwrap();
        assert_eq!(payload, json!({"status": "ok", "transaction": "7", "result": []}));
    }

    #[tokio::test]
    async fn what_is_wrong_is_answered_in_words_and_retained_requests_are_ignored() {
        let now = Instant::now();
        let (mut requests, mut asked) = requests();
        assert_eq!(requests.hear(&heard("people", "{}", true), now), None);
        assert_eq!(requests.hear(&heard("unlock", "{}", false), now), None);
        assert!(error(requests.hear(&heard("people", "[1]", false), now)).contains("no JSON object"));
        assert!(error(requests.hear(&heard("people", "{", false), now)).contains("no JSON"));
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(LARGEST_REQUEST_BYTES));
        assert!(error(requests.hear(&heard("people", &large, false), now)).contains("64 KiB"));
        assert!(asked.try_recv().is_err(), "nothing reached the handler");
    }

    #[tokio::test]
    async fn requests_are_limited_and_let_in_again() {
        let now = Instant::now();
        let (mut requests, _asked) = requests();
        for _ in 0..BURST {
            assert!(error(requests.hear(&heard("people", "[]", false), now)).contains("object"));
        }
        assert!(error(requests.hear(&heard("people", "[]", false), now)).contains("too many"));
        let later = now + REFILL * 2;
        assert!(error(requests.hear(&heard("people", "[]", false), later)).contains("object"));
    }

    #[test]
    fn without_a_handler_nothing_is_listened_to() {
        let requests = Requests::new(None, Topics::new("kith", "box"));
        assert!(requests.topics().is_empty());
    }
}
